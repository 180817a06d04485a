#!/usr/bin/env python3
"""A small gateway with a Sluice sidecar beside it. Python's standard library only.

It knows its callers by a bearer token, asks the sidecar whether the call may pass, and forwards it if so.

    POST /call/TOOL   answers with HTTP's own words: 200, 403, 429 or 503, with Retry-After
    /mcp              an MCP server's streamable HTTP: everything is passed on, but tools/call is checked; a denial is a tool
                      result with isError, which the agent reads

An example to learn from, not a gateway to deploy: one thread for each connection, no TLS, tokens in the code.
"""

import argparse
import http.client
import http.server
import json
import math
import socket
import threading

# Whoever authenticates callers maps them to grants; here it is a table.
GRANTS = {"token-alice": "alice-laptop", "token-bob": "bob-laptop", "token-carol": "carol-laptop"}
# The sidecar answers within its budget (20 ms); who waits longer than this waits for something that is stuck.
SIDECAR_TIMEOUT_S = 0.25
MAX_BODY_BYTES = 1024 * 1024
# What an MCP server and its client tell each other beside the body.
PASSED_ON = ("accept", "content-type", "mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id")
PASSED_BACK = ("content-type", "mcp-session-id", "cache-control")


class SidecarError(Exception):
    """The sidecar gave no decision."""


class Sidecar:
    """One connection to a sidecar, speaking RESP. Redis clients do the same; this shows how little it takes."""

    FIELDS = ("allowed", "limit", "remaining", "retry_after_ms", "reset_ms", "verdict", "rule", "source", "message")

    def __init__(self, path):
        self.path = path
        self.socket = None
        self.file = None

    def check(self, grant, tool):
        """Asks for a decision, as a dictionary; raises SidecarError."""
        try:
            if self.socket is None:
                self._connect()
            words = [word.encode() for word in ("CHECK", grant, tool)]
            request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
            self.socket.sendall(request)
            return dict(zip(self.FIELDS, self._read()))
        except (OSError, ValueError) as error:
            # What was asked may have been counted; asking again on a new connection would count it twice.
            self.close()
            raise SidecarError(str(error)) from error

    def close(self):
        if self.socket is not None:
            self.file.close()
            self.socket.close()
            self.socket = None

    def _connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(SIDECAR_TIMEOUT_S)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        self.socket = connection
        self.file = connection.makefile("rb")

    def _read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ValueError("the sidecar closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return self.file.read(length + 2)[:length].decode()
        if kind == b"*":
            return [self._read() for _ in range(int(rest))]
        if kind == b"-":
            raise SidecarError(rest.decode())
        raise ValueError("not an answer of a sidecar")


class Gateway(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, sidecar_path, tool_port):
        super().__init__(("127.0.0.1", 0), Handler)
        self.sidecar_path = sidecar_path
        self.tool_port = tool_port
        self.local = threading.local()

    def check(self, grant, tool):
        """A connection to the sidecar for each thread, as a pool would do."""
        if not hasattr(self.local, "sidecar"):
            self.local.sidecar = Sidecar(self.sidecar_path)
        return self.local.sidecar.check(grant, tool)

    def call_tool(self, request):
        connection = http.client.HTTPConnection("127.0.0.1", self.tool_port, timeout=5)
        try:
            connection.request("POST", "/mcp", json.dumps(request), {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        # Opens a stream of the server's own messages.
        self.pass_on_unchecked()

    def do_DELETE(self):
        # Ends a session.
        self.pass_on_unchecked()

    def pass_on_unchecked(self):
        if self.grant() is None:
            return self.answer(401, {"error": "unknown token"}, {"WWW-Authenticate": "Bearer"})
        if self.path != "/mcp":
            return self.answer(404, {"error": "POST /call/TOOL or /mcp"})
        return self.pass_on(None)

    def grant(self):
        return GRANTS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            return self.answer(413, {"error": "the body is too large"})
        body = self.rfile.read(length)
        grant = self.grant()
        if grant is None:
            return self.answer(401, {"error": "unknown token"}, {"WWW-Authenticate": "Bearer"})
        if self.path.startswith("/call/"):
            return self.plain_call(grant, self.path.removeprefix("/call/"))
        if self.path == "/mcp":
            return self.mcp_call(grant, body)
        return self.answer(404, {"error": "POST /call/TOOL or /mcp"})

    # --- HTTP's own words ---------------------------------------------------------------------------------------

    def plain_call(self, grant, tool):
        try:
            decision = self.server.check(grant, tool)
        except SidecarError:
            # This gateway would rather refuse than call without a limit; another may choose otherwise.
            return self.answer(503, {"error": "the rate limiter does not answer"}, {"Retry-After": "1"})
        headers = {"X-Sluice-Source": decision["source"]}
        if decision["limit"] >= 0:
            headers["RateLimit-Limit"] = str(decision["limit"])
            headers["RateLimit-Remaining"] = str(decision["remaining"])
        if decision["allowed"]:
            request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
            return self.answer(200, self.server.call_tool(request)["result"], headers)
        if decision["retry_after_ms"] > 0:
            headers["Retry-After"] = str(math.ceil(decision["retry_after_ms"] / 1000))
        status = {"limit": 429, "unavailable": 503}.get(decision["verdict"], 403)
        return self.answer(status, {"error": decision["message"], "rule": decision["rule"]}, headers)

    # --- MCP ----------------------------------------------------------------------------------------------------

    def mcp_call(self, grant, body):
        try:
            request = json.loads(body, object_pairs_hook=unambiguous)
            is_call = request.get("method") == "tools/call"
            tool = request["params"]["name"] if is_call else ""
            if not isinstance(tool, str):
                raise TypeError("a tool's name is a string")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return self.answer(400, {"error": "expected a JSON-RPC message, and of a tools/call the tool's name"})
        if not is_call:
            return self.pass_on(body)
        try:
            decision = self.server.check(grant, tool)
        except SidecarError:
            return self.answer(200, self.refusal(request, "The rate limiter does not answer. Try again in a second."))
        if decision["allowed"]:
            return self.pass_on(body)
        return self.answer(200, self.refusal(request, decision["message"]))

    def pass_on(self, body):
        """To the MCP server, and its answer back as it comes: it may be a stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.tool_port, timeout=5)
        try:
            headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
            connection.request(self.command, "/mcp", body, headers)
            # A stream may be silent for long.
            connection.sock.settimeout(None)
            response = connection.getresponse()
        except OSError:
            connection.close()
            return self.answer(502, {"error": "the MCP server does not answer"})
        try:
            self.send_response(response.status)
            for name in PASSED_BACK:
                if response.getheader(name):
                    self.send_header(name, response.getheader(name))
            if response.status == 204:
                return self.end_headers()
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while piece := response.read1(65536):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            connection.close()

    @staticmethod
    def refusal(request, message):
        """A tool result rather than a protocol error, so that the agent reads it: it can wait, or do without."""
        result = {"resultType": "complete", "isError": True, "content": [{"type": "text", "text": message}]}
        return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}

    def answer(self, status, document, headers=None):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """No line for each request."""


def unambiguous(pairs):
    """A JSON object; one with a key twice might be read in another way by the server behind."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key is there twice")
    return members


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sidecar", required=True, help="path of the sidecar's socket")
    parser.add_argument("--tool-port", required=True, type=int, help="port of the MCP tool on 127.0.0.1")
    arguments = parser.parse_args()
    gateway = Gateway(arguments.sidecar, arguments.tool_port)
    # Port 0: the system chose one, and whoever started this reads it here.
    print(gateway.server_port, flush=True)
    gateway.serve_forever()


if __name__ == "__main__":
    main()
