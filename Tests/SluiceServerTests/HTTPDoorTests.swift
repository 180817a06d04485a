import Foundation
import NIOCore
import NIOEmbedded
import NIOHTTP1
import SluiceEngine
import SluicePolicy
import SluiceProtocol
import Testing

@testable import SluiceServer

@Suite struct HTTPDoorTests {
    private static let json = [("content-type", "application/json")]

    // MARK: - Checks

    @Test func whatIsKnownAfterwardsIsChargedAndGivenBack() throws {
        let rig = try HTTPRig()
        let charged = try rig.check("/v1/charge", #"{"grant": "g", "tool": "run", "cost": 1000007, "id": "one"}"#)
        #expect(try charged.json()["allowed"] as? Bool == false)
        #expect(try rig.check("/v1/peek", #"{"grant": "g", "tool": "run"}"#).json()["verdict"] as? String == "limit")
        let refunded = try rig.check("/v1/refund", #"{"grant": "g", "tool": "run", "cost": 10}"#)
        #expect(try refunded.json()["allowed"] as? Bool == true)
        #expect(try rig.check("/v1/peek", #"{"grant": "g", "tool": "run"}"#).json()["remaining"] as? Int == 3)
        #expect(try rig.check("/v1/charge", #"{"grant": "g", "tool": "run"}"#).status == 400)
    }

    @Test func aCheckIsAnsweredWithTheFieldsOfTheSocketsAnswer() throws {
        let rig = try HTTPRig()
        let reply = try rig.check("/v1/check", #"{"grant": "g", "tool": "run", "cost": 5}"#)
        #expect(reply.status == 200)
        #expect(reply.headers["content-type"] == "application/json")
        #expect(reply.headers["cache-control"] == "no-store")
        let fields = try reply.json()
        #expect(fields["allowed"] as? Bool == true)
        #expect(fields["limit"] as? Int == 1_000_000)
        #expect(fields["remaining"] as? Int == 999_995)
        #expect(fields["retry_after_ms"] as? Int == 0)
        #expect(fields["reset_ms"] as? Int ?? 0 > 0)
        #expect(fields["verdict"] as? String == "allow")
        #expect(fields["rule"] as? String == "/tools/run/limits/runs")
        #expect(fields["source"] as? String == "shared")
        #expect(fields["message"] as? String == "")
        #expect(fields.count == 9)
        let denied = try rig.check("/v1/check", #"{"grant": "g", "tool": "other"}"#)
        #expect(denied.status == 200)
        #expect(try denied.json()["verdict"] as? String == "deny")
        #expect(try denied.json()["message"] as? String != "")
        #expect(rig.door.decisions.count(.allow) == 1)
        #expect(rig.door.decisions.count(.deny) == 1)
    }

    @Test func aPeekChargesNothingAndATraceListsTheLimits() throws {
        let rig = try HTTPRig()
        for _ in 0..<2 {
            let fields = try rig.check("/v1/peek", #"{"grant": "g", "tool": "run", "trace": true}"#).json()
            #expect(fields["remaining"] as? Int == 1_000_000)
            let trace = try #require(fields["trace"] as? [[String: Any]])
            #expect(trace.count == 1)
            #expect(trace[0]["rule"] as? String == "/tools/run/limits/runs")
            #expect(trace[0]["max"] as? Int == 1_000_000)
            #expect(trace[0]["used"] as? Int == 0)
        }
    }

    @Test func aReservationIsCommittedOnce() throws {
        let rig = try HTTPRig()
        let check = try rig.check("/v1/check", #"{"grant": "g", "tool": "run", "cost": 10, "reserve": true}"#)
        let id = try #require(try check.json()["reservation"] as? String)
        #expect(id.count == 32)
        let body = "{\"grant\": \"g\", \"reservation\": \"\(id)\", \"cost\": 3}"
        #expect(try rig.check("/v1/commit", body).body == "{\"done\":true}\n")
        #expect(try rig.check("/v1/commit", body).body == "{\"done\":false}\n")
        for path in ["/v1/cancel", "/v1/release"] {
            #expect(try rig.check(path, "{\"grant\": \"g\", \"reservation\": \"\(id)\"}").body == "{\"done\":false}\n")
        }
        #expect(try rig.check("/v1/peek", #"{"grant": "g", "tool": "run"}"#).json()["remaining"] as? Int == 999_997)
    }

    @Test func attributesAndTheOtherOptionsAreTaken() throws {
        let rig = try HTTPRig()
        let body = """
            {"grant": "g", "tool": "run", "server": "s", "session": "x", "attributes": {"team": "a", "region": "b"},
             "approved": true, "trace": false, "id": "call-1", "reserve": false}
            """
        let first = try rig.check("/v1/check", body).json()
        #expect(first["allowed"] as? Bool == true)
        // The id replays the answer.
        #expect(try rig.check("/v1/check", body).json()["remaining"] as? Int == first["remaining"] as? Int)
        let other = try rig.check("/v1/check", #"{"grant": "g", "tool": "run", "cost": 2, "id": "call-1"}"#)
        #expect(other.status == 400)
        #expect(try other.error().message.contains("other arguments"))
    }

    /// Each fault is one line that says where it is, what was found and what is expected.
    @Test(
        arguments: [
            ("/v1/check", "", ["body:1:1: found the end of the document"]),
            ("/v1/check", "[]", ["body:1:1: found an empty array, expected an object with \"grant\""]),
            ("/v1/check", #"{"tool": "t"}"#, ["body:1:1: found no \"grant\", expected \"grant\": a string"]),
            (
                "/v1/check", #"{"grant": 1, "tool": true, "cost": "1"}"#,
                [
                    "body:1:11: /grant: found 1, expected a string", "body:1:22: /tool: found true, expected a string",
                    "body:1:36: /cost: found \"1\", expected a whole number",
                ]
            ),
            (
                "/v1/check", #"{"grant": "g", "tool": "t", "sesion": "s"}"#,
                [
                    "body:1:29: /sesion: found the unknown key \"sesion\", expected \"grant\", \"tool\", \"cost\", "
                        + "\"server\", \"session\", \"attributes\", \"reserve\", \"id\", \"approved\" or \"trace\"; did you "
                        + "mean \"session\"?"
                ]
            ),
            (
                "/v1/check", #"{"grant": "g", "tool": "t", "cost": 1.5, "attributes": {"a": 1}}"#,
                [
                    "body:1:37: /cost: found 1.5, expected a whole number",
                    "body:1:62: /attributes/a: found 1, expected a string",
                ]
            ),
            ("/v1/check", #"{"grant": "g", "grant": "h", "tool": "t"}"#, ["body:1:16: /grant: "]),
            ("/v1/check", #"{"grant": "", "tool": "t"}"#, ["the grant is empty, send 1 to 256 bytes"]),
            ("/v1/check", #"{"grant": "g", "tool": "t", "cost": -1}"#, ["COST is '-1', send a whole number from"]),
            ("/v1/check", #"{"grant": "a\u0000b", "tool": "t"}"#, ["the grant has a NUL byte"]),
            (
                "/v1/peek", #"{"grant": "g", "tool": "t", "reserve": true}"#,
                ["body:1:29: /reserve: found the unknown key \"reserve\""]
            ),
            (
                "/v1/commit", #"{"grant": "g", "reservation": "r"}"#,
                ["body:1:1: found no \"cost\", expected \"cost\": the cost that the call really had"]
            ),
        ])
    func aWrongBodyIsReportedLineByLine(path: String, body: String, lines: [String]) throws {
        let rig = try HTTPRig()
        let reply = try rig.check(path, body)
        #expect(reply.status == 400)
        let (code, message) = try reply.error()
        #expect(code == "BADARG")
        let found = message.split(separator: "\n")
        #expect(found.count == lines.count, "\(message)")
        for (line, found) in zip(lines, found) { #expect(found.hasPrefix(line), "\(found)") }
        #expect(rig.rig.host.limiter.statistics.total == 0)
    }

    @Test func checksWaitForTheStoreAndConnectionsMayEndMeanwhile() throws {
        let rig = try HTTPRig()
        let (one, other) = (try rig.connect(), try rig.connect())
        for peer in [one, other] {
            try peer.send("POST", "/v1/check", Self.json, body: #"{"grant":"g","tool":"run"}"#)
            #expect(try peer.replies().isEmpty)
        }
        try other.finish()
        #expect(rig.door.connectionCount == 1)
        rig.rig.answerAll()
        #expect(try one.replies().map(\.status) == [200])
        // Its check was counted, all the same.
        #expect(rig.door.decisions.count(.allow) == 2)
        try one.finish()
        #expect(rig.rig.host.memory.connectionBytes == 0)
    }

    @Test func noCheckIsDecidedBeforeTheSidecarIsReady() throws {
        let rig = try HTTPRig()
        rig.door.readiness = .starting
        let reply = try rig.check("/v1/check", #"{"grant": "g", "tool": "run"}"#)
        #expect(reply.status == 503)
        #expect(reply.headers["retry-after"] == "1")
        #expect(try reply.error().code == "BUSY")
        #expect(try rig.ask("GET", "/v1/forward-auth?deny=403&tool=run", [("x-grant", "g")]).status == 403)
        #expect(rig.rig.host.limiter.statistics.total == 0)
    }

    // MARK: - Forward authorization

    @Test func aProxyIsToldByTheStatus() throws {
        let rig = try HTTPRig()
        let identity = [("X-Grant", "g"), ("X-Tool", "run")]
        let allowed = try rig.ask("GET", "/v1/forward-auth", identity + [("x-cost", "999999")])
        #expect(allowed.status == 200)
        #expect(allowed.body == "")
        #expect(allowed.headers["ratelimit-policy"] == "\"runs\";q=1000000")
        #expect(allowed.headers["ratelimit"]?.hasPrefix("\"runs\";r=1;t=") == true)
        #expect(allowed.headers["x-ratelimit-limit"] == "1000000")
        #expect(allowed.headers["x-ratelimit-remaining"] == "1")
        let limited = try rig.ask("GET", "/v1/forward-auth", identity + [("x-cost", "2")])
        #expect(limited.status == 429)
        #expect(Int(limited.headers["retry-after"] ?? "") ?? 0 > 0)
        #expect(try limited.json()["verdict"] as? String == "limit")
        #expect(try limited.json()["message"] as? String != "")
        // nginx takes nothing but 401 and 403 for a denial.
        let nginx = try rig.ask(
            "GET", "/v1/forward-auth?deny=403&tool=run", [("x-grant", "g"), ("x-cost", "2")])
        #expect(nginx.status == 403)
        #expect(nginx.headers["retry-after"] != nil)
        #expect(nginx.headers["x-sluice-verdict"] == "limit")
        let denied = try rig.ask("POST", "/v1/forward-auth", [("x-grant", "g"), ("x-tool", "other")])
        #expect(denied.status == 403)
        #expect(denied.headers["ratelimit"] == nil)
    }

    @Test func withoutAnIdentityNothingPasses() throws {
        let rig = try HTTPRig()
        for headers in [
            [], [("x-grant", "g")], [("x-tool", "run")], [("x-grant", ""), ("x-tool", "run")],
            [("x-grant", "g"), ("x-grant", "h"), ("x-tool", "run")],
            [("x-grant", "g"), ("x-tool", "run"), ("x-cost", "a")],
            [("x-grant", "g"), ("x-tool", "run"), ("x-session", "a"), ("mcp-session-id", "b")],
        ] {
            #expect(try rig.ask("GET", "/v1/forward-auth", headers).status == 403, "\(headers)")
            #expect(try rig.ask("GET", "/v1/forward-auth?deny=401", headers).status == 401, "\(headers)")
        }
        for query in ["deny=200", "deny=", "deny=x", "what=1", "deny=403&deny=403"] {
            let reply = try rig.ask("GET", "/v1/forward-auth?\(query)", [("x-grant", "g"), ("x-tool", "run")])
            #expect(reply.status == 400, "\(query)")
        }
        #expect(rig.rig.host.limiter.statistics.total == 0)
    }

    /// A proxy passes its client's host on.
    @Test func forwardAuthorizationIsAskedUnderAnyHost() throws {
        let rig = try HTTPRig()
        let headers = [("host", "shop.example"), ("x-grant", "g"), ("x-tool", "free")]
        #expect(try rig.ask("GET", "/v1/forward-auth", headers).status == 200)
    }

    // MARK: - Who may ask

    /// A page in a browser may name this machine as it likes, and send simple requests anywhere.
    @Test func pagesInABrowserCannotAsk() throws {
        let rig = try HTTPRig()
        let body = #"{"grant": "g", "tool": "run"}"#
        for type in [nil, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            let headers = type.map { [("content-type", $0)] } ?? []
            #expect(try rig.ask("POST", "/v1/check", headers, body: body).status == 415)
        }
        for path in ["/v1/check", "/", "/v1/status", "/v1/counters"] {
            let method = path == "/v1/check" ? "POST" : "GET"
            let headers = [("host", "evil.example:9464"), ("content-type", "application/json")]
            let reply = try rig.ask(method, path, headers, body: path == "/v1/check" ? body : nil)
            #expect(reply.status == 421, "\(path)")
        }
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:9464", "[::1]:9464"] {
            let headers = [("host", host), ("content-type", "application/json; charset=utf-8")]
            #expect(try rig.ask("POST", "/v1/check", headers, body: body).status == 200, "\(host)")
        }
        let remote = [("host", "sidecar.svc:9464"), ("content-type", "application/json")]
        #expect(try rig.ask("POST", "/v1/check", remote, body: body, origin: .remote).status == 200)
    }

    @Test func countersNameGrantsAndAreForOperators() throws {
        let rig = try HTTPRig()
        for origin in [HTTPOrigin.loopback, .remote, .unixSocket] {
            // Of a channel in memory the kernel knows no peer.
            let reply = try rig.ask("GET", "/v1/counters", origin: origin)
            #expect(reply.status == 403)
            #expect(try reply.error().code == "NOPERM")
            let clear = try rig.ask(
                "POST", "/v1/clear", [("content-type", "application/json")], body: #"{"grant": "a"}"#, origin: origin)
            #expect(clear.status == 403)
            #expect(try clear.error().code == "NOPERM")
            let override = try rig.ask(
                "POST", "/v1/override", [("content-type", "application/json")], body: "{}", origin: origin)
            #expect(override.status == 403)
        }
    }

    @Test func whatIsNotThereIsReported() throws {
        let rig = try HTTPRig()
        #expect(try rig.ask("GET", "/nothing").status == 404)
        let wrong = try rig.ask("GET", "/v1/check")
        #expect(wrong.status == 405)
        #expect(wrong.headers["allow"] == "POST")
        #expect(try rig.ask("DELETE", "/metrics").status == 405)
    }

    // MARK: - Health

    @Test func readinessSaysWhatItWaitsFor() throws {
        let rig = try HTTPRig(requiresStore: true)
        #expect(try rig.ask("GET", "/healthz").body == "ok\n")
        let ready = try rig.ask("GET", "/readyz")
        #expect(ready.status == 200)
        #expect(ready.body == "ready: counting is shared\n")
        rig.rig.host.linkClosed(0, reason: "connection refused")
        // A sidecar goes on alone, so it stays ready.
        let alone = try rig.ask("GET", "/readyz")
        #expect(alone.status == 200)
        #expect(alone.body == "ready: counting is local: connection refused\n")
        #expect(try rig.ask("GET", "/readyz?require=shared").status == 503)
        rig.door.readiness = .starting
        let waiting = try rig.ask("GET", "/readyz")
        #expect(waiting.status == 503)
        #expect(
            waiting.body == "not ready: it waits for redis, which it requires (--require-redis): connection refused\n")
        #expect(try rig.ask("GET", "/healthz").status == 200)
        rig.door.readiness = .draining
        let peer = try rig.connect()
        #expect(try peer.replies().map(\.status) == [503])
    }

    @Test func headIsAnsweredWithoutABody() throws {
        let rig = try HTTPRig()
        let reply = try rig.ask("HEAD", "/healthz")
        #expect(reply.status == 200)
        #expect(reply.headers["content-length"] == "3")
        #expect(reply.body == "")
    }

    // MARK: - The operators' page

    /// It is whole: nothing is fetched from elsewhere.
    @Test func thePageNeedsNothingElse() throws {
        let reply = try HTTPRig().ask("GET", "/")
        #expect(reply.status == 200)
        #expect(reply.headers["content-type"] == "text/html; charset=utf-8")
        #expect(reply.headers["content-security-policy"]?.hasPrefix("default-src 'none'") == true)
        #expect(reply.body.hasPrefix("<!doctype html>"))
        for word in ["src=", "@import", "url(", "https://", "innerHTML"] {
            #expect(!reply.body.contains(word), "\(word)")
        }
        let links = reply.body.matches(of: /"http:[^"]*"/).map { String($0.output) }
        #expect(links.allSatisfy { $0 == "\"http://www.w3.org/2000/svg\"" })
    }

    /// Every field that the page reads is there.
    @Test func theStatusHasWhatThePageReads() throws {
        let rig = try HTTPRig()
        _ = try rig.check("/v1/check", #"{"grant": "secret-grant", "tool": "run"}"#)
        _ = try rig.check("/v1/check", #"{"grant": "secret-grant", "tool": "other"}"#)
        let reply = try rig.ask("GET", "/v1/status")
        #expect(!reply.body.contains("secret-grant"))
        let status = try reply.json()
        let page = try rig.ask("GET", "/").body
        for match in page.matches(of: /\bstatus\.([a-z_]+)(?:\.([a-z_]+))?/) {
            let (name, field) = (String(match.output.1), match.output.2.map(String.init))
            if name == "at" { continue }
            #expect(status[name] != nil, "\(name)")
            guard let field, let object = status[name] as? [String: Any] else { continue }
            #expect(object[field] != nil, "\(name).\(field)")
        }
        for match in page.matches(of: /\bredis\.([a-z_]+)/) {
            #expect((status["redis"] as? [String: Any])?[String(match.output.1)] != nil, "\(match.output.1)")
        }
        let rules = try #require(status["rules"] as? [[String: Any]])
        #expect(rules.compactMap { $0["rule"] as? String } == ["/tools/run/limits/runs", "(default deny)"])
        for match in page.matches(of: /\brule\.([a-z_]+)/) { #expect(rules[0][String(match.output.1)] != nil) }
    }
}

@Suite struct ListenAddressTests {
    @Test func addressesAreReadAndKnowWhetherTheyAreLoopback() {
        for (text, host, port, isLoopback) in [
            ("127.0.0.1:9464", "127.0.0.1", 9464, true), ("127.8.9.1:0", "127.8.9.1", 0, true),
            ("localhost:80", "localhost", 80, true), ("[::1]:80", "::1", 80, true), ("[::]:80", "::", 80, false),
            ("0.0.0.0:65535", "0.0.0.0", 65535, false), ("127.example.org:1", "127.example.org", 1, false),
            ("localhost.evil.example:1", "localhost.evil.example", 1, false), ("128.0.0.1:1", "128.0.0.1", 1, false),
        ] {
            let address = ListenAddress(text)
            #expect(address?.host == host)
            #expect(address?.port == port)
            #expect(address?.isLoopback == isLoopback, "\(text)")
            #expect(address?.description == text)
        }
        for text in ["", ":", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "a b:1", "h:-1"]
        {
            #expect(ListenAddress(text) == nil, "\(text)")
        }
    }
}
