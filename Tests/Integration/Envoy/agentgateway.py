"""What agentgateway sends, by a stock gRPC client: the questions of deploy/agentgateway/config.yaml.

Arguments: the sidecar's gRPC socket, its process id, a folder. The sidecar has the policy and the gateways file of that folder.
"""
import json
import sys
import time

import grpc

from stage import check, message_modules

grpc_socket, folder = sys.argv[1], sys.argv[3]
messages = message_modules(folder)
rls = messages("envoy.service.ratelimit.v3.rls_pb2")
auth = messages("envoy.service.auth.v3.external_auth_pb2")
channel = grpc.insecure_channel("unix:" + grpc_socket)
authorize = channel.unary_unary(
    "/envoy.service.auth.v3.Authorization/Check", auth.CheckRequest.SerializeToString, auth.CheckResponse.FromString)
should = channel.unary_unary(
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", rls.RateLimitRequest.SerializeToString,
    rls.RateLimitResponse.FromString)


def ask(grant, identity, method="tools/call", tool="opencode_run", **headers):
    """Its extAuthz: the body as bytes, the key's grant as the claim of a token, the route's context."""
    request = auth.CheckRequest()
    http = request.attributes.request.http
    http.method, http.path = "POST", "/mcp"
    http.headers.update({"content-type": "application/json", "accept": "application/json, text/event-stream", **headers})
    http.raw_body = json.dumps(
        {"jsonrpc": "2.0", "id": identity, "method": method, "params": {"name": tool, "arguments": {}}}).encode()
    request.attributes.context_extensions["server"] = "code"
    if grant:
        claims = request.attributes.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"]
        claims.update({"payload": {"sub": grant}})
    return authorize(request, timeout=5)


def tokens(grant, hits):
    """Its remoteRateLimit: a cost of 0 before a call, and what was used after it, with the same domain."""
    request = rls.RateLimitRequest(domain="llm")
    descriptor = request.descriptors.add()
    descriptor.entries.add(key="grant", value=grant)
    descriptor.entries.add(key="model", value="small")
    descriptor.hits_addend.value = hits
    return should(request, timeout=5)


if time.time() % 60 > 50:
    time.sleep(60 - time.time() % 60 + 0.1)
answers = [ask("alice-laptop", n) for n in range(11)]
check(all(a.status.code == 0 for a in answers[:10]), "ten calls pass")
last = answers[10]
result = json.loads(last.denied_response.body)
check(
    last.status.code != 0 and last.denied_response.status.code == 200 and result["id"] == 10 and result["result"]["isError"],
    "the eleventh is a tool's result that says why", last)
check(ask("alice-laptop", 2**60 + 1).denied_response.body.startswith('{"jsonrpc":"2.0","id":1152921504606846977,'),
      "a large id comes back as it was")
check(ask("bob-desktop", 1).status.code == 0, "another grant has its own limit")
check(ask("alice-laptop", 1, **{"x-grant": "bob-desktop"}).status.code != 0, "a header of a client counts for nothing")
check(ask(None, 1, **{"x-grant": "bob-desktop"}).status.code != 0, "without a key nothing is called")
check(ask("bob-desktop", 1, tool="forbidden").status.code != 0, "a tool that is not listed is denied")
check(ask("alice-laptop", 1, method="tools/list").status.code == 0, "what is no call passes")
OK, OVER = rls.RateLimitResponse.OK, rls.RateLimitResponse.OVER_LIMIT
check(tokens("alice-laptop", 0).overall_code == OK, "before a call something is left")
tokens("alice-laptop", 600)
answer = tokens("alice-laptop", 0)
check(answer.overall_code == OK and answer.statuses[0].limit_remaining == 400, "after it 600 tokens are charged", answer)
check(tokens("alice-laptop", 600).overall_code == OVER, "the next goes past the maximum, and that is charged")
check(tokens("alice-laptop", 0).overall_code == OVER, "then nothing is left")
check(tokens("bob-desktop", 0).overall_code == OK, "another grant has its own tokens")
