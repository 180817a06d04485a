#!/bin/bash
# go-redis, as scripts/stock-clients built it.
set -euo pipefail
client=${SLUICE_TEST_CLIENTS:-$(dirname "$0")/../../../.build/stock-clients}/go-redis
[ -x "$client" ] || exit 77
"$client" "$1" "$2"
