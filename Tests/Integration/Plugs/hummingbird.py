"""The middleware of deploy/swift-hummingbird in a real Hummingbird server, with real HTTP requests.

Ends with 77 if it was not built.
"""

from __future__ import annotations

from clients import hummingbird
from stage import POLICY, Hummingbird, Reply, check, ok

from support import LONG_WINDOW, Redis, Sidecar, Stub, admitted, wait_until

PROGRAM = hummingbird()
RAN = b"the tool ran\n"
RULES = {
    **POLICY,
    "tools": {
        **POLICY["tools"],
        "slot": {
            "limits": [
                {"counter": "slots", "algorithm": "concurrency", "max": 1, "hold": 3600},
                {"counter": "slot_calls", "window": LONG_WINDOW, "max": 1000},
            ]
        },
    },
}


def answers(gate: Hummingbird, sidecar: Sidecar) -> None:
    replies = [gate.ask("/tools/run") for _ in range(4)]
    check([reply.status for reply in replies] == [200, 200, 200, 429], "three calls pass, the fourth is a 429", replies)
    check(replies[0].body == RAN, "the route ran")
    left = [reply.headers["ratelimit-remaining"] for reply in replies]
    check(left == ["2", "1", "0", "0"], "RateLimit-Remaining says what is left", left)
    check({reply.headers["ratelimit-limit"] for reply in replies} == {"3"}, "RateLimit-Limit of what")
    denied = replies[3]
    check(int(denied.headers["retry-after"]) > 0, "with Retry-After", denied)
    check(denied.json["error"].startswith("run is limited to 3 calls"), "its body says why", denied)
    check(denied.rule == "/tools/run/limits/runs", "and by which rule", denied)
    check(sidecar.used("alice-laptop", "run") == [3], "the sidecar counted three")
    check(gate.ask("/tools/run", key="bob").status == 200, "another caller has a limit of its own")
    for path, key, rule in [
        ("/tools/run", None, "(no grant)"), ("/tools/run", "nobody", "(no grant)"), ("/tools/shell", "alice", "(default deny)"),
        ("/tools/" + "x" * 257, "alice", "(BADARG)"), ("/tools/delete", "alice", "/tools/delete"),
    ]:  # fmt: skip
        reply = gate.ask(path, key=key)
        check(reply.status == 403 and reply.rule.startswith(rule), f"{path[:14]} for {key}: 403, {rule}", reply)
        check("retry-after" not in reply.headers, "without Retry-After", reply)
    reply = gate.ask("/tools/free")
    check(reply.status == 200 and "ratelimit-limit" not in reply.headers, "a free tool passes, without RateLimit", reply)
    check(gate.ask("/nothing/free").status == 404, "a path without a route is a 404")


def reservations(gate: Hummingbird, sidecar: Sidecar) -> None:
    for count in range(1, 4):
        check(gate.ask("/slots/slot").status == 200, f"a call takes the only slot ({count})")
        # Its end is sent when the answer has been written.
        wait_until("the slot is free again", lambda: sidecar.used("alice-laptop", "slot") == [0, count])
    ok("and frees it, each time")
    reply = gate.ask("/broken/slot")
    check(reply.status == 502 and b"the tool is away" in reply.body, "a route's error stays what it is", reply)
    check("ratelimit-limit" in reply.headers, "with RateLimit headers", reply)
    wait_until("the charge was given back", lambda: sidecar.used("alice-laptop", "slot") == [0, 3])
    ok("the charge of a call that failed was given back, and its slot")


def faults(gate: Hummingbird, sidecar: Sidecar, redis: Redis) -> None:
    quick = Hummingbird(PROGRAM, sidecar.path, is_patient=False)
    check(quick.ask("/tools/free").status == 200, "the sidecar answers")
    with sidecar.stopped():
        replies = [quick.ask("/tools/big") for _ in range(2)]
    check([reply.rule for reply in replies] == ["(timeout)"] * 2, "stopped: no answer in time", replies)
    check([reply.status for reply in replies] == [503] * 2 and replies[0].headers["retry-after"] == "1", "a 503 with Retry-After")
    wait_until("it answers again", lambda: quick.ask("/tools/free").status == 200)
    check(sidecar.used("alice-laptop", "big") == [2], "no check was sent twice")
    check("the rate limiter answers again" in quick.log, "the log says when it is over", quick.log)
    quick.close()
    for number in range(3):
        sidecar.restart()
        wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")
        check(gate.ask("/tools/big").status == 200, f"restarted ({number + 1}): the next check passes")
    check(sidecar.used("alice-laptop", "big") == [5], "and is counted once")
    redis.close_server()
    check(gate.ask("/tools/big").status == 200, "Redis is dead: counted locally")
    sidecar.end()
    reply = gate.ask("/tools/big")
    check(reply.status == 503 and reply.rule == "(missing)", "the sidecar is missing: a 503", reply)
    sidecar.start()
    wait_until("it is back", lambda: gate.ask("/tools/big").status == 200)
    check(gate.log.count("the rate limiter does not answer") == 1, "one line in the log said so", gate.log)


def counted_checks(stub: Stub) -> int:
    return len([words for words in stub.requests if words[0] == "CHECK"])


def stubs() -> None:
    answer: list[bytes | None] = [b""]
    stub = Stub(lambda words: answer[0])
    for what, given, rule in [
        ("it ends while it is asked", None, "(lost)"), ("it says BUSY", b"-BUSY too many checks wait\r\n", "(busy)"),
        ("it answers something else", b"+PONG\r\n", "(garbled)"), ("it answers in part", admitted()[:-20], "(timeout)"),
        ("it answers HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", "(garbled)"),
    ]:  # fmt: skip
        answer[0] = given
        gate = Hummingbird(PROGRAM, stub.path, is_patient=False)
        reply: Reply = gate.ask("/tools/run")
        check(reply.status == 503 and reply.rule == rule, f"{what}: 503 {rule}", reply)
        check(counted_checks(stub) == 1, "the check was sent once", stub.requests)
        stub.requests.clear()
        gate.close()
    answer[0] = None
    gate = Hummingbird(PROGRAM, stub.path)
    reply = gate.ask("/tools/run", headers={"idempotency-key": "call-17"})
    check(reply.rule == "(lost)" and counted_checks(stub) == 2, "with an id it was sent twice, not more", reply, stub.requests)
    answer[0] = b"-BADARG the tool is wrong\r\n"
    check(gate.ask("/tools/run").status == 403, "a request that is wrong is denied")
    gate.close()
    stub.close()
    gate = Hummingbird(PROGRAM, "/tmp/there-is-no.sock", fail="open")
    check(gate.ask("/tools/run").body == RAN, "fail open: without a sidecar calls pass")
    check(gate.ask("/tools/run", key=None).status == 403, "but not without a grant")
    gate.close()


def main() -> None:
    redis = Redis()
    sidecar = Sidecar("--replicas", "1", policy=RULES, redis=redis.url)
    wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")
    gate = Hummingbird(PROGRAM, sidecar.path)
    try:
        answers(gate, sidecar)
        reservations(gate, sidecar)
        faults(gate, sidecar, redis)
        stubs()
    finally:
        gate.close()
        sidecar.close()
        redis.close()
    ok("everything was ended")


main()
