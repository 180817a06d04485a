"""The cells of scripts/bench for gRPC: Envoy's two questions, by h2load on the Unix socket, beside RESP in the same run; and
those of a good caller beside hostile ones.

Usage: scripts/bench-grpc.py --bin FOLDER [--rounds COUNT] [--seconds SECONDS] [--json FILE] [--commit COMMIT] [--list] [CELL]...

Every round is counted twice: what h2load says was answered is what the sidecar says that it allowed. Exit codes: 0 all was counted
right, 1 a count was wrong, 2 it could not be carried out.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

CELLS = {
    "grpc-rls": "ShouldRateLimit by h2load beside RESP by sluice-load: 128 calls at once, and lone ones; one hot grant",
    "grpc-authz": "ext_authz Check with the mcp filter's metadata, as grpc-rls",
    "grpc-hostile": "the p99 of 2,000 RESP checks a second: alone, and beside ten gateways that ask to limit or to authorize, flood, or send large bodies",
    "resp-hostile": "the same beside ten connections of the socket that pipeline checks, errors, COUNTERS and large frames without end",
}
# A quarter of envoyproxy/ratelimit's CPU a check, which is 73 us.
BAR_US = 73 / 4
POLICY = {
    "version": "1", "default": "deny",
    "tools": {"opencode_run": {"limits": [{"counter": "opencode_run_rate", "window": "hour", "max": 1_000_000_000}]}},
}
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """What could not be carried out."""


# --- Messages, written by hand: nothing has to be installed ----------------------------------------------------------


def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number, value):
    """A field of a message: bytes, a text, or a double."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(key, value):
    return field(1, key) + field(2, value)


def struct_of(fields):
    """A google.protobuf.Struct."""
    kinds = {float: 2, str: 3, bytes: 5}
    return b"".join(field(1, entry(key, field(kinds[type(value)], value))) for key, value in fields.items())


def rate_limit_request(grant):
    descriptor = field(1, entry("grant", grant)) + field(1, entry("tool", "opencode_run"))
    return field(1, "bench") + field(2, descriptor)


def authorization_request(grant):
    """As Envoy sends it behind its mcp filter."""
    headers = {
        ":method": "POST", ":path": "/mcp", ":authority": "mcp.example.com", ":scheme": "https", "accept": "application/json",
        "content-type": "application/json", "content-length": "140", "user-agent": "python-httpx2/2.3", "x-grant": grant,
        "x-forwarded-proto": "https", "x-request-id": "5f7e4f5e-2a8c-4e58-9f7e-6a1b0f2f4c11",
        "mcp-session-id": "f3b0c44298fc1c149afbf4c8996fb924",
    }
    http = field(2, "POST") + b"".join(field(3, entry(*header)) for header in headers.items()) + field(4, "/mcp")
    call = struct_of({"method": "tools/call", "id": 21.0, "params": struct_of({"name": "opencode_run"})})
    attributes = field(4, field(2, http)) + field(10, entry("server", "code"))
    attributes += field(11, field(1, entry("envoy.filters.http.mcp", call)))
    return field(1, attributes)


QUESTIONS = {
    "grpc-rls": ("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", rate_limit_request),
    "grpc-authz": ("/envoy.service.auth.v3.Authorization/Check", authorization_request),
}

# --- Processes -------------------------------------------------------------------------------------------------------


class Stage:
    """A Redis and a sidecar with both doors, in a temporary folder."""

    def __init__(self, programs, *more):
        self.folder = tempfile.mkdtemp(prefix="sluice-bench-", dir="/tmp")
        self.programs, self.processes = programs, []
        self.redis_socket, self.socket, self.grpc = (os.path.join(self.folder, n) for n in ("redis", "resp", "grpc"))
        with open(os.path.join(self.folder, "policy.json"), "w", encoding="utf-8") as file:
            json.dump(POLICY, file)
        self.redis = self.start(
            "redis-server", "--port", "0", "--unixsocket", self.redis_socket, "--dir", self.folder, "--save", "")
        self.wait(lambda: os.path.exists(self.redis_socket), "Redis")
        self.sidecar = self.start(
            os.path.join(programs, "sluiced"), "--socket", self.socket, "--grpc-socket", self.grpc, "--policy",
            os.path.join(self.folder, "policy.json"), "--redis", "unix://" + self.redis_socket,
            *more)
        self.wait(lambda: os.path.exists(self.grpc) and self.info().get("counting") == "shared", "sluiced")

    def start(self, *words):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def wait(self, test, what):
        deadline = time.monotonic() + 10
        while not test():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                    raise Failed(f"{what} did not start: {log.read()[-1000:]}")
            time.sleep(0.02)

    def end(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def info(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(self.socket)
            client.sendall(b"*1\r\n$4\r\nINFO\r\n")
            received = b""
            while b"\r\n" not in received or len(received) < int(received[1:received.index(b"\r\n")]) + received.index(b"\r\n") + 4:
                received += client.recv(65536)
        return dict(line.split(":", 1) for line in received.decode().splitlines() if ":" in line)

    def allowed(self):
        return sum(int(value) for name, value in self.info().items() if name.startswith("answers_") and name.endswith("_allow"))

    def measured(self, load):
        """Runs a load. Returns its figures with the CPU a check of sidecar and Redis; fails if a count is wrong."""
        pids = {"sidecar": self.sidecar.pid, "redis": self.redis.pid}
        before, counted = {name: ticks(pid) for name, pid in pids.items()}, self.allowed()
        figures = load()
        counted = self.allowed() - counted
        if counted != figures["checks"]:
            raise AssertionError(f"{figures['checks']} were answered, and the sidecar allowed {counted}")
        for name, pid in pids.items():
            figures[name + "_us"] = (ticks(pid) - before[name]) / TICKS / figures["checks"] * 1e6
        return figures


def ticks(pid):
    """CPU that a process and its threads have used, in ticks."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def run(words, seconds):
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words[:3])} ... ended with {done.returncode}: {(done.stdout + done.stderr)[-1000:]}")
    return done.stdout


def h2load(stage, cell, connections, streams, count):
    path, make = QUESTIONS[cell]
    message = make("h2load")
    body, log = os.path.join(stage.folder, "body"), os.path.join(stage.folder, "times")
    with open(body, "wb") as file:
        file.write(b"\0" + struct.pack(">I", len(message)) + message)
    if os.path.exists(log):
        os.remove(log)
    output = run(
        ["h2load", "-n", str(count), "-c", str(connections), "-m", str(streams), "-d", body, "-H", "content-type: application/grpc",
         "-H", "te: trailers", "--log-file", log, "-B", "unix:" + stage.grpc, "http://sluice" + path], 120)
    finished = next(line for line in output.splitlines() if line.startswith("finished in"))
    with open(log, encoding="utf-8") as file:
        rows = [line.split("\t") for line in file]
    times = sorted(int(row[2]) for row in rows if row[1] == "200")
    rate = float(finished.split(",")[1].split()[0])
    return {"checks": len(times), "per_second": rate, "p50_us": percentile(times, 0.5), "p99_us": percentile(times, 0.99)}


def sluice_load(stage, connections, pipeline, seconds, *more):
    words = [
        os.path.join(stage.programs, "sluice-load"), "--socket", stage.socket, "--connections", str(connections), "--pipeline",
        str(pipeline), "--grants", "1", "--grant-prefix", f"resp-{time.monotonic_ns()}-", "--warm-up", "0s", "--duration",
        f"{max(1, round(seconds * 1000))}ms", "--json", *more,
    ]
    document = json.loads(run(words, 120 + seconds))
    latency = document["latency_us"]
    checks = sum(decisions["allowed"] for decisions in document["decisions"].values())
    return {"checks": checks, "per_second": document["checks_per_second"], "p50_us": latency["p50"], "p99_us": latency["p99"]}


# --- Cells -----------------------------------------------------------------------------------------------------------


def question_cell(stage, cell, rounds, seconds):
    """Contenders in turn, round by round; the figures of each round."""
    # Enough calls for the time, by a first try.
    counts = {}
    for connections, streams in [(4, 32), (1, 1)]:
        rate = h2load(stage, cell, connections, streams, 2_000)["per_second"]
        counts[connections] = max(1_000, int(rate * seconds))
    name = cell.removeprefix("grpc-")
    contenders = {
        "resp": lambda: sluice_load(stage, 4, 32, seconds),
        name: lambda: h2load(stage, cell, 4, 32, counts[4]),
        "resp, lone": lambda: sluice_load(stage, 1, 1, seconds),
        f"{name}, lone": lambda: h2load(stage, cell, 1, 1, counts[1]),
    }
    figures = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, load in contenders.items():
            figures[contender].append(stage.measured(load))
    return figures


def flood(stage, stop, counts):
    """A gateway that opens calls and resets them as fast as it can, pings and changes settings, and connects again."""
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    target = QUESTIONS["grpc-rls"][0].encode()
    block = b"\x83\x86\x04" + bytes([len(target)]) + target + b"\x0f\x10\x10application/grpc"
    while not stop.is_set():
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(stage.grpc)
                client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(4, 1, 0))
                stream = 1
                while not stop.is_set():
                    burst = b""
                    for _ in range(100):
                        burst += frame(1, 4, stream, block) + frame(3, 0, stream, struct.pack(">I", 8))
                        stream += 2
                    client.sendall(burst + frame(6, 0, 0, b"12345678") + frame(4, 0, 0, struct.pack(">HI", 4, stream)))
                    counts.append(202)
        except OSError:
            counts.append(0)


def large_bodies(stage, stop, counts):
    """A gateway that sends external authorization a megabyte of JSON again and again, as costly to read as may be."""
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    target = QUESTIONS["grpc-authz"][0].encode()
    block = b"\x83\x86\x04" + bytes([len(target)]) + target + b"\x0f\x10\x10application/grpc"
    body = b"[" + b",".join([b"0"] * 490_000) + b"]"
    message = field(1, field(4, field(2, field(2, "POST") + field(12, body))))
    data = b"\0" + struct.pack(">I", len(message)) + message
    pieces = [data[at:at + 16_384] for at in range(0, len(data), 16_384)]
    while not stop.is_set():
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(stage.grpc)
                client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(4, 1, 0))
                stream = 1
                while not stop.is_set():
                    client.sendall(frame(1, 4, stream, block))
                    for piece in pieces[:-1]:
                        client.sendall(frame(0, 0, stream, piece))
                    client.sendall(frame(0, 1, stream, pieces[-1]))
                    counts.append(1)
                    stream += 2
        except OSError:
            counts.append(0)


def words(*arguments):
    """A request of the socket."""
    parts = [argument.encode() if isinstance(argument, str) else argument for argument in arguments]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


# What a hostile connection of the socket sends again and again, and never waits for.
PIPELINES = {
    "checks": lambda: words("CHECK", "hostile", "opencode_run") * 10_000,
    "errors": lambda: words("CHECK", "hostile") * 10_000,
    "COUNTERS": lambda: words("COUNTERS") * 1_000,
    "large frames": lambda: (words("CHECK", "hostile", "opencode_run", "ATTR", "a", b"v" * 60_000) + words("PING", b"p" * 60_000)) * 16,
}


def pipeline(make):
    """An attack: ten connections that each pipeline without end, and read what they are answered."""
    def attack(stage, stop, counts):
        burst = make()

        def drop(client):
            try:
                while client.recv(1 << 18):
                    pass
            except OSError:
                pass

        while not stop.is_set():
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(stage.socket)
                reader = threading.Thread(target=drop, args=(client,))
                reader.start()
                try:
                    client.settimeout(0.2)
                    while not stop.is_set():
                        rest = memoryview(burst)
                        while rest and not stop.is_set():
                            try:
                                rest = rest[client.send(rest[:1 << 18]):]
                            except TimeoutError:
                                pass
                        counts.append(1)
                except OSError:
                    counts.append(0)
                finally:
                    try:
                        client.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
                    reader.join()
    return attack


def respectable(stage, seconds):
    return sluice_load(stage, 8, 1, seconds, "--rate", "2000")


def beside(stage, seconds, attack):
    """The good caller's figures beside ten threads of the attack."""
    stop, counts = threading.Event(), []
    threads = [threading.Thread(target=attack, args=(stage, stop, counts)) for _ in range(10)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.3)
        figures = respectable(stage, seconds)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    figures["sent"], figures["ended"] = sum(counts), counts.count(0)
    return figures


def resp_hostile_cell(stage, rounds, seconds):
    # COUNTERS has some to look at.
    sluice_load(stage, 4, 32, 1, "--grants", "20000")
    contenders = {"alone": lambda: respectable(stage, seconds)}
    for name, make in PIPELINES.items():
        contenders[f"beside 10 with {name}"] = lambda attack=pipeline(make): beside(stage, seconds, attack)
    return in_turn(contenders, rounds)


def in_turn(contenders, rounds):
    figures = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender, load in contenders.items():
            figures[contender].append(load())
    return figures


def hostile_cell(stage, rounds, seconds):
    def beside_gateways(question):
        path, make = QUESTIONS[question]
        message, body = make("busy"), os.path.join(stage.folder, "busy")
        with open(body, "wb") as file:
            file.write(b"\0" + struct.pack(">I", len(message)) + message)
        busy = subprocess.Popen(
            ["h2load", "-D", str(int(seconds) + 60), "-c", "10", "-m", "100", "-d", body, "-H", "content-type: application/grpc",
             "-B", "unix:" + stage.grpc, "http://sluice" + path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.3)
            return respectable(stage, seconds)
        finally:
            busy.send_signal(signal.SIGKILL)
            busy.wait()

    return in_turn({
        "alone": lambda: respectable(stage, seconds),
        "beside 10 busy gateways": lambda: beside_gateways("grpc-rls"),
        "beside 10 that authorize": lambda: beside_gateways("grpc-authz"),
        "beside 10 that flood": lambda: beside(stage, seconds, flood),
        "beside 10 with large bodies": lambda: beside(stage, seconds, large_bodies),
    }, rounds)


def report(cell, figures):
    print(f"\n{cell}: {CELLS[cell]}", flush=True)
    medians = {
        contender: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]} for contender, rounds in figures.items()
    }
    has_cpu = "hostile" not in cell
    print(f"  {'':26}{'checks/s':>10}{'p50 us':>9}{'p99 us':>9}" + (f"{'sidecar us':>12}{'Redis us':>10}" if has_cpu else ""))
    for contender, median in medians.items():
        print(
            f"  {contender:26}{median['per_second']:10,.0f}{median['p50_us']:9,.0f}{median['p99_us']:9,.0f}"
            + (f"{median['sidecar_us']:12.1f}{median['redis_us']:10.1f}" if has_cpu else "")
            + (f"   {median['sent']:,.0f} sent, {median['ended']:,.0f} times ended" if "sent" in median else ""))
    if has_cpu:
        name = cell.removeprefix("grpc-")
        cost = medians[name]["sidecar_us"]
        verdict = "met" if cost <= BAR_US else "missed"
        print(f"  sidecar's CPU a call: {cost:.1f} us, at most {BAR_US:.1f} us (a quarter of envoyproxy/ratelimit's): {verdict}")
        print(f"  it is {cost / medians['resp']['sidecar_us']:.1f} times that of a RESP check")
    return medians


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--bin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json")
    parser.add_argument("--commit")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("cells", nargs="*")
    options = parser.parse_args()
    if options.list:
        for cell, about in CELLS.items():
            print(f"{cell}: {about}")
        return 0
    if any(cell != "resp-hostile" for cell in options.cells or CELLS) and not shutil.which("h2load"):
        raise Failed("h2load is not installed (Debian: nghttp2-client)")
    results = {}
    for cell in options.cells or CELLS:
        # A closed loop queues for longer than a gateway would wait, and local answers cost less.
        stage = Stage(options.bin, *([] if "hostile" in cell else ["--budget", "5s", "--grpc-budget", "5s"]))
        try:
            if cell == "grpc-hostile":
                figures = hostile_cell(stage, options.rounds, options.seconds)
            elif cell == "resp-hostile":
                figures = resp_hostile_cell(stage, options.rounds, options.seconds)
            else:
                figures = question_cell(stage, cell, options.rounds, options.seconds)
        finally:
            stage.end()
        results[cell] = {"rounds": figures, "medians": report(cell, figures)}
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"commit": options.commit, "cells": results}, file)
            file.write("\n")
    return 0


try:
    sys.exit(main())
except AssertionError as error:
    print(f"wrong: {error}", file=sys.stderr)
    sys.exit(1)
except (Failed, OSError, subprocess.TimeoutExpired) as error:
    print(f"not carried out: {error}", file=sys.stderr)
    sys.exit(2)
