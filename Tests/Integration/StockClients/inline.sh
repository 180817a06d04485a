#!/bin/bash
# Inline commands as a person types them, through whatever moves bytes to a Unix socket.
set -euo pipefail
path=$1 grant=$2
if command -v socat >/dev/null; then
  send() { socat -t 10 - "UNIX-CONNECT:$path"; }
  name=socat version=$(socat -V | awk '/version/ {print $3; exit}')
elif command -v nc >/dev/null && nc -h 2>&1 | grep -q -- -U; then
  send() { nc -N -U "$path"; }
  name=nc version=openbsd
elif command -v perl >/dev/null; then
  # The sending side is closed at the end of the input, as nc -N does.
  send() {
    perl -MIO::Socket::UNIX -e '
      my $socket = IO::Socket::UNIX->new(Peer => shift) or die "connect: $!";
      { local $/; print $socket scalar <STDIN>; }
      $socket->flush; shutdown($socket, 1); print while <$socket>;' "$path"
  }
  name=perl-socket version=$(perl -e 'print $^V')
else
  exit 77
fi

answers=$(printf 'PING\r\nCHECK "%s" run\nCHECK nobody\nPING last\r\n' "$grant" | send | tr -d '\r')
expected='+PONG'
[ "$(head -1 <<<"$answers")" = "$expected" ] || { echo "$answers" >&2; exit 1; }
grep -qx allow <<<"$answers"
grep -q '^-ERR wrong number of arguments' <<<"$answers"
[ "$(tail -1 <<<"$answers")" = last ]
echo "ok inline-$name $version"
