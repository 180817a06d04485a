"""The sidecar is missing, stopped, restarted or overloaded; and nothing is counted twice."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from either import Either
from support import Redis, Sidecar, Stub, admitted, overload, wait_until

from sluice import AsyncSluice, Denied, Sluice, Unavailable

MakeStub = Callable[[Callable[[list[str]], "bytes | None"]], Stub]
#: Where a test is to see an answer, the machine may be slow.
PATIENT: dict[str, Any] = {"connect_timeout": 20.0, "timeout": 20.0}
#: Where it is to see none.
QUICK: dict[str, Any] = {"connect_timeout": 0.05, "timeout": 0.05}


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Either]]:
    clients: list[Either] = []

    def make(path: str, fail: Any = "closed", **options: Any) -> Either:
        clients.append(Either(request.param, path, fail, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def reason_of(client: Either, *words: str, **options: Any) -> str:
    decision = client.check(*(words or ("g", "run")), **options)
    assert (decision.verdict, decision.source) == ("unavailable", "client")
    return decision.rule


@pytest.fixture(scope="module")
def overloaded() -> Iterator[Sidecar]:
    """One with little memory, whose share the grant `many` has used up: without Redis that is `BUSY`."""
    sidecar = Sidecar("--memory", "16MiB")
    overload(sidecar)
    yield sidecar
    sidecar.close()


# --- What the caller sees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fail", "allowed"), [("closed", False), ("open", True)])
def test_a_missing_sidecar(make: Callable[..., Either], fail: str, allowed: bool) -> None:
    client = make("/tmp/there-is-no.sock", fail)
    decision = client.check("g", "run")
    assert decision.allowed is allowed and decision.verdict == "unavailable" and decision.source == "client"
    assert decision.rule == "(missing)" and decision.http_status == (200 if allowed else 503)
    assert decision.http_headers == ({} if allowed else {"Retry-After": "1"})
    assert bool(decision.message) is not allowed
    assert client.peek("g", "run") == decision and client.peek_many("g", ["a", "b"]) == [decision, decision]


def test_a_stopped_sidecar(make: Callable[..., Either], sidecar: Sidecar, grant: str) -> None:
    client = make(sidecar.path, timeout=0.05)
    patient = make(sidecar.path, **PATIENT)
    assert patient.check(grant, "run")
    with sidecar.stopped():
        assert reason_of(client, grant, "run") == "(timeout)"
        assert reason_of(client, grant, "run", id="one") == "(timeout)"
    # It goes on: what it had been asked is counted, and no answer goes to another question.
    decisions = [patient.check(grant, "free"), patient.check(grant, "unknown")]
    assert [decision.verdict for decision in decisions] == ["allow", "deny"]
    assert sidecar.used(grant, "run") == [3]
    assert patient.check(grant, "run", id="one").remaining == 7, "the answer is repeated"
    assert sidecar.used(grant, "run") == [3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_sidecar_costs_no_check(
    make: Callable[..., Either], sidecar: Sidecar, grant: str, number: signal.Signals
) -> None:
    client = make(sidecar.path, **PATIENT)
    for _ in range(3):
        assert client.check(grant, "run").remaining == 9
        sidecar.restart(number)


def test_an_overloaded_sidecar(make: Callable[..., Either], overloaded: Sidecar) -> None:
    client = make(overloaded.path, **PATIENT)
    assert reason_of(client, "many", "chat", session="new") == "(busy)"
    assert client.check("other", "chat", session="new"), "others are served"
    opened = make(overloaded.path, "open", **PATIENT)
    assert opened.check("many", "chat", session="new").allowed
    with pytest.raises(Denied, match="does not answer"):
        client.reserved(lambda r: None, "many", "chat", session="new")


def test_redis_away_is_no_failure(make: Callable[..., Either], redis: Redis, grant: str) -> None:
    sidecar = Sidecar("--budget", "50ms", redis=redis.url)
    try:
        client = make(sidecar.path, **PATIENT)
        redis.close_server()
        assert [client.check(grant, "run").source for _ in range(3)] == ["local"] * 3
    finally:
        sidecar.close()


def test_what_is_no_sidecar(make: Callable[..., Either], stub: MakeStub) -> None:
    for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n", b"*2\r\n:1\r\n:1\r\n", b":x\r\n", b"*99999\r\n"):
        other = stub(lambda words, answer=answer: answer)  # type: ignore[misc]
        client = make(other.path)
        assert reason_of(client) == "(garbled)"
        assert reason_of(client) == "(garbled)" and other.connections == 2, "no connection is used again"


# --- Once -----------------------------------------------------------------------------------------------------------


def test_a_check_is_sent_once(make: Callable[..., Either], stub: MakeStub) -> None:
    closing = stub(lambda words: None)
    assert reason_of(make(closing.path)) == "(lost)"
    assert closing.requests == [["CHECK", "g", "run"]]
    silent = stub(lambda words: b"")
    assert reason_of(make(silent.path, **QUICK)) == "(timeout)"
    assert silent.requests == [["CHECK", "g", "run"]]


def test_what_counts_once_is_sent_again_once(make: Callable[..., Either], stub: MakeStub) -> None:
    closing = stub(lambda words: None)
    client = make(closing.path)
    assert reason_of(client, id="one") == "(lost)"
    assert client.peek("g", "run").rule == "(lost)"
    with pytest.raises(Unavailable) as caught:
        client.commit("g", "r", 1)
    assert caught.value.reason == "lost" and caught.value.sent
    assert [words[0] for words in closing.requests] == ["CHECK", "CHECK", "PEEK", "PEEK", "COMMIT", "COMMIT"]
    assert closing.requests[0] == closing.requests[1] == ["CHECK", "g", "run", "ID", "one"]


def test_a_connection_that_ended_meanwhile_is_not_used(make: Callable[..., Either], stub: MakeStub) -> None:
    sidecar = stub(lambda words: admitted())
    client = make(sidecar.path, **PATIENT)
    for round_ in range(5):
        assert client.check("g", "run")
        sidecar.drop_all()
    assert len(sidecar.requests) == 5 and sidecar.connections == 5


def test_a_late_answer_goes_to_nobody(make: Callable[..., Either], stub: MakeStub) -> None:
    wait = threading.Event()
    count = 0

    def answer(words: list[str]) -> bytes:
        nonlocal count
        count += 1
        if count == 1:
            wait.wait(20)
        return admitted(count)

    sidecar = stub(answer)
    client = make(sidecar.path, connect_timeout=20, timeout=0.1)
    assert reason_of(client) == "(timeout)"
    wait.set()
    client.client._options = make(sidecar.path, **PATIENT).client._options
    assert client.check("g", "run").remaining == 2
    assert sidecar.connections == 2


def test_a_settlement_that_gets_no_answer_does_not_fail_the_call(
    make: Callable[..., Either], stub: MakeStub, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = stub(lambda words: admitted(reservation="r" * 32) if words[0] == "CHECK" else None)
    client = make(sidecar.path, **PATIENT)
    assert client.reserved(lambda r: r.commit(3), "g", "run", cost=5) is False
    assert "a reservation was not committed" in caplog.text


def test_the_log_has_a_line_for_each_change(
    make: Callable[..., Either], sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sluice")
    client = make(sidecar.path, **PATIENT)
    assert client.check("g", "free")
    sidecar.end(signal.SIGKILL)
    for _ in range(5):
        assert not client.check("g", "free")
    sidecar.start()
    for _ in range(5):
        assert client.check("g", "free")
    lines = [record.getMessage() for record in caplog.records if record.name == "sluice"]
    assert [line.split(":")[0] for line in lines] == [f"{sidecar.path} does not answer (missing)", f"{sidecar.path} answers again"]


def test_no_call_is_charged_twice_while_the_sidecar_is_killed(
    make: Callable[..., Either], redis: Redis, grant: str
) -> None:
    """What Redis counts lies between what was admitted and what may have been."""
    sidecar = Sidecar(redis=redis.url)
    try:
        wait_for_shared(sidecar)
        client = make(sidecar.path, **PATIENT)
        admitted_, unknown = [0] * 4, [0] * 4
        goes_on = threading.Event()
        goes_on.set()

        def ask(index: int) -> None:
            while goes_on.is_set():
                decision = client.check(grant, "big")
                if decision.verdict != "unavailable":
                    assert decision.source == "shared"
                    admitted_[index] += 1
                elif decision.rule in ("(lost)", "(timeout)"):
                    unknown[index] += 1

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            before = sum(admitted_)
            while sum(admitted_) < before + 200:
                threading.Event().wait(0.005)
            sidecar.end(signal.SIGKILL)
            sidecar.start()
            wait_for_shared(sidecar)
        goes_on.clear()
        for thread in threads:
            thread.join(60)
        [used] = sidecar.used(grant, "big")
        assert sum(admitted_) <= used <= sum(admitted_) + sum(unknown)
    finally:
        sidecar.close()


def wait_for_shared(sidecar: Sidecar) -> None:
    wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")


# --- Forks ----------------------------------------------------------------------------------------------------------


def test_a_child_has_connections_of_its_own(sidecar: Sidecar, grant: str) -> None:
    with Sluice(sidecar.path, **PATIENT) as client:
        assert client.check(grant, "run").remaining == 9
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, b"%d" % client.check(grant, "run").remaining)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 10) == b"8"
        os.close(read)
        os.close(write)
        assert client.check(grant, "run").remaining == 7


def test_so_has_one_that_is_forked_from_an_event_loop(sidecar: Sidecar, grant: str) -> None:
    client = AsyncSluice(sidecar.path, **PATIENT)

    async def main() -> None:
        assert (await client.check(grant, "run")).remaining == 9
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                # The parent's loop is no loop of the child's.
                asyncio.events._set_running_loop(None)
                os.write(write, b"%d" % asyncio.run(client.check(grant, "run")).remaining)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 10) == b"8"
        os.close(read)
        os.close(write)
        assert (await client.check(grant, "run")).remaining == 7
        await client.aclose()

    asyncio.run(main())


def test_an_asyncio_client_that_is_closed_asks_nothing_more(stub: MakeStub) -> None:
    silent = stub(lambda words: b"")

    async def main() -> None:
        client = AsyncSluice(silent.path, **PATIENT)
        asking = asyncio.create_task(client.peek("g", "run"))
        while not silent.requests:
            await asyncio.sleep(0.002)
        await client.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await asking

    asyncio.run(main())
    assert len(silent.requests) == 1 and silent.connections == 1
