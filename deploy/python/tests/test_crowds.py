"""Many threads, many tasks, and tasks that are cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Sidecar, Stub, admitted

from sluice import AsyncSluice, Decision, RequestError, Sluice
from sluice._protocol import ReplyParser, decision_of

MakeStub = Callable[[Callable[[list[str]], "bytes | None"]], Stub]
PATIENT: dict[str, Any] = {"connect_timeout": 30.0, "timeout": 30.0}


def connections_to(path: str) -> int:
    """Connections that a listener has accepted."""
    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return sum(fields[-1] == path and fields[5] == "03" for fields in sockets)


def test_two_hundred_threads(sidecar: Sidecar, grant: str) -> None:
    answers: list[Decision] = []
    most = 0
    with Sluice(sidecar.path, max_connections=8, **PATIENT) as client:
        begin = threading.Barrier(201)

        def ask(number: int) -> None:
            begin.wait()
            for _ in range(20):
                # A tool of its own for each thread: an answer that went to another thread would show.
                tool = "big" if number % 2 else f"unknown-{number}"
                decision = client.check(grant, tool)
                assert decision.verdict == ("allow" if number % 2 else "deny")
                if number % 2:
                    answers.append(decision)
                else:
                    assert decision.message.startswith(f"unknown-{number} "), decision

        failures: list[BaseException] = []

        def guarded(number: int) -> None:
            try:
                ask(number)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        begin.wait()
        while any(thread.is_alive() for thread in threads):
            most = max(most, connections_to(sidecar.path))
            threads[-1].join(0.01)
        assert failures == []
        assert most <= 8
    assert len({decision.remaining for decision in answers}) == 100 * 20, "each was charged on its own"
    assert sidecar.used(grant, "big") == [100 * 20]


def test_a_thousand_tasks(sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with AsyncSluice(sidecar.path, max_connections=8, **PATIENT) as client:

            async def ask(number: int) -> int:
                tool = "big" if number % 2 else f"unknown-{number}"
                for _ in range(5):
                    decision = await client.check(grant, tool)
                    if not number % 2:
                        assert decision.message.startswith(f"unknown-{number} ")
                return decision.remaining

            remaining = await asyncio.gather(*[ask(number) for number in range(1000)])
            assert connections_to(sidecar.path) <= 8
            assert len(set(remaining[1::2])) == 500

    asyncio.run(main())
    assert sidecar.used(grant, "big") == [500 * 5]


def test_more_tasks_than_places_wait_their_turn(sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with AsyncSluice(sidecar.path, max_connections=1, **PATIENT) as client:
            decisions = await asyncio.gather(*[client.check(grant, "big") for _ in range(1000)])
            assert all(decisions)

    asyncio.run(main())
    assert sidecar.used(grant, "big") == [1000]


def test_a_full_pool_is_unavailable(stub: MakeStub) -> None:
    silent = stub(lambda words: b"")
    with Sluice(silent.path, max_connections=1, connect_timeout=0.05, timeout=20) as client:
        asking = threading.Thread(target=client.check, args=("g", "run"))
        asking.start()
        while not silent.requests:
            threading.Event().wait(0.002)
        assert client.check("g", "run").rule == "(pool)"
        silent.drop_all()
        asking.join(20)
        assert len(silent.requests) == 1


def test_a_cancelled_task_leaves_the_connection_right(sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with AsyncSluice(sidecar.path, max_connections=1, **PATIENT) as client:
            for round_ in range(50):
                tasks = [asyncio.create_task(client.check(grant, f"unknown-{number}")) for number in range(20)]
                await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                for number, answer in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
                    if number % 2 == 0:
                        assert isinstance(answer, asyncio.CancelledError)
                    else:
                        assert isinstance(answer, Decision) and answer.message.startswith(f"unknown-{number} ")
            assert connections_to(sidecar.path) == 1

    asyncio.run(main())


def test_a_task_cancelled_in_the_body_gives_everything_back(sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with AsyncSluice(sidecar.path, **PATIENT) as client:
            inside = asyncio.Event()

            async def call() -> None:
                async with client.reserve(grant, "slot", cost=100):
                    inside.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(call())
            await inside.wait()
            assert await asyncio.to_thread(sidecar.used, grant, "slot") == [1, 100]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert sidecar.used(grant, "slot") == [0, 0]


def test_a_task_cancelled_while_it_reserves_gives_everything_back(sidecar: Sidecar, grant: str) -> None:
    """At every turn of the loop, so also between the answer and the body."""

    async def main() -> None:
        async with AsyncSluice(sidecar.path, **PATIENT) as client:
            for turns in range(40):

                async def call() -> None:
                    async with client.reserve(grant, "tokens", cost=1):
                        await asyncio.sleep(60)

                task = asyncio.create_task(call())
                for _ in range(turns):
                    await asyncio.sleep(0 if turns % 2 else 0.0002)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())
    assert sidecar.used(grant, "tokens") == [0]


def test_a_task_cancelled_twice_gives_everything_back(sidecar: Sidecar, grant: str) -> None:
    """As anyio does it: every await of a cancelled scope fails again."""

    async def main() -> None:
        async with AsyncSluice(sidecar.path, **PATIENT) as client:
            inside = asyncio.Event()

            async def call() -> None:
                async with client.reserve(grant, "slot"):
                    inside.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(call())
            await inside.wait()
            with sidecar.stopped():
                task.cancel()
                await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())
    assert sidecar.used(grant, "slot") == [0, 0]


def test_a_stopped_sidecar_does_not_pile_up_connections(sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with AsyncSluice(sidecar.path, max_connections=4, connect_timeout=20, timeout=0.05) as client:
            with sidecar.stopped():
                for _ in range(3):
                    decisions = await asyncio.gather(*[client.check(grant, "big") for _ in range(100)])
                    assert {decision.rule for decision in decisions} <= {"(timeout)", "(pool)"}
                # A connection that is closed and not yet accepted counts as the sidecar's.
                assert client._pool is not None and len(client._pool._connections) <= 4

    asyncio.run(main())


def test_one_client_in_one_loop_after_the_other(shared_sidecar: Sidecar, grant: str) -> None:
    client = AsyncSluice(shared_sidecar.path, **PATIENT)
    assert [asyncio.run(client.check(grant, "run")).remaining for _ in range(3)] == [9, 8, 7]

    async def main() -> None:
        await client.check(grant, "run")
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, client.check(grant, "run"))
        await client.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await client.check(grant, "run")

    asyncio.run(main())


def test_answers_come_in_any_pieces(stub: MakeStub) -> None:
    """Each byte on its own, and all at once."""
    stream = admitted(1) + b"-BADARG wrong\r\n" + admitted(2, reservation="é" * 16) + b"$-1\r\n"
    for size in (1, 2, 3, 7, len(stream)):
        parser, replies = ReplyParser(), []
        for start in range(0, len(stream), size):
            parser.feed(stream[start : start + size])
            while (reply := parser.next()) is not None:
                replies.append(reply[0])
        assert len(replies) == 4 and parser.is_empty
        assert decision_of(replies[0])[0].remaining == 1
        assert decision_of(replies[2])[1] == "é" * 16
        with pytest.raises(RequestError, match="BADARG wrong"):
            decision_of(replies[1])
