#!/bin/bash
# redis-benchmark: several hundred thousand requests, pipelined.
set -euo pipefail
path=$1 grant=$2
command -v redis-benchmark >/dev/null || exit 77
version=$(redis-benchmark --version | awk '{print $2}')
requests=${SLUICE_TEST_BENCHMARK_REQUESTS:-300000}

run() {
  local output
  output=$(timeout 120 redis-benchmark -s "$path" -q "$@" 2>&1)
  if ! grep -q 'requests per second' <<<"$output" || grep -qi error <<<"$output"; then
    echo "$output" >&2
    exit 1
  fi
}

run -n "$requests" -P 64 -c 16 -r 1000 CHECK "$grant-__rand_int__" big
run -n $((requests / 10)) -c 8 CHECK "$grant" big
run -n $((requests / 10)) -P 16 -t ping
redis-cli -s "$path" PEEK "$grant" big TRACE | grep -q "$((requests / 10))" || { echo 'not all were counted' >&2; exit 1; }
echo "ok redis-benchmark $version"
