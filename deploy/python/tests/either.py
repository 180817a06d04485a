"""Both clients behind one blocking interface, so that one test covers both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from sluice import AsyncSluice, Decision, Fail, Sluice


class Either:
    """`Sluice`, or `AsyncSluice` on an event loop in another thread."""

    def __init__(self, kind: str, path: str, fail: Fail = "closed", **options: Any) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.client: Any
        if kind == "sync":
            self.client = Sluice(path, fail=fail, **options)
            return
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.client = AsyncSluice(path, fail=fail, **options)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)
        if self._loop is None:
            return method  # type: ignore[no-any-return]
        return lambda *arguments, **options: self.run(method(*arguments, **options))

    def check(self, *arguments: Any, **options: Any) -> Decision:
        decision = self.__getattr__("check")(*arguments, **options)
        assert isinstance(decision, Decision)
        return decision

    def reserved(self, body: Callable[[Any], Any], *arguments: Any, **options: Any) -> Any:
        """Runs a body within `with`; of the asyncio client it returns a coroutine or a value."""
        if self._loop is None:
            with self.client.reserve(*arguments, **options) as reservation:
                return body(reservation)

        async def run() -> Any:
            async with self.client.reserve(*arguments, **options) as reservation:
                result = body(reservation)
                return await result if asyncio.iscoroutine(result) else result

        return self.run(run())

    def close(self) -> None:
        if self._loop is None:
            self.client.close()
            return
        self.run(self.client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
