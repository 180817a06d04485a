"""Envoy's mcp and ext_authz filters in front of a real MCP server, with real MCP clients.

Arguments: the sidecar's gRPC socket, its process id, a folder, Redis's process id, the example. The sidecar has the policy of
deploy/envoy.
"""
import atexit
import json
import os
import signal
import subprocess
import sys
import time

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from stage import EXAMPLES, Envoy, answers, check, free_port, ok, post, stop, wait_for

grpc_socket, pid, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
redis_pid, example = int(sys.argv[4]), sys.argv[5]
# Without the filter "mcp" Sluice reads the body itself.
sends_body = example == "mcp-gate-body.yaml"
calls = os.path.join(folder, "calls")
open(calls, "w").close()
port = free_port()
with open(os.path.join(folder, "server.log"), "w") as log:
    server = subprocess.Popen(
        [sys.executable, os.path.join(EXAMPLES, "tool_server.py"), str(port), calls] + (["json"] if sends_body else []),
        stdout=log, stderr=log)
atexit.register(server.kill)
envoy = Envoy(example, grpc_socket, port, folder)
wait_for("the MCP server listens", lambda: answers(port))


def seen():
    with open(calls, encoding="utf-8") as file:
        return file.read().split()


#: In which form the server's answers to calls came through.
kinds = set()


async def note_kind(response):
    if response.request.method == "POST" and response.status_code == 200:
        kinds.add(response.headers.get("content-type", "").split(";")[0])


async def agent(mode, key):
    """An agent that goes on after its tenth call."""
    async with httpx2.AsyncClient(headers={"x-api-key": key}, event_hooks={"response": [note_kind]}) as http:
        async with Client(streamable_http_client(f"http://127.0.0.1:{envoy.port}/mcp", http_client=http), mode=mode) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            check("opencode_run" in tools, f"{mode}: what is no call passes", tools)
            before = len(seen())
            results = [await client.call_tool("opencode_run", {"task": f"{mode}-{n}"}) for n in range(11)]
            check(all(not result.is_error for result in results[:10]), f"{mode}: ten calls pass", results)
            last = results[10]
            text = last.content[0].text
            check(last.is_error, f"{mode}: the eleventh call is a tool result that says no", last)
            check(
                text.startswith("opencode_run is limited to 10 calls per minute for this grant. Try again in "),
                f"{mode}: it says why and when: {text}")
            check(len(seen()) - before == 10, f"{mode}: the server never saw it", seen())
            result = await client.call_tool("forbidden", {"task": "x"})
            check(result.is_error and "not allowed" in result.content[0].text, f"{mode}: a forbidden tool is refused")
            check("forbidden" not in seen(), f"{mode}: the server never saw that either")


async def sessions(key):
    """A limit of two in each session."""
    passed = []
    async with httpx2.AsyncClient(headers={"x-api-key": key}) as http:
        for _ in range(2):
            async with Client(streamable_http_client(f"http://127.0.0.1:{envoy.port}/mcp", http_client=http), mode="legacy") as client:
                results = [await client.call_tool("note", {"text": "x"}) for _ in range(3)]
                passed.append([not result.is_error for result in results])
    check(passed == [[True, True, False]] * 2, "a limit of a session counts in each session of its own", passed)


def call(identity, tool="opencode_run", method="tools/call"):
    message = {"jsonrpc": "2.0", "method": method, "params": {"name": tool, "arguments": {"task": "raw"}}}
    if identity is not None:
        message["id"] = identity
    return message


# The whole run must fall into one minute.
if time.time() % 60 > 40:
    time.sleep(60 - time.time() % 60 + 0.1)
anyio.run(agent, "legacy", "key-of-alice")
anyio.run(agent, "auto", "key-of-bob")
# What is denied is JSON, whatever the server sends.
expected = {"application/json"} if sends_body else {"application/json", "text/event-stream"}
check(kinds == expected, f"answers come as the server sends them: {' and '.join(sorted(kinds))}", kinds)
anyio.run(sessions, "key-of-alice")

# alice-laptop has used up its limit. What the gate answers to messages as they are:
before = len(seen())
for identity in [21, "a-1", 0]:
    status, headers, body = post(envoy, "key-of-alice", call(identity))
    answer = json.loads(body)
    check(
        status == 200 and headers["content-type"] == "application/json" and answer["id"] == identity
        and type(answer["id"]) is type(identity) and answer["result"]["isError"] is True,
        f"the id {identity!r} comes back as it was", status, headers, body)
check(1 <= int(headers["retry-after"]) <= 60, "retry-after says when", headers)
check(headers["ratelimit-policy"] == '"opencode_run_rate";q=10;w=60', "ratelimit-policy says what", headers)
check(
    answer["result"]["_meta"]["sluice/rule"] == "/tools/opencode_run/limits/opencode_run_rate",
    "the result names the rule", body)
status, _, body = post(envoy, "key-of-alice", call(None))
check((status, body) == (202, ""), "a notification has no body", status, body)
status, _, body = post(envoy, "key-of-alice", '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"forbidden","name":"opencode_run","arguments":{"task":"twice"}}}')
check(status >= 400, "a key twice is refused", status, body)
large = 9007199254740993
status, _, body = post(envoy, "key-of-alice", call(large))
if sends_body:
    check(status == 200 and json.loads(body)["id"] == large, "an id above 2^53 comes back as it was", status, body)
else:
    check(
        status == 429 and json.loads(body)["id"] is None,
        "an id that metadata does not hold exactly is not given back, and the status says no", status, body)
status, _, body = post(envoy, "key-of-alice", json.dumps([call(1), call(2, tool="forbidden")]))
check(status >= 400, "a batch is refused", status, body)
status, _, body = post(envoy, "key-of-alice", call(9), {"mcp-method": "tools/list", "mcp-name": "free"})
check(
    status >= 400 or json.loads(body)["result"]["isError"], "headers that name another method count for nothing", status, body)
status, _, body = post(envoy, "key-of-alice", '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":')
check(status >= 400, "half a message is refused", status, body)
status, _, body = post(envoy, "key-of-alice", call("x" * 2_000_000))
check(status >= 400, "a body over the limit is refused", status, body[:200])
status, _, body = post(envoy, "key-of-nobody", call(1))
check(status == 401, "a wrong key is refused before", status, body)
status, _, body = post(envoy, "key-of-alice", call(1), {"x-grant": "somebody-else"})
check(json.loads(body)["result"]["isError"], "x-grant of a client counts for nothing", status, body)
check(len(seen()) == before, "the server saw none of these", seen())
wait_for("the access log names the verdict", lambda: "verdict=limit rule=/tools/opencode_run" in envoy.access_log())
ok("the access log names the verdict")

os.kill(redis_pid, signal.SIGKILL)
status, _, body = post(envoy, "key-of-alice", call(8))
check(status == 200 and json.loads(body)["result"]["isError"], "with Redis gone the limit still holds", status, body)

# A sidecar that hangs: nothing passes, in bounded time.
stop(pid)
started = time.monotonic()
status, _, body = post(envoy, "key-of-alice", call(5))
took = time.monotonic() - started
os.kill(pid, signal.SIGCONT)
check(status == 503 and took < 3, f"a sidecar that hangs: 503 after {took:.2f} s", status, body)


def is_back():
    status, _, body = post(envoy, "key-of-alice", call(6))
    return status == 200 and json.loads(body)["result"]["isError"]


wait_for("it goes on", is_back)
ok("it goes on, and the limit still holds")
os.kill(pid, signal.SIGKILL)
status, _, body = post(envoy, "key-of-alice", call(7))
check(status == 503, "a sidecar that is gone: 503", status, body)
check(len(seen()) == before, "the server saw none of these either", seen())
