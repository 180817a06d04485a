"""An agent that calls a tool of an MCP server, with the MCP SDK's client.

Usage: agent.py KEY COUNT TOOL URL...

Calls COUNT times, over the URLs in turn, and prints a line for each answer: "passed" or "denied", a tab, and its text.
"""
import contextlib
import sys

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


async def main(key, count, tool, urls):
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers={"x-api-key": key}))
        clients = [
            await stack.enter_async_context(Client(streamable_http_client(url, http_client=http))) for url in urls
        ]
        for call in range(count):
            result = await clients[call % len(clients)].call_tool(tool, {"task": f"task {call + 1}"})
            print("denied" if result.is_error else "passed", result.content[0].text, sep="\t", flush=True)


anyio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
