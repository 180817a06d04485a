#!/bin/bash
# Redigo, as Debian packages it for Go.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v go >/dev/null && [ -d /usr/share/gocode/src/github.com/gomodule/redigo ] || exit 77
version=$(dpkg-query -W -f '${Version}' golang-github-gomodule-redigo-dev 2>/dev/null || echo unknown)
build=$(mktemp -d) && trap 'rm -rf "$build"' EXIT
GO111MODULE=off GOPATH=/usr/share/gocode GOFLAGS='' go build -o "$build/client" "$here/redigo/main.go"
"$build/client" "$1" "$2" "$version"
