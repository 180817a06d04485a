"""The middleware in real servers of the MCP SDK, asked by its own client, by both generations of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("mcp.server.mcpserver", reason="mcp 2 or newer")

import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import MCPServer
from serving import served
from support import Sidecar

from sluice import AsyncSluice
from sluice.mcp import SluiceMiddleware, by_header

PATIENT: dict[str, Any] = {"connect_timeout": 20.0, "timeout": 20.0}
MODES: list[Any] = ["legacy", "2026-07-28"]


def high_level(middleware: SluiceMiddleware) -> MCPServer:
    server = MCPServer("tools", middleware=[middleware])

    @server.tool()
    def run(word: str = "ran") -> str:
        return word

    @server.tool()
    def unknown() -> str:
        return "ran"

    @server.tool()
    async def slot(fail: bool = False) -> str:
        if fail:
            raise ValueError("failed")
        return "ran"

    @server.resource("text://one")
    def one() -> str:
        return "text"

    @server.prompt()
    def ask() -> str:
        return "what?"

    return server


def low_level(middleware: SluiceMiddleware) -> Server[Any]:
    async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
        tools = [types.Tool(name=name, input_schema={"type": "object"}) for name in ("run", "unknown", "slot")]
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        failed = bool((params.arguments or {}).get("fail"))
        text = (params.arguments or {}).get("word", "ran")
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)

    async def read(ctx: Any, params: Any) -> types.ReadResourceResult:
        return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text="text")])

    async def prompt(ctx: Any, params: Any) -> types.GetPromptResult:
        text = types.TextContent(type="text", text="what?")
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])

    server: Server[Any] = Server(
        "tools", on_list_tools=list_tools, on_call_tool=call_tool, on_read_resource=read, on_get_prompt=prompt
    )
    server.middleware.append(middleware)
    return server


Make = Callable[[SluiceMiddleware], Any]
both = pytest.mark.parametrize("make", [high_level, low_level])
modes = pytest.mark.parametrize("mode", MODES)


def text_of(result: types.CallToolResult) -> str:
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


@both
@modes
def test_the_eleventh_call_is_a_result_that_the_agent_reads(
    make: Make, mode: Any, shared_sidecar: Sidecar, grant: str
) -> None:
    async def main() -> None:
        async with AsyncSluice(shared_sidecar.path, **PATIENT) as sluice:
            async with Client(make(SluiceMiddleware(sluice, anonymous=grant)), mode=mode) as client:
                for _ in range(10):
                    assert text_of(await client.call_tool("run", {"word": "yes"})) == "yes"
                result = await client.call_tool("run", {})
                assert result.is_error and text_of(result).startswith("run is limited to 10 calls")
                assert result.meta is not None and result.meta["sluice/verdict"] == "limit"
                assert [tool.name for tool in (await client.list_tools()).tools] == ["run", "slot"]

    asyncio.run(main())
    assert shared_sidecar.used(grant, "run") == [10]


@both
@modes
def test_reserved_calls_that_fail_cost_nothing(make: Make, mode: Any, shared_sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with AsyncSluice(shared_sidecar.path, **PATIENT) as sluice:
            middleware = SluiceMiddleware(sluice, anonymous=grant, reserve=True, cost=5)
            async with Client(make(middleware), mode=mode) as client:
                assert not (await client.call_tool("slot", {})).is_error
                assert (await client.call_tool("slot", {"fail": True})).is_error

    asyncio.run(main())
    assert shared_sidecar.used(grant, "slot") == [0, 5]


@both
@modes
def test_reads_and_prompts_are_checked_where_the_policy_lists_them(make: Make, mode: Any, grant: str) -> None:
    limit = {"limits": [{"counter": "c", "window": 31_622_400, "max": 1}]}
    tools = {"resources/read": limit, "prompts/get": limit}
    sidecar = Sidecar(policy={"version": "1", "default": "deny", "tools": tools})

    async def main() -> None:
        async with AsyncSluice(sidecar.path, **PATIENT) as sluice:
            async with Client(make(SluiceMiddleware(sluice, anonymous=grant)), mode=mode) as client:
                await client.get_prompt("ask")
                await client.read_resource("text://one")
                with pytest.raises(MCPError, match="prompts/get is limited to 1 call") as caught:
                    await client.get_prompt("ask")
                assert caught.value.code == -32000 and caught.value.data["sluice/verdict"] == "limit"
            unlisted = SluiceMiddleware(sluice, anonymous=grant, resources="unlisted", prompts=None)
            async with Client(make(unlisted), mode=mode) as client:
                await client.get_prompt("ask")
                await client.read_resource("text://one")

    try:
        asyncio.run(main())
    finally:
        sidecar.close()


@both
@modes
@pytest.mark.parametrize("fail", ["closed", "open"])
def test_without_a_sidecar(make: Make, mode: Any, fail: Any) -> None:
    async def main() -> None:
        sluice = AsyncSluice("/tmp/there-is-no.sock", fail=fail)
        async with Client(make(SluiceMiddleware(sluice, anonymous="g")), mode=mode) as client:
            assert (await client.call_tool("run", {})).is_error is (fail == "closed")
            if fail == "open":
                assert len((await client.list_tools()).tools) == 3
            else:
                with pytest.raises(MCPError, match="does not answer"):
                    await client.list_tools()

    asyncio.run(main())


@both
@modes
def test_over_http_the_grant_comes_from_the_request(make: Make, mode: Any, shared_sidecar: Sidecar, grant: str) -> None:
    sluice = AsyncSluice(shared_sidecar.path, **PATIENT)

    async def call(url: str, headers: dict[str, str]) -> bool:
        async with httpx2.AsyncClient(headers=headers, follow_redirects=True) as http:
            async with Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client:
                return bool((await client.call_tool("run", {})).is_error)

    app = make(SluiceMiddleware(sluice, grant=by_header("X-Grant"))).streamable_http_app()
    with served(app) as url:
        assert asyncio.run(call(url, {"X-Grant": grant})) is False
        assert asyncio.run(call(url, {})) is True
    assert shared_sidecar.used(grant, "run") == [1]
