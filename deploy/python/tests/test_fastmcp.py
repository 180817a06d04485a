"""The middleware in a real FastMCP server, asked by FastMCP's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastmcp")

from fastmcp import Client, FastMCP
from fastmcp.exceptions import McpError, ToolError
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from serving import served
from support import Sidecar

from sluice import AsyncSluice
from sluice.fastmcp import SluiceMiddleware, by_header

PATIENT: dict[str, Any] = {"connect_timeout": 20.0, "timeout": 20.0}


def server(path: str, client: AsyncSluice | None = None, auth: Any = None, **options: Any) -> FastMCP[Any]:
    sluice = client or AsyncSluice(path, **PATIENT)
    mcp: FastMCP[Any] = FastMCP("tools", middleware=[SluiceMiddleware(sluice, **options)], auth=auth)

    @mcp.tool
    def run(word: str = "ran") -> str:
        return word

    @mcp.tool
    def unknown() -> str:
        return "ran"

    @mcp.tool
    def secret() -> str:
        return "ran"

    @mcp.tool
    def minute() -> str:
        return "ran"

    @mcp.tool
    async def slot(fail: bool = False, wait: bool = False) -> str:
        if fail:
            raise ToolError("failed")
        if wait:
            await asyncio.sleep(60)
        return "ran"

    @mcp.resource("text://one")
    def one() -> str:
        return "text"

    @mcp.prompt
    def ask() -> str:
        return "what?"

    return mcp


def test_the_eleventh_call_is_a_result_that_the_agent_reads(shared_sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with Client(server(shared_sidecar.path, anonymous=grant)) as client:
            for _ in range(10):
                assert (await client.call_tool("run", {"word": "yes"})).data == "yes"
            result = await client.call_tool("run", raise_on_error=False)
            assert result.is_error and result.content[0].text.startswith("run is limited to 10 calls")
            assert result.meta["sluice/verdict"] == "limit" and result.meta["sluice/retry_after_ms"] > 0
            assert result.meta["sluice/rule"] == "/tools/run/limits/runs"

    asyncio.run(main())
    assert shared_sidecar.used(grant, "run") == [10]


def test_what_the_policy_forbids_is_not_listed(shared_sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with Client(server(shared_sidecar.path, anonymous=grant)) as client:
            await client.call_tool("minute")
            # What is only over its limit stays.
            assert sorted(tool.name for tool in await client.list_tools()) == ["minute", "run", "slot"]
        async with Client(server(shared_sidecar.path, anonymous=grant, filters=False)) as client:
            assert len(await client.list_tools()) == 5
            assert (await client.call_tool("secret", raise_on_error=False)).is_error

    asyncio.run(main())


def test_reads_and_prompts_are_checked_where_the_policy_lists_them(grant: str) -> None:
    limit = {"limits": [{"counter": "c", "window": 31_622_400, "max": 1}]}
    tools = {"resources/read": limit, "prompts/get": limit, "read text://one": {"action": "deny"}}
    sidecar = Sidecar(policy={"version": "1", "default": "deny", "tools": tools})

    async def main() -> None:
        async with Client(server(sidecar.path, anonymous=grant)) as client:
            assert (await client.read_resource("text://one"))[0].text == "text"
            await client.get_prompt("ask")
            for work in (client.read_resource("text://one"), client.get_prompt("ask")):
                with pytest.raises(McpError, match="is limited to 1 call") as caught:
                    await work
                assert caught.value.error.code == -32000 and caught.value.error.data["sluice/verdict"] == "limit"
        options: dict[str, Any] = {"resources": lambda uri: f"read {uri}", "prompts": "unlisted"}
        async with Client(server(sidecar.path, anonymous=grant, **options)) as client:
            assert await client.list_resources() == [] and len(await client.list_prompts()) == 1
            with pytest.raises(McpError):
                await client.read_resource("text://one")
            await client.get_prompt("ask")
        async with Client(server(sidecar.path, anonymous=grant, resources=None)) as client:
            await client.read_resource("text://one")

    try:
        asyncio.run(main())
    finally:
        sidecar.close()


def test_reserved_calls(shared_sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        sluice = AsyncSluice(shared_sidecar.path, **PATIENT)
        options: dict[str, Any] = {"reserve": {"slot"}, "cost": lambda tool, arguments: 10, "actual": lambda tool, result: 3}
        async with Client(server(shared_sidecar.path, sluice, anonymous=grant, **options)) as client:
            for _ in range(3):
                await client.call_tool("slot")
            assert shared_sidecar.used(grant, "slot") == [0, 9]
            with pytest.raises(ToolError):
                await client.call_tool("slot", {"fail": True})
            assert shared_sidecar.used(grant, "slot") == [0, 9], "a failed call costs nothing"
            waiting = [asyncio.create_task(client.call_tool("slot", {"wait": True})) for _ in range(2)]
            while shared_sidecar.used(grant, "slot") != [2, 29]:
                await asyncio.sleep(0.005)
            busy = await client.call_tool("slot", raise_on_error=False)
            assert busy.is_error and busy.meta["sluice/rule"].endswith("/slots")
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await sluice.aclose()

    asyncio.run(main())
    assert shared_sidecar.used(grant, "slot") == [0, 9], "cancelled calls cost nothing"


def test_names_from_outside_are_denials(shared_sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with Client(server(shared_sidecar.path, anonymous=grant)) as client:
            for name in ("x" * 300, "a\0b"):
                result = await client.call_tool(name, raise_on_error=False)
                assert result.is_error and result.content[0].text == "This call cannot be checked."

    asyncio.run(main())


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_without_a_sidecar(fail: Any) -> None:
    async def main() -> None:
        async with Client(server("", AsyncSluice("/tmp/there-is-no.sock", fail=fail), anonymous="g")) as client:
            result = await client.call_tool("run", raise_on_error=False)
            assert result.is_error is (fail == "closed")
            if fail == "open":
                assert len(await client.list_tools()) == 5
            else:
                assert result.content[0].text == "The rate limiter does not answer. Try again in 1 second."
                with pytest.raises(McpError, match="does not answer"):
                    await client.list_tools()

    asyncio.run(main())


@pytest.fixture
def url(shared_sidecar: Sidecar, grant: str) -> Iterator[str]:
    """A server that knows two tokens."""
    tokens = {f"token-{name}": {"client_id": f"{grant}-{name}", "scopes": []} for name in ("a", "b")}
    mcp = server(shared_sidecar.path, auth=StaticTokenVerifier(tokens))
    with served(mcp.http_app()) as url:
        yield f"{url}/mcp"


def test_the_grant_is_the_verified_client(url: str, shared_sidecar: Sidecar, grant: str) -> None:
    async def main() -> None:
        async with Client(url, auth="token-a") as client:
            for _ in range(10):
                await client.call_tool("run")
            assert (await client.call_tool("run", raise_on_error=False)).is_error
        async with Client(url, auth="token-b") as client:
            await client.call_tool("run")

    asyncio.run(main())
    assert shared_sidecar.used(f"{grant}-a", "run") == [10] and shared_sidecar.used(f"{grant}-b", "run") == [1]


def test_the_grant_is_the_tokens_hash_or_a_header(shared_sidecar: Sidecar, grant: str) -> None:
    import hashlib

    hashed = f"bearer:{hashlib.sha256(grant.encode()).hexdigest()[:32]}"

    async def main(url: str, **options: Any) -> bool:
        async with Client(url, **options) as client:
            return bool((await client.call_tool("run", raise_on_error=False)).is_error)

    with served(server(shared_sidecar.path).http_app()) as url:
        assert asyncio.run(main(f"{url}/mcp", auth=grant)) is False
        assert asyncio.run(main(f"{url}/mcp")) is True, "nobody is denied"
    assert shared_sidecar.used(hashed, "run") == [1]
    from fastmcp.client.transports import StreamableHttpTransport

    with served(server(shared_sidecar.path, grant=by_header("X-Grant")).http_app()) as url:

        async def with_header() -> None:
            async with Client(StreamableHttpTransport(f"{url}/mcp", headers={"x-grant": grant})) as client:
                await client.call_tool("run")

        asyncio.run(with_header())
    assert shared_sidecar.used(grant, "run") == [1]
