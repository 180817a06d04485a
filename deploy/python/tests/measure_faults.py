"""Prints what a check returns, and after how long, when something is wrong: the table of README.md.

Usage: python tests/measure_faults.py [--rounds N]
"""

from __future__ import annotations

import argparse
import signal
import statistics
import time
from collections.abc import Callable, Iterator

from support import Redis, Sidecar, overload, wait_until

from sluice import Decision, Sluice

Row = tuple[str, str, list[float]]


def told(decision: Decision) -> str:
    """What the caller sees, in short."""
    return f"`{decision.verdict}`, rule `{decision.rule}`" if decision.source == "client" else f"`{decision.verdict}`, source `{decision.source}`"


def measured(what: str, check: Callable[[], Decision], rounds: int, before: Callable[[], None] = lambda: None) -> Row:
    seen: set[str] = set()
    times: list[float] = []
    for _ in range(rounds):
        before()
        start = time.perf_counter()
        decision = check()
        times.append((time.perf_counter() - start) * 1000)
        seen.add(told(decision))
    return what, " or ".join(sorted(seen)), times


def rows(rounds: int) -> Iterator[Row]:
    """Makes each fault, and measures."""
    sidecar = Sidecar()
    client = Sluice(sidecar.path)
    check = lambda: client.check("alice", "big")  # noqa: E731
    try:
        client.check("alice", "big")
        yield measured("nothing", check, rounds)
        with sidecar.stopped():
            yield measured("the sidecar is stopped (SIGSTOP), or hangs", check, min(rounds, 4))
        yield measured("it was restarted since the last check", check, min(rounds, 5), before=sidecar.restart)
        sidecar.end(signal.SIGKILL)
        yield measured("it is missing: not started, or killed", check, rounds)
    finally:
        client.close()
        sidecar.close()
    redis = Redis()
    sidecar = Sidecar("--budget", "20ms", redis=redis.url)
    client = Sluice(sidecar.path)
    try:
        wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")
        client.check("alice", "big")
        with redis.stopped():
            yield measured("Redis is stopped: the first check", lambda: client.check("alice", "big"), 1)
        wait_until("counting in Redis", lambda: sidecar.figure("counting") == "shared")
        redis.close_server()
        yield measured("Redis is dead", lambda: client.check("alice", "big"), rounds)
    finally:
        client.close()
        sidecar.close()
        redis.close()
    sidecar = Sidecar("--memory", "16MiB")
    client = Sluice(sidecar.path)
    try:
        overload(sidecar)
        yield measured("the sidecar is overloaded (`BUSY`)", lambda: client.check("many", "chat", session="new"), rounds)
    finally:
        client.close()
        sidecar.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=50)
    print("| what is wrong | a check returns | median | longest |\n|---|---|---|---|")
    for what, seen, times in rows(parser.parse_args().rounds):
        print(f"| {what} | {seen} | {statistics.median(times):.1f} ms | {max(times):.1f} ms |", flush=True)


if __name__ == "__main__":
    main()
