"""nginx, HAProxy or the example gateway in front of a real MCP server, with real MCP clients of both eras of the protocol.

Argument: nginx, haproxy or gateway. Runs in the environment of scripts/envoy; ends with 77 if something is not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from stage import DEPLOY, LONG_WINDOW, Backend, Proxy, answers, check, find, free_port, ok, skip

try:
    import anyio
    import httpx2
    from mcp import MCPError
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client
except ImportError:
    skip("there is no MCP SDK, scripts/envoy installs it")

from support import Sidecar, spawn, wait_until

KIND = sys.argv[1]
if KIND != "gateway" and not find(KIND) or (KIND == "nginx" and not os.path.exists("/usr/lib/nginx/modules/ngx_http_lua_module.so")):
    skip(f"there is no {KIND} with Lua, scripts/plugs installs it")

POLICY = {
    "version": "1",
    "default": "deny",
    "tools": {"opencode_run": {"limits": [{"counter": "runs", "window": LONG_WINDOW, "max": 10}]}},
}


class Gateway:
    """The one of deploy/examples/two-gateways."""

    def __init__(self, path: str, tool_port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, f"{DEPLOY}/examples/two-gateways/gateway.py", "--sidecar", path, "--tool-port", str(tool_port)],
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)


#: How each knows alice and bob, and what it calls bob.
KEYS = {"gateway": ("token-alice", "token-bob", "bob-laptop")}.get(KIND, ("key-of-alice", "key-of-bob", "bob-desktop"))


async def agent(mode: str, key: str, port: int, calls: str, sidecar: Sidecar, grant: str) -> None:
    def seen() -> list[str]:
        with open(calls, encoding="utf-8") as file:
            return file.read().split()

    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            check("opencode_run" in tools, f"{mode}: what is no call passes", tools)
            before = len(seen())
            results = [await client.call_tool("opencode_run", {"task": f"{mode}-{n}"}) for n in range(11)]
            check(not any(result.is_error for result in results[:10]), f"{mode}: ten calls pass", results)
            text = results[10].content[0].text
            check(results[10].is_error, f"{mode}: the eleventh is a tool's result that says no", results[10])
            check(text.startswith("opencode_run is limited to 10 calls"), f"{mode}: it says why: {text}")
            check(len(seen()) - before == 10, f"{mode}: the server never saw it", seen())
            check(sidecar.used(grant, "opencode_run") == [10], f"{mode}: ten were counted")
            result = await client.call_tool("forbidden", {"task": "x"})
            check(result.is_error and "not allowed" in result.content[0].text, f"{mode}: a forbidden tool is denied", result)
            check("forbidden" not in seen(), f"{mode}: the server never saw that either")


async def without_sidecar(port: int, sidecar: Sidecar) -> None:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {KEYS[1]}"}) as http:
        async with Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)) as client:
            check((await client.list_tools()).tools, "a session that is open")
            sidecar.end()
            result = await client.call_tool("opencode_run", {"task": "x"})
            check(result.is_error, "without the sidecar a call is a tool's result that says no", result)
            check("does not answer" in result.content[0].text, f"it says why: {result.content[0].text}")
            if KIND != "gateway":
                try:
                    await client.list_tools()
                    check(False, "what may be listed in a policy does not pass unasked")
                except MCPError as error:
                    check("does not answer" in str(error), f"other methods are an error: {error}")
            sidecar.start()
            check((await client.list_tools()).tools, "when it is back, the session goes on")


def main() -> None:
    calls = tempfile.NamedTemporaryFile(prefix="sluice-calls-")
    port = free_port()
    with open(os.devnull, "wb") as nothing:
        server = spawn(sys.executable, f"{DEPLOY}/envoy/tool_server.py", str(port), calls.name, stdout=nothing, stderr=nothing)
    wait_until("the MCP server listens", lambda: answers(port), timeout=60)
    sidecar = Sidecar("--replicas", "1", policy=POLICY)
    is_proxy = KIND != "gateway"
    gate = Proxy(KIND, sidecar.path, Backend(), mcp_port=port) if is_proxy else Gateway(sidecar.path, port)
    try:
        anyio.run(agent, "legacy", KEYS[0], gate.port, calls.name, sidecar, "alice-laptop")
        anyio.run(agent, "auto", KEYS[1], gate.port, calls.name, sidecar, KEYS[2])
        anyio.run(without_sidecar, gate.port, sidecar)
    finally:
        gate.close()
        sidecar.close()
        server.kill()
        server.wait(20)
    ok("everything was ended")


main()
