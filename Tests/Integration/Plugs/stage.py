"""Proxies of deploy/ in front of a server that counts, with sidecars of deploy/python/tests/support.py."""

from __future__ import annotations

import ctypes
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from typing import Any

REPOSITORY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.."))
DEPLOY = os.path.join(REPOSITORY, "deploy")
sys.path[:0] = [os.path.join(DEPLOY, "python/src"), os.path.join(DEPLOY, "python/tests")]

from support import LONG_WINDOW, wait_until  # noqa: E402

#: Where scripts/plugs puts what is no package of the system.
INSTALLED = os.environ.get("SLUICE_TEST_PLUGS") or os.path.join(REPOSITORY, ".build/plugs")

POLICY: dict[str, Any] = {
    "version": "1",
    "default": "deny",
    "tools": {
        "run": {"limits": [{"counter": "runs", "window": LONG_WINDOW, "max": 3}]},
        "big": {"limits": [{"counter": "bigs", "window": LONG_WINDOW, "max": 1_000_000_000}]},
        "resources/read": {"limits": [{"counter": "reads", "window": LONG_WINDOW, "max": 1}]},
        "delete": {"action": "require_approval"},
        "free": {},
    },
}


def ok(text: str) -> None:
    print("ok", text, flush=True)


def check(condition: object, text: str, *facts: object) -> None:
    if not condition:
        print("not ok", text, *facts, flush=True)
        sys.exit(1)
    ok(text)


def skip(text: str) -> None:
    """Ends this run: what it needs is not installed."""
    print(text, flush=True)
    sys.exit(77)


def find(name: str) -> str | None:
    """A program, also where Debian keeps those of administrators."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Backend:
    """What a proxy protects: answers every request in the same way, and keeps what came."""

    ANSWER = b"the tool ran\n"

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Its answers are two writes.
            disable_nagle_algorithm = True

            def answer(self) -> None:
                backend.bodies.append(self.rfile.read(int(self.headers.get("content-length") or 0)))
                self.send_response(200)
                self.send_header("content-length", str(len(Backend.ANSWER)))
                self.end_headers()
                self.wfile.write(Backend.ANSWER)

            do_GET = do_POST = answer

            def log_message(self, *words: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 512

            def handle_error(self, *words: object) -> None:
                pass  # A proxy that closes its connections at its end.

        server = Server(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def count(self) -> int:
        return len(self.bodies)


class Reply:
    """An answer of HTTP; `headers` by their names in lower case."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def rule(self) -> str:
        return str(self.json["rule"]) if self.body.startswith(b"{") else ""

    def __repr__(self) -> str:
        return f"{self.status} {self.headers} {self.body[:300]!r}"


def _end_with_parent() -> None:
    """However this process ends. Asked to, not killed: nginx's workers would go on."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def end(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


class Asked:
    """What listens on a port of loopback, and is asked over HTTP."""

    port: int

    def ask(
        self, path: str, body: bytes | str | None = None, key: str | None = "alice", headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            words = dict(headers or {})
            if key:
                words["Authorization"] = f"Bearer key-of-{key}"
            if body is not None:
                words.setdefault("Content-Type", "application/json")
            connection.request(method or ("GET" if body is None else "POST"), path, body, words)
            return Reply(connection.getresponse())
        finally:
            connection.close()


class Proxy(Asked):
    """nginx or HAProxy with its configuration in deploy/: only the addresses, the socket and folders are others, and
    what the caller bob is called. `change` replaces something else; `mcp_port` is that of an MCP server, if it is another.

    Where a test is to see an answer, the time-out is another, too: the machine may be slow.
    """

    def __init__(
        self, kind: str, socket_path: str, backend: Backend, program: str | None = None, *, fail: str = "closed",
        is_patient: bool = True, grant: str = "bob-desktop", mcp_port: int | None = None,
        change: tuple[str, str] = ("", ""),
    ) -> None:
        self.kind, self.port = kind, free_port()
        self.folder = tempfile.mkdtemp(prefix="sluice-proxy-")
        timeout = 20_000 if is_patient else 250
        file = {"nginx": "nginx/nginx.conf", "haproxy": "haproxy/haproxy.cfg"}[kind]
        with open(os.path.join(DEPLOY, file), encoding="utf-8") as example:
            text = example.read()
        changes = [
            ("/run/sluice/sluice.sock", socket_path), ("127.0.0.1:8080", f"127.0.0.1:{self.port}"),
            ("127.0.0.1:9000", f"127.0.0.1:{backend.port}"), ("127.0.0.1:9001", f"127.0.0.1:{mcp_port or backend.port}"),
            ("bob-desktop", grant), change,
        ]  # fmt: skip
        if kind == "nginx":
            changes += [("$prefix/deploy", DEPLOY), ('fail = "closed"', f'fail = "{fail}"'), ("timeout = 250", f"timeout = {timeout}")]
        else:
            changes += [("deploy/lua", f"{DEPLOY}/lua"), ("load-per-thread deploy", f"load-per-thread {DEPLOY}"),
                        ("SLUICE_FAIL closed", f"SLUICE_FAIL {fail}"), ("_MS 250", f"_MS {timeout}")]  # fmt: skip
        for old, new in changes:
            if old not in text:
                raise SystemExit(f"{file} has no {old}")
            text = text.replace(old, new)
        if kind == "nginx" and os.geteuid() == 0:
            # Its workers may then use a folder that belongs to root.
            text = "user root;\n" + text
        path = os.path.join(self.folder, "configuration")
        with open(path, "w", encoding="utf-8") as own:
            own.write(text)
        words = [program or find(kind) or kind]
        words += ["-p", self.folder, "-c", path] if kind == "nginx" else ["-f", path]
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                words, preexec_fn=_end_with_parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(f"the start of {kind}", lambda: self._has_ended() or answers(self.port))

    def _has_ended(self) -> bool:
        if self.process.poll() is None:
            return False
        raise SystemExit(f"{self.kind} ended: {self.log}")

    @property
    def log(self) -> str:
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def close(self) -> None:
        end(self.process)
        shutil.rmtree(self.folder)


class Hummingbird(Asked):
    """The example gateway of deploy/swift-hummingbird."""

    def __init__(self, program: str, socket_path: str, *, fail: str = "closed", is_patient: bool = True) -> None:
        words = [program, socket_path, "0", fail, "20000" if is_patient else "250"]
        self.errors = tempfile.NamedTemporaryFile(prefix="sluice-gateway-")
        self.process = subprocess.Popen(
            words, preexec_fn=_end_with_parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    @property
    def log(self) -> str:
        with open(self.errors.name, encoding="utf-8") as file:
            return file.read()

    def close(self) -> None:
        end(self.process)
        self.errors.close()
