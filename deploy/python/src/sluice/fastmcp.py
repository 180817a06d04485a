"""Middleware for FastMCP: `FastMCP(middleware=[SluiceMiddleware(AsyncSluice(path))])`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, TypeVar

import mcp_types as mt
from fastmcp.prompts.base import Prompt, PromptResult
from fastmcp.resources.base import Resource, ResourceResult
from fastmcp.resources.template import ResourceTemplate
from fastmcp.server.dependencies import get_access_token, get_http_headers
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import Tool, ToolResult
from mcp import MCPError

from ._async import AsyncSluice
from ._caller import Caller, GrantOf, by_bearer, by_client_id, by_header, by_subject, default_grant, first_of
from ._decision import Decision
from ._errors import Denied
from ._gate import DENIED_CODE, Actual, Cost, Gate, ToolOf, tool_of

R = TypeVar("R")

__all__ = ["Caller", "SluiceMiddleware", "by_bearer", "by_client_id", "by_header", "by_subject", "first_of"]


class SluiceMiddleware(Middleware):
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

    async def on_call_tool(
        self,
        context: MiddlewareContext[mt.CallToolRequestParams],
        call_next: CallNext[mt.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """`tools/call`."""
        message = context.message
        return await self._gate.call(
            _caller(context),
            message.name,
            message.arguments or {},
            lambda decision: call_next(context),
            lambda decision: ToolResult(content=decision.message, is_error=True, meta=dict(decision.meta)),
            lambda result: result.is_error,
        )

    async def on_read_resource(
        self,
        context: MiddlewareContext[mt.ReadResourceRequestParams],
        call_next: CallNext[mt.ReadResourceRequestParams, ResourceResult],
    ) -> ResourceResult:
        """`resources/read`."""
        return await self._unless_denied(context, self._resources, str(context.message.uri), call_next)

    async def on_get_prompt(
        self,
        context: MiddlewareContext[mt.GetPromptRequestParams],
        call_next: CallNext[mt.GetPromptRequestParams, PromptResult],
    ) -> PromptResult:
        """`prompts/get`."""
        return await self._unless_denied(context, self._prompts, context.message.name, call_next)

    async def on_list_tools(
        self,
        context: MiddlewareContext[mt.ListToolsRequest],
        call_next: CallNext[mt.ListToolsRequest, Sequence[Tool]],
    ) -> Sequence[Tool]:
        """`tools/list`."""
        tools = await call_next(context)
        return await self._listed(context, tools, lambda tool: tool.name) if self._filters else tools

    async def on_list_resources(
        self,
        context: MiddlewareContext[mt.ListResourcesRequest],
        call_next: CallNext[mt.ListResourcesRequest, Sequence[Resource]],
    ) -> Sequence[Resource]:
        """`resources/list`, where resources are checked one by one."""
        resources = await call_next(context)
        if not self._filters or not callable(way := self._resources):
            return resources
        return await self._listed(context, resources, lambda resource: way(str(resource.uri)), True)

    async def on_list_resource_templates(
        self,
        context: MiddlewareContext[mt.ListResourceTemplatesRequest],
        call_next: CallNext[mt.ListResourceTemplatesRequest, Sequence[ResourceTemplate]],
    ) -> Sequence[ResourceTemplate]:
        """`resources/templates/list`: left as it is, since a template is no resource yet."""
        return await call_next(context)

    async def on_list_prompts(
        self,
        context: MiddlewareContext[mt.ListPromptsRequest],
        call_next: CallNext[mt.ListPromptsRequest, Sequence[Prompt]],
    ) -> Sequence[Prompt]:
        """`prompts/list`, where prompts are checked one by one."""
        prompts = await call_next(context)
        if not self._filters or not callable(way := self._prompts):
            return prompts
        return await self._listed(context, prompts, lambda prompt: way(prompt.name), True)

    async def _unless_denied(
        self, context: MiddlewareContext[Any], way: ToolOf, what: str, call_next: CallNext[Any, R]
    ) -> R:
        tool = tool_of(way, what)
        if tool is None:
            return await call_next(context)
        return await self._gate.call(
            _caller(context), tool, {}, lambda decision: call_next(context), _raise, is_listed_only=True
        )

    async def _listed(
        self,
        context: MiddlewareContext[Any],
        components: Sequence[Any],
        name: Callable[[Any], str | None],
        is_listed_only: bool = False,
    ) -> list[Any]:
        named = [(component, name(component)) for component in components]
        asked = [name for _, name in named if name is not None]
        try:
            shown = await self._gate.visible(_caller(context), asked, is_listed_only)
        except Denied as error:
            _raise(error.decision)
        hidden = {name for name, is_shown in zip(asked, shown) if not is_shown}
        return [component for component, name in named if name not in hidden]


def _raise(decision: Decision) -> NoReturn:
    raise MCPError(DENIED_CODE, decision.message, decision.meta)


def _caller(context: MiddlewareContext[Any]) -> Caller:
    headers = {name.lower(): value for name, value in get_http_headers(include_all=True).items()}
    token = get_access_token()
    return Caller(
        headers=headers,
        client_id=token.client_id if token else None,
        subject=getattr(token, "subject", None),
        session=headers.get("mcp-session-id"),
        context=context,
    )
