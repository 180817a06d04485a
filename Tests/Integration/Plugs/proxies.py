"""nginx or HAProxy that ask Sluice by Lua, with real HTTP requests.

Argument: nginx, haproxy, or haproxy-2.8. Ends with 77 if that is not installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stage import INSTALLED, POLICY, Backend, Proxy, Reply, check, find, ok, skip

from support import Redis, Sidecar, Stub, admitted, wait_until

NAME = sys.argv[1]
KIND = "nginx" if NAME == "nginx" else "haproxy"
PROGRAM = os.path.join(INSTALLED, "haproxy-2.8/haproxy") if NAME == "haproxy-2.8" else find(KIND)
if not PROGRAM or not os.access(PROGRAM, os.X_OK):
    skip(f"there is no {NAME}, scripts/plugs installs it")
if KIND == "nginx" and not os.path.exists("/usr/lib/nginx/modules/ngx_http_lua_module.so"):
    skip("there is no libnginx-mod-http-lua, scripts/plugs installs it")


def proxy(path: str, backend: Backend, **options: Any) -> Proxy:
    return Proxy(KIND, path, backend, PROGRAM, **options)


def message(identity: Any, name: str = "run", method: str = "tools/call", **arguments: Any) -> str:
    words: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": {"name": name, "arguments": arguments}}
    if identity is not None:
        words["id"] = identity
    return json.dumps(words)


def http_api(gate: Proxy, backend: Backend, sidecar: Sidecar) -> None:
    forged = {"x-grant": "another", "x-tool": "free", "x-cost": "0"}
    replies = [gate.ask("/tools/run?a=b", headers=forged) for _ in range(3)]
    check([reply.status for reply in replies] == [200] * 3, "three calls pass, whatever the client sends beside its key", replies)
    check(replies[2].body == Backend.ANSWER, "with the answer of the server behind")
    check(replies[0].headers["ratelimit"].startswith('"runs";r=2;t='), "RateLimit says what is left", replies[0])
    check(replies[0].headers["ratelimit-policy"] == '"runs";q=3', "and RateLimit-Policy of what")
    denied = gate.ask("/tools/run")
    check(denied.status == 429 and backend.count == 3, "the fourth is a 429, and the server behind never saw it", denied)
    check(int(denied.headers["retry-after"]) > 0, "with Retry-After")
    check(denied.headers["ratelimit"].startswith('"runs";r=0;t='), "and RateLimit", denied)
    check(denied.json["verdict"] == "limit" and "limited to 3 calls" in denied.json["message"], "its body says why")
    check(sidecar.used("alice-laptop", "run") == [3], "the sidecar counted three")
    check(gate.ask("/tools/run", key="bob").status == 200, "another caller has a limit of its own")
    for path, key, rule in [
        ("/tools/run", None, "(no grant)"), ("/tools/run", "nobody", "(no grant)"), ("/tools/shell", "alice", "(default deny)"),
        ("/tools/", "alice", "(BADARG)"), ("/tools/delete", "alice", "/tools/delete"),
    ]:  # fmt: skip
        reply = gate.ask(path, key=key)
        check(reply.status == 403 and reply.rule.startswith(rule), f"{path} for {key}: 403, {rule}", reply)
    reply = gate.ask("/tools/free", headers={"cookie": "a=" + "x" * 3000})
    check(reply.status == 200 and "ratelimit" not in reply.headers, "a free tool passes, without RateLimit", reply)


def denied_call(reply: Reply, identity: Any) -> bool:
    result = reply.json.get("result", {})
    return bool(
        reply.status == 200 and reply.json["id"] == identity and result["isError"] is True
        and result["resultType"] == "complete" and result["_meta"]["sluice/verdict"] in ("limit", "deny", "unavailable")
    )  # fmt: skip


def mcp(gate: Proxy, backend: Backend, sidecar: Sidecar) -> None:
    before = backend.count
    body = message(7, "big", note="grüße 😀")
    check(gate.ask("/mcp", body.encode()).body == Backend.ANSWER, "a tool's call passes")
    check(backend.bodies[-1] == body.encode(), "its body is as it was")
    check(sidecar.used("alice-laptop", "big")[0] == 1, "it was counted as the tool that it names")
    for identity in [21, "a-1", "ü\"\\", 0, -3, 2**53 + 1, 1e300]:
        reply = gate.ask("/mcp", message(identity))
        check(denied_call(reply, identity), f"a call over its limit is a tool's result, for the id {identity!r}", reply)
    check(b'"id":9007199254740993,' in gate.ask("/mcp", message(2**53 + 1)).body, "the id comes back as it was written")
    text = reply.json["result"]["content"][0]["text"]
    check(text.startswith("run is limited to 3 calls"), f"it says why and when: {text}")
    check(int(reply.headers["retry-after"]) > 0, "with Retry-After")
    check(denied_call(gate.ask("/mcp", r'{"method":"tools/call","id":1,"params":{"name":"r\u0075n"}}'), 1), "escapes are read")
    check(gate.ask("/mcp", message(None)).status == 202, "a notification that is denied is a 202")
    for identity in ["null", "[1]", "true"]:
        reply = gate.ask("/mcp", f'{{"method":"tools/call","id":{identity},"params":{{"name":"run"}}}}')
        check(reply.status == 429 and reply.json["id"] is None, f"the id {identity} cannot come back: a 429", reply)
    check(backend.count == before + 1, "the server behind saw none of them")
    check(denied_call(gate.ask("/mcp", message(1, "big"), key=None), 1), "a call without a grant is denied")
    for what, text in [
        ("a method that no policy lists", message(1, method="tools/list")), ("an answer", '{"id":1,"result":{"method":"x"}}'),
        ("a ping without a grant", '{"id":1,"method":"ping"}'),
    ]:  # fmt: skip
        check(gate.ask("/mcp", text, key=None if "without" in what else "alice").body == Backend.ANSWER, f"{what} passes")
    check(gate.ask("/mcp").body == Backend.ANSWER, "a GET passes, which opens a stream")
    check(gate.ask("/mcp", message(1, method="resources/read")).body == Backend.ANSWER, "a listed method passes once")
    reply = gate.ask("/mcp", message(2, method="resources/read"))
    check(reply.json["error"]["code"] == -32000 and reply.json["error"]["data"]["reason"] == "limit", "then it is an error", reply)


def unreadable(gate: Proxy, backend: Backend, sidecar: Sidecar) -> None:
    before, used = backend.count, sidecar.used("alice-laptop", "big")
    call = '"method":"tools/call","id":1,"params":{"name":"big"}'
    for what, body in [
        ("no body", ""), ("no JSON", "hello"), ("a batch", f"[{{{call}}}]"), ("a text", '"tools/call"'),
        ("a key twice", f'{{{call},"method":"ping"}}'), ("a key twice, escaped", f'{{{call},"m\\u0065thod":"ping"}}'),
        ("a name twice", '{"method":"tools/call","id":1,"params":{"name":"free","name":"big"}}'),
        ("a key that differs in case", f'{{{call},"Method":"ping"}}'),
        ("a name that differs in case", '{"method":"tools/call","id":1,"params":{"name":"free","NAME":"big"}}'),
        ("a key with a long s", f'{{{call},"param\u017f":{{"name":"free"}}}}'),
        ("no tool", '{"method":"tools/call","id":1,"params":{}}'), ("a tool that is a list", '{"method":"tools/call","id":1,"params":{"name":["big"]}}'),
        ("a name of 257 bytes", message(1, "x" * 257)), ("a name with a NUL", message(1, "a\0b")),
        ("something after it", f"{{{call}}} {{}}"), ("a comma too many", f"{{{call},}}"), ("an end that is missing", f"{{{call}"),
        ("a lone surrogate", f'{{{call},"a":"\\ud800"}}'), ("a raw line end", f'{{{call},"a":"\n"}}'),
        ("a number with a leading zero", f'{{{call},"a":01}}'), ("a word of its own", f'{{{call},"a":NaN}}'),
        ("33 levels", f'{{{call},"a":{"[" * 32}{"]" * 32}}}'),
    ]:  # fmt: skip
        reply = gate.ask("/mcp", body.encode())
        check(reply.status == 400 and reply.json["error"]["code"] == -32600, f"{what}: 400", reply)
    for what, data in [("UTF-8 that is none", b"\xff"), ("too long a form", b"\xc0\xaf"), ("half of one", b"\xf0\x9f\x98")]:
        reply = gate.ask("/mcp", f'{{{call},"a":"'.encode() + data + b'"}')
        check(reply.status == 400, f"{what}: 400", reply)
    check((backend.count, sidecar.used("alice-laptop", "big")) == (before, used), "none was passed on, none was counted")
    deep = f'{{{call},"a":{"[" * 31}{"]" * 31}}}'
    check(gate.ask("/mcp", deep).body == Backend.ANSWER, "32 levels pass")
    long = message(1, "free", text="x" * 40_000)
    check(gate.ask("/mcp", long).body == Backend.ANSWER, "40 kB pass")
    too_long = message(1, "free", text="x" * 1_100_000)
    try:
        status = gate.ask("/mcp", too_long).status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # It did not read to the end.
    check(status == 413, "1.1 MB are a 413")


def faults(gate: Proxy, backend: Backend, sidecar: Sidecar, redis: Redis) -> None:
    check(gate.ask("/tools/big", key="bob").status == 200, "the sidecar answers")
    before = backend.count
    quick = proxy(sidecar.path, backend, is_patient=False)
    with sidecar.stopped():
        replies = [quick.ask("/tools/big", key="bob") for _ in range(2)]
        call = quick.ask("/mcp", message(1, "big"), key="bob")
    quick.close()
    check(all(r.status == 503 and r.rule == "(timeout)" for r in replies), "stopped: a 503, since no answer came", replies)
    check(replies[0].headers["retry-after"] == "1", "with Retry-After")
    check(denied_call(call, 1) and "does not answer" in call.body.decode(), "an agent reads that as a tool's result", call)
    check(backend.count == before, "nothing was passed on")
    # What was asked meanwhile is counted when it goes on, once.
    wait_until("the sidecar counts what it was asked", lambda: sidecar.used("bob-desktop", "big") == [4])
    check(gate.ask("/tools/big", key="bob").status == 200, "when it goes on, calls pass")
    check(sidecar.used("bob-desktop", "big") == [5], "no check was sent twice")
    for number in range(3):
        sidecar.restart()
        wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")
        check(gate.ask("/tools/big", key="bob").status == 200, f"restarted ({number + 1}): the next call passes")
    check(sidecar.used("bob-desktop", "big") == [8], "and is counted once")
    with ThreadPoolExecutor(40) as pool:
        statuses = list(pool.map(lambda _: gate.ask("/tools/big", key="bob").status, range(200)))
    check(statuses == [200] * 200, "200 calls of 40 clients pass", statuses)
    check(sidecar.used("bob-desktop", "big") == [208], "and are counted once each")
    redis.close_server()
    check(gate.ask("/tools/big", key="bob").status == 200, "Redis is dead: calls pass, counted locally")
    sidecar.end()
    reply = gate.ask("/tools/big", key="bob")
    check(reply.status == 503 and reply.rule == "(missing)", "the sidecar is missing: a 503", reply)
    check(denied_call(gate.ask("/mcp", message(1, "big"), key="bob"), 1), "and a tool's result")
    check("does not answer (missing" in gate.log, "the log says so", gate.log)
    sidecar.start()
    check(gate.ask("/tools/big", key="bob").status == 200, "it is back: calls pass")
    # Each worker notes it for itself.
    wait_until("the log says so", lambda: gate.ask("/tools/free").status == 200 and "answers again" in gate.log)


def stubs(backend: Backend) -> None:
    answers: list[bytes | None] = [b""]
    stub = Stub(lambda words: answers[0])
    gate = proxy(stub.path, backend, is_patient=False)
    for what, answer, rule in [
        ("it ends while it is asked", None, "(lost)"), ("it says BUSY", b"-BUSY too many checks wait\r\n", "(busy)"),
        ("it answers something else", b"+PONG\r\n", "(garbled)"), ("it answers in part", admitted()[:-20], "(timeout)"),
        ("it answers with too much", b"*9999999\r\n", "(garbled)"), ("it answers a long text", b"$99999999\r\n", "(garbled)"),
        ("it answers HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", "(garbled)"),
    ]:  # fmt: skip
        answers[0], before = answer, len(stub.requests)
        reply = gate.ask("/tools/run")
        check(reply.status == 503 and reply.rule == rule, f"{what}: 503 {rule}", reply)
        check(len(stub.requests) == before + 1, "the check was sent once", stub.requests[before:])
    answers[0] = b"-BADARG the tool is wrong\r\n"
    reply = gate.ask("/tools/run")
    check(reply.status == 403 and reply.rule == "(BADARG)", "a request that is wrong is denied", reply)
    answers[0] = admitted()
    if KIND == "nginx":
        named = proxy(stub.path, backend, change=("ngx.var.tool)", "ngx.var.tool, { id = 'call-17' })"))
        answers[0], before = None, len(stub.requests)
        check(named.ask("/tools/run").rule == "(lost)", "with an id: lost")
        check(stub.requests[before:] == [["CHECK", "alice-laptop", "run", "ID", "call-17"]] * 2, "it was sent twice, not more")
        named.close()
        answers[0] = admitted()
    wait_until("after all that an admission passes", lambda: gate.ask("/tools/run").status == 200)
    stub.close()
    gate.close()
    closing = Closing()
    gate = proxy(closing.path, backend)
    reply = gate.ask("/tools/run")
    check(reply.status == 503 and reply.rule in ("(lost)", "(busy)"), "it closes what it accepts: a 503", reply)
    check(closing.count == 1, "one connection was tried", closing.count)
    closing.close()
    gate.close()
    if KIND == "haproxy":
        # As if the action had failed: HAProxy goes on then.
        gate = proxy("/tmp/there-is-no.sock", backend, change=("    http-request lua.sluice unless is_mcp\n", ""))
        check(gate.ask("/tools/free").status == 503, "what was not decided is a 503")
        gate.close()
    gate = proxy("/tmp/there-is-no.sock", backend, fail="open")
    check(gate.ask("/tools/run").body == Backend.ANSWER, "fail open: without a sidecar calls pass")
    check(gate.ask("/mcp", message(1)).body == Backend.ANSWER, "those of agents, too")
    check(gate.ask("/tools/run", key=None).status == 403, "but not without a grant")
    check(gate.ask("/mcp", "hello").status == 400, "nor what cannot be read")
    gate.close()


class Closing:
    """Says BUSY to whoever connects, and closes: a sidecar with too many connections."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="sluice-closing-")
        self.path, self.count = f"{self.folder}/s.sock", 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.count += 1
                connection.sendall(b"-BUSY too many connections\r\n")
                connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.folder)


def main() -> None:
    backend, redis = Backend(), Redis()
    sidecar = Sidecar("--replicas", "1", policy=POLICY, redis=redis.url)
    wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")
    gate = proxy(sidecar.path, backend)
    try:
        http_api(gate, backend, sidecar)
        mcp(gate, backend, sidecar)
        unreadable(gate, backend, sidecar)
        faults(gate, backend, sidecar, redis)
        stubs(backend)
    finally:
        gate.close()
        sidecar.close()
        redis.close()
    ok("everything was ended")


main()
