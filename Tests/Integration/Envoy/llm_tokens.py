"""Envoy in front of an LLM's API that streams: tokens are charged when a stream has ended.

Arguments: the sidecar's gRPC socket, its process id, a folder. The sidecar has the policy and the gateways file of deploy/envoy.
"""
import http.client
import http.server
import json
import sys
import threading
import time

import grpc

from stage import Envoy, check, message_modules, wait_for

grpc_socket, folder = sys.argv[1], sys.argv[3]
rls = message_modules(folder)("envoy.service.ratelimit.v3.rls_pb2")
seen = []


class LLM(http.server.BaseHTTPRequestHandler):
    """Streams events; the last one says how many tokens were used: as many as the request says."""
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        seen.append(asked["model"])
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = [{"choices": [{"delta": {"content": f"word {n}"}}], "usage": None} for n in range(5)]
        for event in events + [{"choices": [], "usage": {"prompt_tokens": 1, "total_tokens": asked["costs"]}}]:
            self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), LLM)
threading.Thread(target=server.serve_forever, daemon=True).start()
envoy = Envoy("llm-tokens.yaml", grpc_socket, server.server_address[1], folder, patient=True)
channel = grpc.insecure_channel("unix:" + grpc_socket)
look = channel.unary_unary(
    "/kuadrant.service.ratelimit.v1.RateLimitService/CheckRateLimit", rls.RateLimitRequest.SerializeToString,
    rls.RateLimitResponse.FromString)


def left(grant):
    request = rls.RateLimitRequest(domain="llm-ask")
    descriptor = request.descriptors.add()
    descriptor.entries.add(key="grant", value=grant)
    descriptor.entries.add(key="model", value="small")
    return look(request, timeout=5).statuses[0].limit_remaining


def ask(costs, key="key-of-alice", model="small"):
    body = json.dumps({"model": model, "stream": True, "costs": costs})
    return envoy.request("POST", "/v1/chat/completions", body, {"x-api-key": key, "content-type": "application/json"})


if time.time() % 3600 > 3540:
    time.sleep(3600 - time.time() % 3600 + 0.1)
status, _, body = ask(600)
check(status == 200 and body.count("data: ") == 7 and "[DONE]" in body, "a stream comes whole", status, body)
wait_for("600 tokens are charged after the stream", lambda: left("alice-laptop") == 400)
check(left("alice-laptop") == 400, "600 tokens are charged after the stream")
status, headers, _ = ask(600, model="large")
check(status == 200, "something is left, so the next call of any model passes", status)
wait_for("all that it used is charged", lambda: left("alice-laptop") == 0)
before = len(seen)
status, headers, body = ask(1)
check(
    status == 429 and body.startswith("The budget of 1,000 tokens per hour is used up. Try again in ") and body.count("Try again") == 1,
    f"the budget is used up: {body}", status, body)
check(1 <= int(headers["retry-after"]) <= 3600, "retry-after says when", headers)
check(len(seen) == before, "the LLM never saw it", seen)
check(ask(10, "key-of-bob")[0] == 200, "another grant has its own budget")
wait_for("that is charged, too", lambda: left("bob-desktop") == 990)
status, _, body = ask("none", "key-of-bob")
check(status == 200, "a stream that does not say what it used passes", status, body)
check(ask(5, "key-of-bob")[0] == 200, "and the next")
wait_for("only what was said is charged", lambda: left("bob-desktop") == 985)
check(left("bob-desktop") == 985, "only what was said is charged")
