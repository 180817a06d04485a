"""Starts Envoy with an example of deploy/envoy, and ends what was started. Every program ends with this one."""
import atexit
import http.client
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../deploy/envoy")


def message_modules(folder):
    """What imports messages by module, made of our .proto files by another implementation."""
    here = os.path.dirname(os.path.abspath(__file__))
    protos, made = os.path.join(here, "../../../Sources/SluiceEnvoy/Protos"), os.path.join(folder, "made")
    if not os.path.exists(made):
        os.mkdir(made)
        files = [
            os.path.relpath(os.path.join(where, name), protos)
            for where, _, names in os.walk(protos) for name in names if name.endswith(".proto")
        ]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}", f"--python_out={made}", *files],
            check=True)
        # Packages of these names are installed: they get the folders of the messages, too.
        sys.path.insert(0, made)
        for name in ["envoy", "grpc"]:
            importlib.import_module(name).__path__.insert(0, os.path.join(made, name))
    return importlib.import_module


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ok(text):
    print("ok", text, flush=True)


def check(condition, text, *facts):
    if not condition:
        print("not ok", text, *facts, flush=True)
        sys.exit(1)
    ok(text)


def wait_for(what, test, seconds=20):
    deadline = time.monotonic() + seconds
    while not test():
        if time.monotonic() > deadline:
            print("not ok", what, "did not happen", flush=True)
            sys.exit(1)
        time.sleep(0.02)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def stop(pid):
    """Stops a process with all of its threads, as a hanging one."""
    os.kill(pid, signal.SIGSTOP)

    def is_stopped():
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8") as file:
                if file.read().rsplit(")", 1)[1].split()[0] != "T":
                    return False
        return True

    wait_for("the process stops", is_stopped)


class Envoy:
    """Envoy with one of the examples, whose paths and ports are replaced by the test's own.

    A patient one waits longer for Sluice, where a test is to see its answer: the machine may be slow.
    """

    def __init__(self, example, grpc_socket, upstream_port, folder, patient=False):
        self.port, self.admin = free_port(), free_port()
        with open(os.path.join(EXAMPLES, example), encoding="utf-8") as file:
            text = file.read()
        for old, new in [
            ("/run/sluice/grpc.sock", grpc_socket),
            ("port_value: 10000", f"port_value: {self.port}"),
            ("port_value: 9901", f"port_value: {self.admin}"),
            ("port_value: 8000", f"port_value: {upstream_port}"),
        ] + [("timeout: 0.1s", "timeout: 4s")] * patient:
            if old not in text:
                raise SystemExit(f"{example} has no {old}")
            text = text.replace(old, new)
        path = os.path.join(folder, example)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.log_path = os.path.join(folder, "envoy.log")
        self.access_path = os.path.join(folder, "access.log")
        program = os.environ.get("SLUICE_TEST_ENVOY_PROGRAM") or os.path.join(os.path.dirname(sys.executable), "envoy")
        with open(self.log_path, "w") as log, open(self.access_path, "w") as access:
            self.process = subprocess.Popen(
                [program, "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"],
                stdout=access, stderr=log)
        atexit.register(self.end)
        wait_for("envoy listens", lambda: self.failed() or answers(self.port))

    def failed(self):
        if self.process.poll() is None:
            return False
        with open(self.log_path, encoding="utf-8") as log:
            raise SystemExit("envoy ended: " + log.read()[-2000:])

    def access_log(self):
        with open(self.access_path, encoding="utf-8") as log:
            return log.read()

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode()
        finally:
            connection.close()


def post(envoy, key, message, more=None):
    """A JSON-RPC message of a client that is not the SDK's."""
    headers = {
        "content-type": "application/json", "accept": "application/json, text/event-stream", "x-api-key": key,
    }
    headers.update(more or {})
    body = message if isinstance(message, str) else json.dumps(message)
    return envoy.request("POST", "/mcp", body, headers)
