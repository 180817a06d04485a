"""Go and Node that ask as deploy/go and deploy/node say, against real sidecars.

Argument: redigo, go-redis or node. Ends with 77 if that is not installed.
"""

from __future__ import annotations

import sys

from clients import Client, command
from stage import POLICY, check, ok

from support import Redis, Sidecar, Stub, admitted, wait_until

NAME = sys.argv[1]
WORDS = command(NAME)


def answers(client: Client, sidecar: Sidecar) -> None:
    decisions = [client.check("alice", "run") for _ in range(4)]
    check([d["allowed"] for d in decisions] == [True, True, True, False], "three checks pass, the fourth does not", decisions)
    check([d["remaining"] for d in decisions] == [2, 1, 0, 0], "they say what is left")
    check(decisions[0]["status"] == 200 and decisions[0]["headers"]["RateLimit-Remaining"] == "2", "also as headers", decisions)
    denied = decisions[3]
    check(denied["status"] == 429 and int(denied["headers"]["Retry-After"]) > 0, "a denial is a 429 with Retry-After", denied)
    check(denied["message"].startswith("run is limited to 3 calls"), "it says why")
    check(sidecar.used("alice", "run") == [3], "the sidecar counted three")
    for tool, status, rule in [("shell", 403, "(default deny)"), ("delete", 403, "/tools/delete"), ("x" * 257, 403, "(BADARG)")]:
        decision = client.check("alice", tool)
        check(decision["status"] == status and decision["rule"].startswith(rule), f"{tool[:9]}: {status}, {rule}", decision)
    decisions, _ = client.ask("alice", "big", 300)
    check(all(d["allowed"] for d in decisions), "300 checks at once pass")
    check(sidecar.used("alice", "big") == [300], "and are counted once each")


def faults(client: Client, sidecar: Sidecar, redis: Redis) -> None:
    quick = Client(WORDS, sidecar.path, is_patient=False)
    wait_until("a first answer", lambda: quick.check("bob", "free")["allowed"])
    check(quick.check("bob", "free")["allowed"], "the sidecar answers")
    with sidecar.stopped():
        decisions = [quick.check("bob", "big") for _ in range(2)]
    check([d["rule"] for d in decisions] == ["(timeout)"] * 2, "stopped: no answer in time", decisions)
    check(decisions[0]["status"] == 503 and decisions[0]["headers"] == {"Retry-After": "1"}, "a 503 with Retry-After", decisions)
    wait_until("it answers again", lambda: quick.check("bob", "free")["allowed"])
    sidecar.restart()
    wait_until("it answers after a restart", lambda: quick.check("bob", "free")["allowed"])
    quick.close()
    # Some clients ask something else first on a new connection, so a check may not have been sent at all.
    [counted] = sidecar.used("bob", "big")
    check(counted <= 2, "no check was sent twice", counted)
    for number in range(3):
        sidecar.restart()
        wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")
        check(client.check("bob", "big")["allowed"], f"restarted ({number + 1}): the next check passes")
    check(sidecar.used("bob", "big") == [counted + 3], "and is counted once", counted)
    redis.close_server()
    decision = client.check("bob", "big")
    check(decision["allowed"] and decision["source"] == "local", "Redis is dead: counted locally", decision)
    sidecar.end()
    decision = client.check("bob", "big")
    check(decision["status"] == 503 and decision["rule"] == "(missing)", "the sidecar is missing: a 503", decision)
    sidecar.start()
    check(client.check("bob", "big")["allowed"], "it is back: checks pass")
    check("does not answer (missing" in client.errors and "answers again" in client.errors, "the log says so", client.errors)


def stubs() -> None:
    answer: list[bytes | None] = [b""]
    # What clients ask while they connect.
    other = {"HELLO": b"*2\r\n$6\r\nserver\r\n$6\r\nsluice\r\n", "PING": b"+PONG\r\n"}
    stub = Stub(lambda words: answer[0] if words[0] == "CHECK" else other.get(words[0].upper(), b"+OK\r\n"))
    for what, given, rule in [
        ("it ends while it is asked", None, "(lost)"), ("it says BUSY", b"-BUSY too many checks wait\r\n", "(busy)"),
        ("it answers something else", b"+PONG\r\n", "(garbled)"), ("it answers in part", admitted()[:-20], "(timeout)"),
    ]:  # fmt: skip
        answer[0] = given
        client = Client(WORDS, stub.path, is_patient=False)
        decision = client.check("alice", "run")
        check(decision["status"] == 503 and decision["rule"] == rule, f"{what}: 503 {rule}", decision)
        client.close()
        sent = [words for words in stub.requests if words[0] == "CHECK"]
        check(len(sent) == 1, "the check was sent once", stub.requests)
        stub.requests.clear()
    stub.close()
    client = Client(WORDS, "/tmp/there-is-no.sock", fail="open")
    decision = client.check("alice", "run")
    check(decision["allowed"] and decision["verdict"] == "unavailable", "fail open: without a sidecar checks pass", decision)
    client.close()


def main() -> None:
    redis = Redis()
    sidecar = Sidecar("--replicas", "1", policy=POLICY, redis=redis.url)
    wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")
    client = Client(WORDS, sidecar.path)
    try:
        answers(client, sidecar)
        faults(client, sidecar, redis)
        stubs()
    finally:
        client.close()
        sidecar.close()
        redis.close()
    ok("everything was ended")


main()
