#!/usr/bin/env python3
"""Calls the two gateways as agents would, shows what they answer, and checks it. Called by ./run."""

import http.client
import json
import os
import pathlib
import signal
import sys
import time


def post(port, path, token, document=None):
    """Status, headers and document of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, json.dumps(document or {}), {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def mcp(port, token, tool):
    request = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    return post(port, "/mcp", token, request)


def expect(what, is_so):
    if not is_so:
        sys.exit(f"  ✗ {what}")
    print(f"  ✓ {what}")


def stop(process):
    """Stops a process, and returns when all of its threads stand still: until then it may answer."""
    os.kill(process, signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        stats = (path.read_text() for path in pathlib.Path(f"/proc/{process}/task").glob("*/stat"))
        if all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats):
            return
        time.sleep(0.001)


def main():
    gateways = [int(sys.argv[1]), int(sys.argv[2])]
    second_sidecar = int(sys.argv[3])
    left = 60 - time.time() % 60
    if left < 8:
        print(f"    only {left:.0f} s of this minute are left: waiting for the next one")
        time.sleep(left + 0.5)

    answers = [post(gateways[call % 2], "/call/opencode_run", "token-alice") for call in range(10)]
    print("    RateLimit-Remaining:", ", ".join(headers["RateLimit-Remaining"] for _, headers, _ in answers))
    expect("ten calls over both gateways: 200", all(status == 200 for status, _, _ in answers))
    expect("the tool was called", answers[0][2]["content"][0]["text"] == "opencode_run ran")

    for port in gateways:
        status, headers, document = post(port, "/call/opencode_run", "token-alice")
        print(f"    {status}, Retry-After: {headers['Retry-After']}: {document['error']}")
        expect("the eleventh: 429 with Retry-After", status == 429 and 1 <= int(headers["Retry-After"]) <= 60)

    status, _, document = mcp(gateways[1], "token-alice", "opencode_run")
    print(f"    {json.dumps(document)}")
    expect("as an MCP call: a result with isError", status == 200 and document["result"]["isError"] is True)
    status, _, document = mcp(gateways[0], "token-bob", "opencode_run")
    expect("another grant has a window of its own", status == 200 and document["result"]["isError"] is False)

    status, headers, document = post(gateways[0], "/call/rm_rf", "token-alice")
    print(f"    {status}: {document['error']}")
    expect("a tool that the policy forbids: 403, no Retry-After", status == 403 and "Retry-After" not in headers)
    expect("an unknown token: 401", post(gateways[0], "/call/opencode_run", "token-eve")[0] == 401)

    stop(second_sidecar)
    try:
        status, headers, document = post(gateways[1], "/call/opencode_run", "token-carol")
    finally:
        os.kill(second_sidecar, signal.SIGCONT)
    print(f"    {status}, Retry-After: {headers['Retry-After']}: {document['error']}")
    expect("a sidecar that hangs: 503 with Retry-After", status == 503 and headers["Retry-After"] == "1")
    status, _, _ = post(gateways[1], "/call/opencode_run", "token-carol")
    expect("it goes on: 200 again", status == 200)


if __name__ == "__main__":
    main()
