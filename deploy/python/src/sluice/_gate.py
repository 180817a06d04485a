"""What the adapters share: a call is checked, forwarded or denied, and settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, Union

from ._async import AsyncReservation, AsyncSluice
from ._caller import Caller, GrantOf, default_grant, grant_of
from ._common import logger
from ._decision import Decision, no_grant
from ._errors import Denied, RequestError

R = TypeVar("R")

#: What a call costs: a number, or a function of the tool and its arguments.
Cost = Union[int, Callable[[str, Mapping[str, Any]], int]]
#: What a call did cost: a function of the tool and its result.
Actual = Callable[[str, Any], int]
#: The tool as which something is checked: its name, a function of what is asked for, or None: not at all.
ToolOf = Union[str, None, Callable[[str], Union[str, None]]]

#: The JSON-RPC error code of a denial where there is no tool result.
DENIED_CODE = -32000


class Gate:
    """Checks calls on behalf of an adapter.

    Args:
        sluice: whom to ask; its `fail` says what happens without an answer.
        grant: the caller's grant; the verified client id, else the bearer token's hash, by default.
        anonymous: the grant of a caller that has none; without it such calls are denied.
        server: the server's name, if limits count by it.
        cost: what a call charges.
        reserve: tools whose calls are reserved, or True for all: a call that fails, or is cancelled, is given back. A tool with a
            `concurrency` limit needs it.
        actual: what a reserved call did cost; without it the `cost` stays charged.
    """

    def __init__(
        self,
        sluice: AsyncSluice,
        *,
        grant: GrantOf = default_grant,
        anonymous: str | None = None,
        server: str | None = None,
        cost: Cost = 1,
        reserve: bool | Collection[str] = False,
        actual: Actual | None = None,
    ) -> None:
        self._sluice = sluice
        self._grant = grant
        self._anonymous = anonymous
        self._server = server
        self._cost = cost
        self._reserve = reserve
        self._actual = actual
        self._last_fault = ""

    async def grant_of(self, caller: Caller) -> str | None:
        """The caller's grant, or that of anonymous callers."""
        found = await grant_of(self._grant, caller)
        return self._anonymous if found is None else found

    async def call(
        self,
        caller: Caller,
        tool: str,
        arguments: Mapping[str, Any],
        forward: Callable[[Decision], Awaitable[R]],
        deny: Callable[[Decision], R],
        is_failure: Callable[[R], bool] = lambda result: False,
        is_listed_only: bool = False,
    ) -> R:
        """Checks a call, then forwards or denies it.

        Args:
            is_failure: whether a result gives the charge back, if it was reserved.
            is_listed_only: what no policy lists passes: for what is no tool.
        """
        grant = await self.grant_of(caller)
        if grant is None:
            return deny(no_grant(tool))
        cost = self._cost if isinstance(self._cost, int) else self._cost(tool, arguments)
        options: dict[str, Any] = {"cost": cost, "server": self._server, "session": caller.session}
        reservation: AsyncReservation | None = None
        try:
            if self._reserves(tool):
                reservation = self._sluice.reserve(grant, tool, **options)
                decision = await reservation.begin()
            else:
                decision = await self._sluice.check(grant, tool, **options)
        except RequestError as error:
            return deny(self._refused(error))
        if not decision and not (is_listed_only and decision.rule == "(default deny)"):
            return deny(decision)
        if reservation is None:
            return await forward(decision)
        try:
            result = await forward(decision)
        except BaseException:
            await reservation.cancel()
            raise
        if is_failure(result):
            await reservation.cancel()
            return result
        if self._actual is not None:
            await reservation.commit(self._actual(tool, result))
        await reservation.release()
        return result

    async def visible(self, caller: Caller, tools: Sequence[str], is_listed_only: bool = False) -> list[bool]:
        """Which of these the caller may see: those that its policy does not forbid. A tool over its limit stays visible.

        Raises:
            Denied: it cannot be known, and the client fails closed.
        """
        grant = await self.grant_of(caller)
        if grant is None:
            raise Denied(no_grant("the list"))
        names = [name for name in tools if 1 <= len(name.encode("utf-8", "replace")) <= 256 and "\0" not in name]
        try:
            answers = await self._sluice.peek_many(grant, names, self._server, caller.session)
        except RequestError as error:
            raise Denied(self._refused(error)) from error
        unknown = next((answer for answer in answers if answer.verdict == "unavailable" and answer.source == "client"), None)
        if unknown is not None and not unknown:
            raise Denied(unknown)
        shown = {
            name
            for name, answer in zip(names, answers)
            if answer.verdict != "deny" or (is_listed_only and answer.rule == "(default deny)")
        }
        return [name in shown for name in tools]

    def _reserves(self, tool: str) -> bool:
        return self._reserve if isinstance(self._reserve, bool) else tool in self._reserve

    def _refused(self, error: RequestError) -> Decision:
        """What a request that is wrong gets. Names come from callers, so it is a denial, and the log has it once in a row."""
        text = str(error)
        if text != self._last_fault:
            self._last_fault = text
            logger.warning("a check was refused: %s", text)
        return Decision(False, -1, -1, -1, -1, "deny", f"({error.code})", "client", "This call cannot be checked.")


def tool_of(way: ToolOf, what: str) -> str | None:
    """The tool as which something is checked."""
    return way(what) if callable(way) else way
