"""Middleware for ASGI applications: Starlette, FastAPI, Litestar, Django, ..."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Union

from ._async import AsyncSluice
from ._caller import Caller, GrantOf, by_bearer, by_client_id, by_header, by_subject, default_grant, first_of
from ._decision import Decision
from ._gate import Gate

__all__ = ["Caller", "SluiceMiddleware", "by_bearer", "by_client_id", "by_header", "by_subject", "first_of"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
#: The tool as which a request is checked: its name, or a function of the scope; None: not at all.
Tool = Union[str, Callable[[Scope], Union[str, None]]]


class SluiceMiddleware:
    """Asks before each request. Denials are 429, 403 or 503 with `Retry-After` and a JSON body; answers have RateLimit headers.

    A websocket is checked when it opens, and closed with 1008 if denied. Other events pass.

    Args:
        app: the application.
        sluice, grant, anonymous, server: see `Gate`; the grant is the bearer token's hash by default, and `Caller.context`
            the scope.
        tool: the tool as which requests are checked.
        cost: what a request charges.
        reserve: gives the charge back if the application fails or answers 5xx, or the client leaves; needed by `concurrency`
            limits, whose slots are held until the answer has been sent.
    """

    def __init__(
        self,
        app: App,
        sluice: AsyncSluice,
        *,
        grant: GrantOf = default_grant,
        anonymous: str | None = None,
        server: str | None = None,
        tool: Tool = "http",
        cost: int = 1,
        reserve: bool = False,
    ) -> None:
        self._app = app
        self._gate = Gate(sluice, grant=grant, anonymous=anonymous, server=server, cost=cost, reserve=reserve)
        self._tool = tool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        tool = None
        if scope["type"] in ("http", "websocket"):
            tool = self._tool(scope) if callable(self._tool) else self._tool
        if tool is None:
            return await self._app(scope, receive, send)
        denials: list[Decision] = []

        async def forward(decision: Decision) -> int:
            return await self._forward(scope, receive, send, decision)

        def deny(decision: Decision) -> int:
            denials.append(decision)
            return decision.http_status

        await self._gate.call(_caller(scope), tool, {}, forward, deny, lambda status: status >= 500)
        for decision in denials:
            await _refuse(scope, receive, send, decision)

    async def _forward(self, scope: Scope, receive: Receive, send: Send, decision: Decision) -> int:
        """Calls the application, and adds the headers to its answer. Returns the answer's status."""
        status = 200
        added = [(name.lower().encode(), value.encode()) for name, value in decision.http_headers.items()]

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers)
        return status


def _caller(scope: Scope) -> Caller:
    headers: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return Caller(headers=headers, session=headers.get("mcp-session-id"), context=scope)


async def _refuse(scope: Scope, receive: Receive, send: Send, decision: Decision) -> None:
    if scope["type"] == "websocket":
        await receive()
        return await send({"type": "websocket.close", "code": 1008, "reason": _reason(decision)})
    body = json.dumps({"error": decision.message, "rule": decision.rule}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **decision.http_headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": decision.http_status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def _reason(decision: Decision) -> str:
    """The message, cut to the 123 bytes that a websocket's close has room for."""
    return decision.message.encode()[:123].decode(errors="ignore")
