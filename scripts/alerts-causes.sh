# shellcheck shell=bash
# What raises each alert of deploy/prometheus/alerts.yml. Sourced by scripts/alerts.
#
# begin_ALERT brings it about, during_ALERT is repeated until it fires, end_ALERT takes the cause away.

# shellcheck disable=SC2034 # for whoever sources this
declare -A CAUSES=(
    [SluiceDown]="the sidecar is stopped (SIGSTOP)"
    [SluiceCountsLocally]="Redis is killed, and started again"
    [SluiceRedisFlaps]="Redis hangs again and again, half a second each"
    [SluiceRedisSlow]="Redis is kept busy for 30 ms at a time"
    [SluiceRedisLostData]="FLUSHALL"
    [SluiceRedisClockBehind]="Redis's clock goes back 30 s, and forth again"
    [SluiceKeyFaults]="another client puts a list in a counter's place"
    [SluiceLate]="the sidecar is stopped while checks wait for Redis"
    [SluiceBusy]="more grants than 16 MiB hold, without Redis"
    [SluiceMemoryNearlyFull]="the same, and 66 clients with half a request each"
    [SluicePolicyRejected]="a policy with a fault"
    [SluiceStateNotWritten]="the state file may not grow, during an outage"
    [SluiceRuleSaturated]="a client that does not wait"
)

write_policy() {
    cat >"$TEMPORARY_FOLDER/policy.json" <<'POLICY'
{
  "version": "1",
  "default": "deny",
  "tools": {
    "steady": { "limits": [{ "counter": "steady", "window": "hour", "max": 1000000 }] },
    "scarce": { "limits": [{ "counter": "scarce", "window": "hour", "max": 1 }] }
  }
}
POLICY
}

begin_SluiceDown() { kill -STOP "$PID_A"; }
end_SluiceDown() { kill -CONT "$PID_A"; }

begin_SluiceCountsLocally() { stop "$REDIS_PID" KILL; }
end_SluiceCountsLocally() { start_redis; }

begin_SluiceRedisFlaps() { :; }
during_SluiceRedisFlaps() {
    kill -STOP "$REDIS_PID"
    sleep 0.5
    kill -CONT "$REDIS_PID"
    sleep 0.5
}
end_SluiceRedisFlaps() { :; }

begin_SluiceRedisSlow() { :; }
during_SluiceRedisSlow() { redis DEBUG SLEEP 0.03 >/dev/null || true; }
end_SluiceRedisSlow() { :; }

begin_SluiceRedisLostData() { redis FLUSHALL >/dev/null; }
end_SluiceRedisLostData() { :; }

begin_SluiceRedisClockBehind() { printf -- '-30' >"$CLOCK"; }
end_SluiceRedisClockBehind() { printf '0' >"$CLOCK"; }

begin_SluiceKeyFaults() { :; }
during_SluiceKeyFaults() {
    local key
    redis-cli -s "$TEMPORARY_FOLDER/a.sock" CHECK faulty steady >/dev/null
    key="$(redis --scan --pattern 'sluice:*{faulty}*' | head -n 1)"
    if [[ -n "$key" ]]; then
        redis DEL "$key" >/dev/null
        redis RPUSH "$key" "not Sluice's" >/dev/null
    fi
    redis-cli -s "$TEMPORARY_FOLDER/a.sock" CHECK faulty steady >/dev/null
    sleep 0.5
}
end_SluiceKeyFaults() { redis --scan --pattern 'sluice:*{faulty}*' | while read -r key; do redis DEL "$key" >/dev/null; done; }

begin_SluiceLate() { :; }
during_SluiceLate() {
    redis DEBUG SLEEP 0.06 >/dev/null &
    sleep 0.03
    kill -STOP "$PID_A"
    sleep 0.25
    kill -CONT "$PID_A"
    wait "$!" || true
    sleep 0.2
}
end_SluiceLate() { :; }

begin_SluiceBusy() {
    load b --tool steady --grants 300000 --rate 20000 --connections 4
    CROWD_PID=$LOAD_PID
}
end_SluiceBusy() { stop "$CROWD_PID"; }

# Requests that do not come to their end stay in the sidecar's memory, for ten seconds.
begin_SluiceMemoryNearlyFull() {
    begin_SluiceBusy
    # shellcheck disable=SC2016 # the dollars are of the protocol
    start "$TEMPORARY_FOLDER/halves.log" python3 -c '
import socket, sys, time
while True:
    clients = []
    for _ in range(66):
        client = socket.socket(socket.AF_UNIX)
        client.connect(sys.argv[1])
        try:
            client.sendall(b"*2\r\n$4\r\nECHO\r\n$60000\r\n" + b"x" * 59000)
        except OSError:
            pass
        clients.append(client)
    time.sleep(8)
    for client in clients:
        client.close()
' "$TEMPORARY_FOLDER/b.sock"
    HALVES_PID=$STARTED_PID
}
end_SluiceMemoryNearlyFull() {
    stop "$HALVES_PID"
    stop "$CROWD_PID"
}

begin_SluicePolicyRejected() { printf '{"version": "1", "tols": {}}' >"$TEMPORARY_FOLDER/policy.json"; }
end_SluicePolicyRejected() { write_policy; }

# A file that may have no more bytes than it has is as good as a full disk.
begin_SluiceStateNotWritten() {
    prlimit --pid "$PID_A" --fsize=1:
    kill -STOP "$REDIS_PID"
}
end_SluiceStateNotWritten() {
    prlimit --pid "$PID_A" --fsize=unlimited:
    kill -CONT "$REDIS_PID"
}

begin_SluiceRuleSaturated() {
    load a --tool scarce --grants 1 --rate 100 --connections 1
    CROWD_PID=$LOAD_PID
}
end_SluiceRuleSaturated() { stop "$CROWD_PID"; }
