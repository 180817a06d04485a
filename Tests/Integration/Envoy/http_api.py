"""Envoy's rate limit filter in front of an HTTP API.

Arguments: the sidecar's gRPC socket, its process id, a folder. The sidecar has the policy of deploy/envoy.
"""
import http.server
import os
import signal
import sys
import threading
import time

from stage import Envoy, check, ok, stop, wait_for

grpc_socket, pid, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
seen = []


class API(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seen.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"found")

    def log_message(self, *_):
        pass


api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), API)
threading.Thread(target=api.serve_forever, daemon=True).start()
envoy = Envoy("http-api.yaml", grpc_socket, api.server_address[1], folder)


def get(path, key="key-of-alice"):
    return envoy.request("GET", path, headers={"x-api-key": key})


if time.time() % 60 > 50:
    time.sleep(60 - time.time() % 60 + 0.1)
wait_for("the first passes", lambda: get("/search", "key-of-bob")[0] == 200)
results = [get("/search") for _ in range(11)]
check([status for status, _, _ in results[:10]] == [200] * 10, "ten requests pass", results)
status, headers, body = results[10]
check(status == 429 and body.startswith("search is limited to 10 calls per minute for this grant. Try again in "),
      f"the eleventh is 429 and says why: {body}", status, body)
check(1 <= int(headers["retry-after"]) <= 60, "retry-after says when", headers)
check(results[0][1]["ratelimit"].startswith('"search_rate";r=9;t='), "a ratelimit header says what is left", results[0])
check(seen.count("/search") == 11, "the server never saw it", seen)
check(get("/other")[0] == 200, "a route without limits is not asked for")
check(get("/search", "key-of-bob")[0] == 200, "another grant has its own")

stop(pid)
started = time.monotonic()
status, _, _ = get("/search", "key-of-bob")
took = time.monotonic() - started
os.kill(pid, signal.SIGCONT)
check(status == 503 and took < 3, f"a sidecar that hangs: 503 after {took:.2f} s", status)
wait_for("it goes on", lambda: get("/search", "key-of-bob")[0] == 200)
ok("it goes on")
os.kill(pid, signal.SIGKILL)
check(get("/search", "key-of-bob")[0] == 503, "a sidecar that is gone: 503")
