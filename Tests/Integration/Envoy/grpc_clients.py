"""A stock gRPC client, with messages made of our .proto files by another implementation.

Arguments: the sidecar's gRPC socket, its process id, a folder. The sidecar has the policy of deploy/envoy.
"""
import json
import os
import signal
import sys
import time

import grpc

from stage import check, message_modules

grpc_socket, pid, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
messages = message_modules(folder)
rls = messages("envoy.service.ratelimit.v3.rls_pb2")
auth = messages("envoy.service.auth.v3.external_auth_pb2")
health = messages("grpc.health.v1.health_pb2")

channel = grpc.insecure_channel("unix:" + grpc_socket)


def method(path, request, response, streams=False):
    make = channel.unary_stream if streams else channel.unary_unary
    return make(path, request.SerializeToString, response.FromString)


should = method("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", rls.RateLimitRequest, rls.RateLimitResponse)
look = method("/kuadrant.service.ratelimit.v1.RateLimitService/CheckRateLimit", rls.RateLimitRequest, rls.RateLimitResponse)
report = method("/kuadrant.service.ratelimit.v1.RateLimitService/Report", rls.RateLimitRequest, rls.RateLimitResponse)
authorize = method("/envoy.service.auth.v3.Authorization/Check", auth.CheckRequest, auth.CheckResponse)
healthy = method("/grpc.health.v1.Health/Check", health.HealthCheckRequest, health.HealthCheckResponse)
watch = method("/grpc.health.v1.Health/Watch", health.HealthCheckRequest, health.HealthCheckResponse, streams=True)
OK, OVER = rls.RateLimitResponse.OK, rls.RateLimitResponse.OVER_LIMIT


def request(*descriptors, **more):
    made = rls.RateLimitRequest(domain="api", **more)
    for entries in descriptors:
        descriptor = made.descriptors.add()
        for key, value in entries.items():
            descriptor.entries.add(key=key, value=value)
    return made


def status(call, *arguments):
    try:
        call(*arguments, timeout=5)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def run(grant):
    return {"grant": grant, "tool": "opencode_run"}


if time.time() % 60 > 50:
    time.sleep(60 - time.time() % 60 + 0.1)
codes = [should(request(run("a")), timeout=5).overall_code for _ in range(12)]
check(codes == [OK] * 10 + [OVER] * 2, "ten of twelve pass", codes)
answer = should(request(run("b"), run("a")), timeout=5)
check([s.code for s in answer.statuses] == [OK, OVER], "statuses are in the order of descriptors", answer)
check(answer.statuses[0].limit_remaining == 10, "and what was admitted is given back", answer)
answer = should(request(run("b"), {"grant": "b", "tool": "search"}), timeout=5)
check(
    [s.limit_remaining for s in answer.statuses] == [9, 9] and answer.overall_code == OK,
    "the denied request charged nothing", answer)
answer = should(request(run("b"), run("b"), hits_addend=5), timeout=5)
check(
    answer.overall_code == OVER and look(request(run("b")), timeout=5).statuses[0].limit_remaining >= 8,
    "two descriptors of one counter are charged together or not at all", answer)
own = request({"any": "thing"}, {"other": "thing"})
for descriptor, most in zip(own.descriptors, [3, 2]):
    descriptor.limit.requests_per_unit, descriptor.limit.unit = most, 3
answers = [should(own, timeout=5) for _ in range(4)]
check(
    [a.overall_code for a in answers] == [OK, OK, OVER, OVER]
    and [a.statuses[0].limit_remaining for a in answers] == [2, 1, 1, 1],
    "limits of descriptors are all or nothing, too", answers)
check(look(request(run("c")), timeout=5).overall_code == OK and look(request(run("a")), timeout=5).overall_code == OVER,
      "CheckRateLimit only looks")
for _ in range(12):
    answer = report(request(run("reported")), timeout=5)
check(answer.overall_code == OVER, "Report charges past the maximum, and says so")
check(look(request(run("reported")), timeout=5).overall_code == OVER, "later checks feel it")
back = request(run("reported"), hits_addend=5)
back.descriptors[0].is_negative_hits = True
check(
    should(back, timeout=5).overall_code == OK and look(request(run("reported")), timeout=5).statuses[0].limit_remaining == 3,
    "negative hits are given back")
check(status(should, request())[0] == "INVALID_ARGUMENT", "a request without descriptors is refused")
check(status(should, request(*[{"k": "v" * 250}] * 32 * 10))[0] == "RESOURCE_EXHAUSTED", "a large message is refused")
check(status(channel.unary_unary("/no.Such/Method"), b"")[0] == "UNIMPLEMENTED", "an unknown method is refused")
check(
    status(channel.unary_unary("/envoy.service.auth.v3.Authorization/Check"), b"\xff\xff")[0] == "INVALID_ARGUMENT",
    "what is no message is refused")
call = auth.CheckRequest()
call.attributes.request.http.method = "POST"
call.attributes.context_extensions["grant"] = "a"
call.attributes.request.http.body = json.dumps(
    {"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": "opencode_run"}, "pad": "y" * 1_000_000})
answer = authorize(call, timeout=5)
check(
    json.loads(answer.denied_response.body)["result"]["isError"] and answer.denied_response.status.code == 200,
    "a body of a megabyte is read", answer.status)
# As Istio's and Envoy Gateway's ext_authz: headers in a map of bytes or of texts, the body as bytes or as text.
for map_of_bytes in [True, False]:
    call = auth.CheckRequest()
    call.attributes.source.principal = "spiffe://cluster.local/ns/default/sa/client"
    call.attributes.context_extensions["server"] = "code"
    http = call.attributes.request.http
    http.method, http.path = "POST", "/mcp"
    body = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "opencode_run"}})
    sent = {":method": "POST", ":path": "/mcp", "x-grant": "a", "content-type": "application/json"}
    if map_of_bytes:
        http.raw_body = body.encode()
        for key, value in sent.items():
            http.header_map.headers.add(key=key, raw_value=value.encode())
    else:
        http.body = body
        http.headers.update(sent)
    answer = authorize(call, timeout=5)
    check(
        json.loads(answer.denied_response.body)["id"] == 5 and answer.denied_response.status.code == 200,
        f"a question as Istio and Envoy Gateway ask it, {'bytes' if map_of_bytes else 'texts'}", answer)
futures = [should.future(request(run("many")), timeout=5) for _ in range(500)]
check(sum(f.result().overall_code == OK for f in futures) == 10, "of 500 calls at once ten pass")
check(healthy(health.HealthCheckRequest(), timeout=5).status == 1, "it is healthy")
check(status(healthy, health.HealthCheckRequest(service="x"))[0] == "NOT_FOUND", "an unknown service is not found")
seen = watch(health.HealthCheckRequest(service="envoy.service.auth.v3.Authorization"), timeout=20)
check(next(seen).status == 1, "a watch begins with what is")
os.kill(pid, signal.SIGTERM)
check([s.status for s in seen] == [2], "and hears that it ends")
