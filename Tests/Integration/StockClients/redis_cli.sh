#!/bin/bash
# redis-cli: RESP2, RESP3, its pipe mode, and inline commands over a raw socket.
set -euo pipefail
path=$1 grant=$2
command -v redis-cli >/dev/null || exit 77
version=$(redis-cli --version | awk '{print $2}')

fail() { echo "not so: $*" >&2; exit 1; }

for protocol in 2 3; do
  cli=(redis-cli -s "$path" "-$protocol")
  [ "$("${cli[@]}" PING)" = PONG ] || fail PING
  for call in 1 2 3 4 5 6 7 8 9 10; do
    "${cli[@]}" CHECK "$grant-$protocol" run | grep -q allow || fail "call $call"
  done
  "${cli[@]}" CHECK "$grant-$protocol" run | grep -q 'run is limited to 10 calls' || fail 'the message'
  "${cli[@]}" PEEK "$grant-$protocol" run | grep -q limit || fail PEEK
  "${cli[@]}" CHECK "$grant-$protocol" 2>&1 | grep -q 'wrong number of arguments' || fail 'an error'
  "${cli[@]}" INFO server | grep -q sluice_version || fail INFO
  "${cli[@]}" COUNTERS GRANT "$grant-$protocol" | grep -q "$grant-$protocol" || fail COUNTERS
  # Commands from its standard input, on one connection.
  for _ in $(seq 100); do echo "CHECK $grant-$protocol big"; done | "${cli[@]}" | grep -cw allow | grep -qx 100 || fail input
  echo "ok redis-cli-resp$protocol $version"
done

# The interactive mode asks for COMMAND DOCS, and RESP3's map has names.
redis-cli -s "$path" -3 CHECK "$grant-3" big | grep -q remaining || fail 'a map'

# Mass insertion: everything in one stream, ended by an ECHO.
# shellcheck disable=SC2016 # The dollars are RESP's.
for _ in $(seq 2000); do printf '*3\r\n$5\r\nCHECK\r\n$%d\r\n%s\r\n$3\r\nbig\r\n' "${#grant}" "$grant"; done \
  | redis-cli -s "$path" --pipe | grep -q 'errors: 0, replies: 2000' || fail --pipe
echo "ok redis-cli-pipe $version"
