"""What a caller sees, and after how long, when something is wrong, plug by plug: the table of deploy/README.md.

Usage: python3 Tests/Integration/Plugs/faults.py [--rounds N] [--plug NAME]...

Fails if a plug but plain redis-py counted a check twice, or saw something else than its page says.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from clients import Client, command, hummingbird
from stage import INSTALLED, POLICY, Backend, Hummingbird, Proxy, find

from support import Redis, Sidecar, overload, wait_until

from sluice import AsyncSluice, Decision, Sluice

try:
    import redis
except ImportError:
    redis = None  # type: ignore[assignment]


class Plug:
    """One way to ask. `ask` returns what the caller sees, and how long it took, in ms."""

    #: Whether it is used as its page says.
    is_right = True

    def ask(self, grant: str, tool: str) -> tuple[str, float]:
        start = time.perf_counter()
        seen = self.see(grant, tool)
        return seen, (time.perf_counter() - start) * 1000

    def see(self, grant: str, tool: str) -> str:
        raise NotImplementedError

    def close(self) -> None:
        pass


def told(decision: Any) -> str:
    fields = decision if isinstance(decision, dict) else {"verdict": decision.verdict, "rule": decision.rule, "source": decision.source}
    return f"`{fields['rule']}`" if fields["source"] == "client" else f"`{fields['verdict']}`"


class Blocking(Plug):
    def __init__(self, path: str) -> None:
        self._client = Sluice(path)

    def see(self, grant: str, tool: str) -> str:
        return told(self._client.check(grant, tool))

    def close(self) -> None:
        self._client.close()


class Asyncio(Plug):
    def __init__(self, path: str) -> None:
        self._loop, self._client = asyncio.new_event_loop(), AsyncSluice(path)

    def see(self, grant: str, tool: str) -> str:
        decision: Decision = self._loop.run_until_complete(self._client.check(grant, tool))
        return told(decision)

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


class Behind(Plug):
    """A gateway, over one connection of HTTP; the time of a proxy includes the request to the server behind."""

    def __init__(self, gate: Proxy | Hummingbird, key: str) -> None:
        self._gate, self._key = gate, key
        self._connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)

    def see(self, grant: str, tool: str) -> str:
        self._connection.request("GET", f"/tools/{tool}", headers={"authorization": f"Bearer {self._key}"})
        response = self._connection.getresponse()
        body = response.read().decode()
        rule = body.split('"rule":"')[1].split('"')[0] if '"rule"' in body else ""
        return f"{response.status}" + (f" `{rule}`" if rule else "")

    def close(self) -> None:
        self._connection.close()
        self._gate.close()


class Program(Plug):
    def __init__(self, words: list[str], path: str) -> None:
        self._client = Client(words, path, is_patient=False)
        # It starts before it is measured.
        self._client.check("many", "free")

    def ask(self, grant: str, tool: str) -> tuple[str, float]:
        decisions, ms = self._client.ask(grant, tool)
        return told(decisions[0]), ms

    def close(self) -> None:
        self._client.close()


class PlainRedis(Plug):
    """redis-py with its defaults."""

    is_right = False

    def __init__(self, path: str) -> None:
        self._client = redis.Redis(unix_socket_path=path, protocol=3, decode_responses=True)

    def see(self, grant: str, tool: str) -> str:
        try:
            return f"`{self._client.execute_command('CHECK', grant, tool)['verdict']}`"
        except redis.RedisError as error:
            return f"`{type(error).__name__}`"

    def close(self) -> None:
        self._client.close()


def plugs(wanted: list[str]) -> dict[str, Callable[[str], Plug]]:
    """Those that are installed, by their names in the table; all, if none is wanted by its name."""
    found: dict[str, Callable[[str], Plug]] = {"Python": Blocking, "Python, asyncio": Asyncio}
    for kind, name in [("nginx", "nginx, Lua"), ("haproxy", "HAProxy, Lua")]:
        if find(kind) and (not wanted or name in wanted):
            found[name] = lambda path, kind=kind: Behind(  # type: ignore[misc]
                Proxy(kind, path, Backend(), is_patient=False, grant="many"), "key-of-bob")
    if not wanted or "Swift, Hummingbird" in wanted:
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
            program = hummingbird()
            found["Swift, Hummingbird"] = lambda path: Behind(Hummingbird(program, path, is_patient=False), "key-of-many")
    for client, name in [("redigo", "Go, redigo"), ("go-redis", "Go, go-redis"), ("node", "Node, node-redis")]:
        if wanted and name not in wanted:
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):
                words = command(client)
        except (SystemExit, subprocess.CalledProcessError):
            continue
        found[name] = lambda path, words=words: Program(words, path)  # type: ignore[misc]
    if redis is not None:
        found["redis-py, its defaults"] = PlainRedis
    return found


COLUMNS = ["nothing", "missing", "stopped", "still for 6 s", "restarted", "Redis is dead", "overloaded"]
#: What each column shows, but for the time.
EXPECTED = [{"`allow`", "200"}, {"`(missing)`", "503 `(missing)`"}, {"`(timeout)`", "503 `(timeout)`"},
            {"`(timeout)`", "503 `(timeout)`"}, {"`allow`", "200"}, {"`allow`", "200"}, {"`(busy)`", "503 `(busy)`"}]  # fmt: skip
#: How long a sidecar stands still, in seconds, when it goes on: longer than redis-py's own time-out.
STILL_S = 6


class Measured:
    def __init__(self) -> None:
        self.cells: list[tuple[set[str], list[float]]] = []
        #: Checks that were counted beyond those that were asked.
        self.twice = 0

    def add(self, plug: Plug, rounds: int, tool: str = "big", before: Callable[[], None] = lambda: None) -> None:
        seen, times = set(), []
        for _ in range(rounds):
            before()
            what, ms = plug.ask("many", tool)
            seen.add(what)
            times.append(ms)
        self.cells.append((seen, times))


def measure(make: Callable[[str], Plug], rounds: int) -> Measured:
    result, store = Measured(), Redis()
    sidecar = Sidecar("--budget", "20ms", policy=POLICY, redis=store.url)

    def is_shared() -> None:
        wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")

    def restart() -> None:
        sidecar.restart()
        is_shared()

    def counted(expected: int) -> None:
        """Looks, when all that was sent has been read, for what was counted beyond what was asked."""
        result.twice += max(0, sidecar.used("many", "big")[0] - expected)

    def is_answering() -> bool:
        return plug.ask("many", "free")[0] in EXPECTED[0]

    is_shared()
    plug = make(sidecar.path)
    few = min(rounds, 3)
    try:
        plug.ask("many", "free")
        result.add(plug, rounds)
        counted(rounds)
        with sidecar.stopped():
            result.add(plug, few if plug.is_right else 1)
        stopped = result.cells.pop()
        wait_until("an answer", is_answering)
        counted(rounds + len(stopped[1]))
        is_shared()
        base = sidecar.used("many", "big")[0]
        with sidecar.stopped():
            timer = threading.Timer(STILL_S, sidecar.send, [signal.SIGCONT])
            timer.start()
            result.add(plug, 1)
            timer.cancel()
        still = result.cells.pop()
        wait_until("an answer", is_answering)
        counted(base + 1)
        is_shared()
        base = sidecar.used("many", "big")[0]
        result.add(plug, few, before=restart)
        restarted = result.cells.pop()
        counted(base + few)
        store.close_server()
        wait_until("counting alone", lambda: sidecar.figure("counting") == "local")
        result.add(plug, rounds)
        dead = result.cells.pop()
        sidecar.end()
        result.add(plug, few if not plug.is_right else rounds)
        result.cells += [stopped, still, restarted, dead]
    finally:
        plug.close()
        sidecar.close()
        store.close()
    sidecar = Sidecar("--memory", "16MiB")
    plug = make(sidecar.path)
    try:
        plug.ask("many", "free")
        overload(sidecar)
        result.add(plug, rounds, tool="run")
    finally:
        plug.close()
        sidecar.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--plug", action="append", default=[])
    options = parser.parse_args()
    found, wrong = plugs(options.plug), []
    missing = set(options.plug) - set(found)
    if missing:
        sys.exit(f"not installed: {', '.join(sorted(missing))}; there are {', '.join(found)}")
    print(f"| asked by | {' | '.join(COLUMNS)} | counted twice |\n|---|{'---|' * len(COLUMNS)}---|", flush=True)
    for name, make in found.items():
        if options.plug and name not in options.plug:
            continue
        result = measure(make, options.rounds)
        cells = [
            f"{' or '.join(sorted(seen))} {statistics.median(times):.1f} ms ({max(times):.0f})" for seen, times in result.cells
        ]
        print(f"| {name} | {' | '.join(cells)} | {result.twice or 'none'} |", flush=True)
        if make is PlainRedis:
            continue
        for column, (seen, _), expected in zip(COLUMNS, result.cells, EXPECTED):
            if not seen <= expected:
                wrong.append(f"{name}, {column}: {seen}")
        if result.twice:
            wrong.append(f"{name}: {result.twice} counted twice")
    for line in wrong:
        print("not as it should be:", line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
