"""Real sidecars of a test's own, and a stand-in that misbehaves as told."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sluice._protocol import ErrorReply, check_request
from sluice._sync import _Connection

REPOSITORY = Path(__file__).resolve().parents[3]
#: In seconds, as in other tests of Sluice: no window ends during a test.
LONG_WINDOW = 31_622_400

POLICY: dict[str, Any] = {
    "version": "1",
    "default": "deny",
    "hide": ["secret"],
    "tools": {
        "run": {"limits": [{"counter": "runs", "window": LONG_WINDOW, "max": 10}]},
        "big": {"limits": [{"counter": "bigs", "window": LONG_WINDOW, "max": 1_000_000_000}]},
        "tokens": {"limits": [{"counter": "tokens", "window": LONG_WINDOW, "max": 1000}]},
        "minute": {"limits": [{"counter": "minute", "window": "minute", "max": 1}]},
        "slot": {
            "limits": [
                {"counter": "slots", "algorithm": "concurrency", "max": 2, "hold": 3600},
                {"counter": "slot_tokens", "window": LONG_WINDOW, "max": 1000},
            ]
        },
        "chat": {"rate_limit": {"max": 3, "window": LONG_WINDOW}},
        "delete": {"action": "require_approval"},
        "free": {},
    },
}


def program() -> str:
    """`sluiced`, built for debugging unless SLUICE_TEST_SLUICED names another."""
    path = os.environ.get("SLUICE_TEST_SLUICED") or str(REPOSITORY / ".build/debug/sluiced")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"there is no {path}: run swift build, or set SLUICE_TEST_SLUICED")
    return path


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(1, signal.SIGKILL)


def spawn(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    """Starts a process that ends with this one, however that ends."""
    return subprocess.Popen(words, preexec_fn=_die_with_parent, stdin=subprocess.DEVNULL, **options)


def wait_until(what: str, condition: Callable[[], bool], timeout: float = 20) -> None:
    """Waits for something that other processes do."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen")
        time.sleep(0.005)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that was started here does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    # Until all of its threads stand still it may answer.
    wait_until(
        "the stop",
        lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads.glob("*/stat")),
    )
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Sidecar:
    """A `sluiced` on a socket in a temporary folder."""

    def __init__(self, *arguments: str, policy: dict[str, Any] = POLICY, redis: str = "none") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-"))
        self.path = str(self.folder / "s.sock")
        (self.folder / "policy.json").write_text(json.dumps(policy))
        self._words = [
            program(), "--socket", self.path, "--policy", str(self.folder / "policy.json"), "--redis", redis,
            "--budget", "5s", *arguments,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        before = self.log.count(" ready") if (self.folder / "log").exists() else 0
        with open(self.folder / "log", "ab") as log:
            self._process = process = spawn(*self._words, stderr=log)
        def is_ready() -> bool:
            assert process.poll() is None, self.log
            return self.log.count(" ready") > before
        wait_until("the sidecar's start", is_ready)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Meanwhile it does nothing."""
        with stopped(self.pid):
            yield

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, and waits for that."""
        if self._process is None:
            return
        self.send(number)
        self._process.wait(20)
        self._process = None

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.end(number)
        self.start()

    def command(self, *words: str) -> Any:
        """One command, on a connection of its own, by plain means."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.path)
            frame = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
            connection.sendall(frame.encode())
            return _read(connection.makefile("rb"))

    def used(self, grant: str, tool: str) -> list[int]:
        """What each limit of a tool counts."""
        return [limit[2] for limit in self.command("PEEK", grant, tool, "TRACE")[9]]

    def figure(self, name: str) -> str:
        """A field of `INFO`."""
        fields = dict(line.split(":", 1) for line in self.command("INFO").split("\r\n") if ":" in line)
        return str(fields[name])

    def close(self) -> None:
        if self._process is not None:
            os.kill(self.pid, signal.SIGCONT)
            self.end(signal.SIGKILL)
        shutil.rmtree(self.folder)


def _read(file: Any) -> Any:
    line = file.readline()
    kind, rest = line[:1], line[1:-2]
    if kind == b":":
        return int(rest)
    if kind == b"*":
        return [_read(file) for _ in range(int(rest))]
    if kind == b"$":
        return file.read(int(rest) + 2)[:-2].decode()
    return line[:-2].decode()


def overload(sidecar: Sidecar) -> None:
    """Uses up the grant `many`'s share of a sidecar with little memory: without Redis that is `BUSY`."""
    connection = _Connection(sidecar.path, 20)
    for start in range(0, 65_536, 64):
        part = [check_request("many", "chat", session=f"s{number}") for number in range(start, start + 64)]
        if any(isinstance(reply, ErrorReply) for reply in connection.exchange(part, time.monotonic() + 60)):
            break
    connection.close()
    # What that connection held is free for rows again: one check at a time, as the tests ask.
    connection = _Connection(sidecar.path, 20)
    for number in range(4096):
        request = check_request("many", "chat", session=f"t{number}")
        if isinstance(connection.exchange([request], time.monotonic() + 60)[0], ErrorReply):
            break
    connection.close()


class Redis:
    """A `redis-server` on a socket in a temporary folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-redis-"))
        path = self.folder / "r.sock"
        self.url = f"unix://{path}"
        self._process = spawn(
            "redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(self.folder),
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until("the start of Redis", path.exists)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Meanwhile it does nothing."""
        with stopped(self._process.pid):
            yield

    def close_server(self) -> None:
        """Ends it, as a crash does."""
        self._process.kill()
        self._process.wait(20)

    def close(self) -> None:
        self.close_server()
        shutil.rmtree(self.folder)


class Stub:
    """Listens like a sidecar, and answers each request as a function says: bytes, or None to close the connection.

    Attributes:
        requests: what came, whole frames, in order.
    """

    def __init__(self, answer: Callable[[list[str]], bytes | None]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-stub-"))
        self.path = str(self.folder / "s.sock")
        self.requests: list[list[str]] = []
        self.connections = 0
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as file:
            while line := file.readline():
                words = []
                for _ in range(int(line[1:])):
                    length = int(file.readline()[1:])
                    words.append(file.read(length + 2)[:-2].decode())
                self.requests.append(words)
                answer = self._answer(words)
                if answer is None:
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                connection.sendall(answer)

    def drop_all(self) -> None:
        """Closes what is open, as a sidecar that ends does."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()
        shutil.rmtree(self.folder)


def admitted(remaining: int = 9, *, reservation: str | None = None) -> bytes:
    """An admission's bytes."""
    texts = ["allow", "/tools/run/limits/runs", "shared", ""] + ([reservation] if reservation is not None else [])
    numbers = "".join(f":{number}\r\n" for number in (1, 10, remaining, 0, 1000))
    bulks = "".join(f"${len(text.encode())}\r\n{text}\r\n" for text in texts)
    return f"*{5 + len(texts)}\r\n{numbers}{bulks}".encode()
