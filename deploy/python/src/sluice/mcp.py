"""Middleware for the MCP SDK's servers: `MCPServer(middleware=[SluiceMiddleware(AsyncSluice(path))])`, or, of the low-level
`Server`, `server.middleware.append(...)`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from mcp import MCPError
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from ._async import AsyncSluice
from ._caller import Caller, GrantOf, by_bearer, by_client_id, by_header, by_subject, default_grant, first_of
from ._decision import Decision
from ._errors import Denied
from ._gate import DENIED_CODE, Actual, Cost, Gate, ToolOf, tool_of

__all__ = ["Caller", "SluiceMiddleware", "by_bearer", "by_client_id", "by_header", "by_subject", "first_of"]


class SluiceMiddleware:
    """Asks before each tool call, resource read and prompt; lists only the tools that the policy does not forbid.

    A denied tool call is a result with `isError`, so that the agent reads why; a denied read or prompt is an error, -32000.

    Args:
        sluice, grant, anonymous, server, cost, reserve, actual: see `Gate`. Servers that are no HTTP servers, such as those on
            stdio, know no caller: they need `anonymous`.
        resources: the tool as which reads are checked, or a function of the URI. What no policy lists passes here.
        prompts: the same for prompts, or a function of the prompt's name.
        filters: whether `tools/list` leaves out what the policy forbids.
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
        resources: ToolOf = "resources/read",
        prompts: ToolOf = "prompts/get",
        filters: bool = True,
    ) -> None:
        self._gate = Gate(
            sluice, grant=grant, anonymous=anonymous, server=server, cost=cost, reserve=reserve, actual=actual
        )
        self._resources = resources
        self._prompts = prompts
        self._filters = filters

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """One message; what is no request passes."""
        if ctx.request_id is None:
            return await call_next(ctx)
        params = ctx.params or {}
        if ctx.method == "tools/call" and isinstance(name := params.get("name"), str):
            return await self._call_tool(ctx, call_next, name, params)
        if ctx.method == "resources/read" and isinstance(uri := params.get("uri"), str):
            return await self._unless_denied(ctx, call_next, tool_of(self._resources, uri))
        if ctx.method == "prompts/get" and isinstance(name := params.get("name"), str):
            return await self._unless_denied(ctx, call_next, tool_of(self._prompts, name))
        if ctx.method == "tools/list" and self._filters:
            return await self._list_tools(ctx, call_next)
        return await call_next(ctx)

    async def _call_tool(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext, name: str, params: Mapping[str, Any]
    ) -> HandlerResult:
        arguments = params.get("arguments")
        return await self._gate.call(
            _caller(ctx),
            name,
            arguments if isinstance(arguments, Mapping) else {},
            lambda decision: call_next(ctx),
            lambda decision: _denied(ctx, decision),
            lambda result: isinstance(result, dict) and result.get("isError") is True,
        )

    async def _unless_denied(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext, tool: str | None
    ) -> HandlerResult:
        if tool is None:
            return await call_next(ctx)
        return await self._gate.call(
            _caller(ctx), tool, {}, lambda decision: call_next(ctx), _raise, is_listed_only=True
        )

    async def _list_tools(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        # What comes from the handler is in its wire form here.
        if not isinstance(result, dict) or not isinstance(tools := result.get("tools"), list):
            return result
        try:
            shown = await self._gate.visible(_caller(ctx), [tool["name"] for tool in tools])
        except Denied as error:
            _raise(error.decision)
        return {**result, "tools": [tool for tool, is_shown in zip(tools, shown) if is_shown]}


def _denied(ctx: ServerRequestContext[Any, Any], decision: Decision) -> HandlerResult:
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": decision.message}],
        "isError": True,
        "_meta": decision.meta,
    }
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        # Clients of these versions take a result without it for a broken one.
        result["resultType"] = "complete"
    return result


def _raise(decision: Decision) -> NoReturn:
    raise MCPError(DENIED_CODE, decision.message, decision.meta)


def _caller(ctx: ServerRequestContext[Any, Any]) -> Caller:
    sent = getattr(ctx.request, "headers", None) or {}
    headers = {str(name).lower(): str(value) for name, value in sent.items()}
    token = get_access_token()
    return Caller(
        headers=headers,
        client_id=token.client_id if token else None,
        subject=token.subject if token else None,
        session=headers.get("mcp-session-id"),
        context=ctx,
    )
