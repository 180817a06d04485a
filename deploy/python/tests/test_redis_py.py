"""What README.md says of redis-py: what goes wrong by default, and which options are right."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

redis = pytest.importorskip("redis")

import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry
from support import Sidecar, Stub

MakeStub = Callable[[Callable[[list[str]], "bytes | None"]], Stub]


def right(path: str, **more: Any) -> dict[str, Any]:
    """The options of README.md."""
    return {
        "unix_socket_path": path,
        "decode_responses": True,
        "socket_connect_timeout": 0.25,
        "socket_timeout": 0.25,
        "retry": Retry(NoBackoff(), 0),
        **more,
    }


def dropping(words: list[str]) -> bytes | None:
    """A sidecar that loses its connection after each check, which it may have counted."""
    if words[0] == "CHECK":
        return None
    return b"%1\r\n$5\r\nproto\r\n:3\r\n" if words[0] == "HELLO" else b"+OK\r\n"


def checks(stub: Stub) -> int:
    return sum(words[0] == "CHECK" for words in stub.requests)


def test_by_default_a_lost_check_is_sent_again(stub: MakeStub) -> None:
    sidecar = stub(dropping)
    with pytest.raises(redis.ConnectionError):
        # Fewer tries than the default's, and without its pauses; the kind of try is the default's.
        client = redis.Redis(unix_socket_path=sidecar.path, retry=Retry(NoBackoff(), 2))
        client.execute_command("CHECK", "alice", "run")
    assert checks(sidecar) == 3
    default = redis.Redis(unix_socket_path=sidecar.path).get_retry()
    assert default is not None and default.get_retries() >= 3


def test_without_retries_it_is_sent_once(stub: MakeStub) -> None:
    sidecar = stub(dropping)
    with pytest.raises(redis.ConnectionError):
        redis.Redis(**right(sidecar.path)).execute_command("CHECK", "alice", "run")
    assert checks(sidecar) == 1

    async def main() -> None:
        async with redis.asyncio.Redis(**right(sidecar.path)) as client:
            with pytest.raises(redis.ConnectionError):
                await client.execute_command("CHECK", "alice", "run")

    asyncio.run(main())
    assert checks(sidecar) == 2


def test_a_stopped_sidecar_ends_in_a_timeout(sidecar: Sidecar) -> None:
    client = redis.Redis(**right(sidecar.path, socket_timeout=0.05))
    with sidecar.stopped(), pytest.raises(redis.TimeoutError):
        client.execute_command("CHECK", "alice", "run")


def test_without_a_timeout_nothing_bounds_the_wait(shared_sidecar: Sidecar) -> None:
    """Or so long that it is none for a gateway, depending on the version."""
    client = redis.Redis(unix_socket_path=shared_sidecar.path)
    connection = client.connection_pool.get_connection()
    timeout = connection._sock.gettimeout() if isinstance(connection._sock, socket.socket) else None
    assert timeout is None or timeout > 1


def test_a_transaction_is_an_error_and_charges_nothing(shared_sidecar: Sidecar, grant: str) -> None:
    client = redis.Redis(**right(shared_sidecar.path, socket_timeout=20))
    with pytest.raises(redis.ResponseError, match="not charged.*transaction=False"):
        client.pipeline().execute_command("CHECK", grant, "run").execute()
    assert shared_sidecar.used(grant, "run") == [0]
    [answer] = client.pipeline(transaction=False).execute_command("CHECK", grant, "run").execute()
    assert (answer["remaining"] if isinstance(answer, dict) else answer[2]) == 9
