from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator

import pytest
from support import Redis, Sidecar, Stub

_numbers = itertools.count()


@pytest.fixture
def grant() -> str:
    """A grant that no other test has."""
    return f"grant-{next(_numbers)}"


@pytest.fixture(scope="session")
def shared_sidecar() -> Iterator[Sidecar]:
    """One that no test stops or ends."""
    sidecar = Sidecar()
    yield sidecar
    sidecar.close()


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    """A test's own."""
    sidecar = Sidecar()
    yield sidecar
    sidecar.close()


@pytest.fixture
def redis() -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    redis = Redis()
    yield redis
    redis.close()


@pytest.fixture
def stub() -> Iterator[Callable[[Callable[[list[str]], bytes | None]], Stub]]:
    made: list[Stub] = []

    def make(answer: Callable[[list[str]], bytes | None]) -> Stub:
        made.append(Stub(answer))
        return made[-1]

    yield make
    for each in made:
        each.close()
