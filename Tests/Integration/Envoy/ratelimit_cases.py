"""The cases of envoyproxy/ratelimit's own tests, by a stock gRPC client: see ratelimit_cases.json.

Arguments: the sidecar's gRPC socket, its process id, a folder. The sidecar has the policies and the gateways file of the cases.
"""
import fnmatch
import json
import os
import re
import sys
import time

import grpc

from stage import check, message_modules

grpc_socket, folder = sys.argv[1], sys.argv[3]
rls = message_modules(folder)("envoy.service.ratelimit.v3.rls_pb2")
unit = message_modules(folder)("envoy.type.v3.ratelimit_unit_pb2").RateLimitUnit
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "ratelimit_cases.json"), encoding="utf-8") as file:
    everything = json.load(file)
cases = everything["cases"]
channel = grpc.insecure_channel("unix:" + grpc_socket)
methods = {
    name: channel.unary_unary(f"/{service}/{name}", rls.RateLimitRequest.SerializeToString, rls.RateLimitResponse.FromString)
    for service, name in [
        ("envoy.service.ratelimit.v3.RateLimitService", "ShouldRateLimit"),
        ("kuadrant.service.ratelimit.v1.RateLimitService", "CheckRateLimit"),
        ("kuadrant.service.ratelimit.v1.RateLimitService", "Report"),
    ]
}


def request(ask):
    made = rls.RateLimitRequest(domain=ask["domain"], hits_addend=ask.get("hits", 0))
    for asked in ask["descriptors"]:
        descriptor = made.descriptors.add()
        for key, value in asked["entries"]:
            descriptor.entries.add(key=key, value=value)
        if "hits" in asked:
            descriptor.hits_addend.value = asked["hits"]
        if "limit" in asked:
            descriptor.limit.requests_per_unit, descriptor.limit.unit = asked["limit"][0], unit.Value(asked["limit"][1])
    return made


def differs(answer, expected, turn):
    """What is not as expected; empty if all is."""
    found = []

    def expect(what, seen, wanted):
        if seen != wanted:
            found.append(f"{what} is {seen}, not {wanted}")

    code = rls.RateLimitResponse.Code.Name
    expect("overall_code", code(answer.overall_code), expected["code"])
    expect("the number of statuses", len(answer.statuses), len(expected["statuses"]))
    for index, (status, wanted) in enumerate(zip(answer.statuses, expected["statuses"])):
        expect(f"code {index}", code(status.code), wanted["code"])
        expect(f"limit_remaining {index}", status.limit_remaining, wanted["remaining"] + turn * wanted.get("step", 0))
        if wanted["limit"] is None:
            expect(f"current_limit {index}", status.HasField("current_limit"), False)
            continue
        limit = status.current_limit
        seen = [limit.requests_per_unit, rls.RateLimitResponse.RateLimit.Unit.Name(limit.unit), limit.name]
        expect(f"current_limit {index}", seen[: len(wanted["limit"])], wanted["limit"])
        if "reset_at_most_s" in wanted:
            expect(f"reset {index}", 0 < status.duration_until_reset.ToTimedelta().total_seconds() <= wanted["reset_at_most_s"], True)
    return found


def run(step):
    for turn in range(step.get("times", 1)):
        try:
            answer = methods[step.get("method", "ShouldRateLimit")](request(step["ask"]), timeout=10)
        except grpc.RpcError as error:
            wanted = step.get("error")
            return [] if wanted == [error.code().name, error.details()] else [f"{error.code().name}: {error.details()}"]
        if "error" in step:
            return ["no error came"]
        if "answer" in step and (found := differs(answer, step["answer"], turn)):
            return [f"turn {turn}: {fault}" for fault in found]
    headers = {header.key: header.value for header in answer.response_headers_to_add}
    return [
        f"{name} is {headers.get(name)}" for name, pattern in step.get("last_headers", {}).items()
        if not re.search(pattern, headers.get(name, ""))
    ]


def unnamed():
    """The tests there that are neither a case here, nor among those that are not ported."""
    texts = [case["from"] for case in cases] + list(everything["not_ported"])
    named = [word for text in texts for word in re.findall(r"[*\w]*[Tt]est[*\w]*|\*\w+\*", text.replace("test/", ""))]
    # Folders and files that are left out whole: nothing is named in them.
    whole = [part for text in everything["not_ported"] if ":" not in text for part in re.findall(r"test/[\w/.]+", text)]
    return [
        f"{file}: {name}" for file, names in everything["upstream"].items() if file.endswith(".go") for name in names
        if not any(file.startswith(part) for part in whole) and not any(fnmatch.fnmatchcase(name, word) for word in named)
    ]


check(not unnamed(), "each test there is a case, or named with why it is none", *unnamed())
# All of it must fall into one minute, and so into one hour and day.
if time.time() % 60 > 45:
    time.sleep(60 - time.time() % 60 + 0.1)
for case in cases:
    faults = [fault for step in case["steps"] for fault in run(step)]
    check(not faults, case["from"] + (f" (deviates: {case['deviation']})" if "deviation" in case else ""), *faults)
