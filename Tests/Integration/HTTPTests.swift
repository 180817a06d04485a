import Foundation
import Support
import Testing

extension Integration {
    /// The door for HTTP, of real sidecars.
    @Suite struct HTTPTests {
        static let policy = """
            {"version": "1", "default": "deny", "tools": {
              "opencode_run": {"limits": [
                {"counter": "opencode_run_rate", "window": "day", "max": 3},
                {"counter": "shadow \\"quoted\\"", "window": "day", "max": 1, "mode": "shadow"}]},
              "free": {}}}
            """
        private static let json = ["content-type": "application/json"]

        private func check(_ client: HTTPClient, _ body: String) throws -> HTTPClient.Reply {
            try client.ask("POST", "/v1/check", Self.json, body: body)
        }

        @Test func checksOfBothDoorsShareTheirCounters() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(
                policy: Self.policy, over: redis, arguments: ["--http-listen", "127.0.0.1:0"])
            try await sidecar.waitUntilShared()
            let http = try sidecar.http()
            let body = #"{"grant": "g", "tool": "opencode_run"}"#
            #expect(try check(http, body).body.contains(#""remaining":2"#))
            let socket = try sidecar.client()
            #expect(try socket.check("g", "opencode_run").remaining == 1)
            #expect(try check(http, body).body.contains(#""remaining":0"#))
            let denied = try check(http, body)
            #expect(denied.status == 200)
            #expect(denied.body.contains(#""verdict":"limit""#))
            #expect(try socket.check("g", "opencode_run").verdict == "limit")
        }

        /// `/metrics` as the programs that read it see it.
        @Test func metricsAreReadByPrometheus() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(
                policy: Self.policy, over: redis, arguments: ["--http-listen", "127.0.0.1:0"])
            try await sidecar.waitUntilShared()
            let socket = try sidecar.client()
            for _ in 0..<5 { _ = try socket.check("secret-grant", "opencode_run") }
            _ = try socket.check("secret-grant", "free")
            _ = try socket.check("secret-grant", "other")
            let reply = try sidecar.http().ask("GET", "/metrics")
            #expect(reply.status == 200)
            for line in [
                #"sluice_decisions_total{rule="/tools/opencode_run/limits/opencode_run_rate",verdict="allow",source="shared"} 3"#,
                #"sluice_shadow_denials_total{rule="/tools/opencode_run/limits/shadow \"quoted\""} 2"#,
                #"sluice_door_decisions_total{door="socket",verdict="deny"} 1"#, "sluice_counting_shared 1",
                #"sluice_decision_duration_seconds_count{source="shared"} "#,
            ] { #expect(reply.body.contains(line), "\(line)") }
            #expect(!reply.body.contains("secret-grant"))
            if let promtool = Tool.find("promtool") {
                let lint = try ChildProcess(promtool, ["check", "metrics"], input: reply.body)
                #expect(try await lint.wait() == .exited(status: 0), "\(lint.output)\(lint.errors)")
                #expect(lint.output + lint.errors == "")
            } else {
                print("not run, since there is no promtool: the lint of /metrics")
            }
            let program = """
                import sys
                from prometheus_client.parser import text_string_to_metric_families
                names = {f.name for f in text_string_to_metric_families(sys.stdin.read())}
                print(len(names), "sluice_decisions" in names)
                """
            let parser = try ChildProcess("python3", ["-c", program], input: reply.body)
            if try await parser.wait() == .exited(status: 0) {
                let words = parser.output.split(whereSeparator: \.isWhitespace)
                #expect(Int(words[0]) ?? 0 > 50 && words[1] == "True")
            } else {
                print("not run, since there is no prometheus_client for python3: its parser over /metrics")
            }
        }

        @Test func anOutageIsInTheMetrics() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(
                policy: Self.policy, over: redis, arguments: ["--http-listen", "127.0.0.1:0"])
            try await sidecar.waitUntilShared()
            let http = try sidecar.http()
            #expect(try http.ask("GET", "/readyz").body == "ready: counting is shared\n")
            try await redis.kill()
            try await sidecar.waitUntilLocal()
            #expect(try check(http, #"{"grant": "g", "tool": "opencode_run"}"#).body.contains(#""source":"local""#))
            let body = try http.ask("GET", "/metrics").body
            #expect(body.contains("\nsluice_counting_shared 0\n"))
            #expect(body.contains("\nsluice_redis_outages_total 1\n"))
            #expect(body.firstMatch(of: #/sluice_redis_errors_total\{kind="connection"\} [1-9]/#) != nil)
            #expect(body.firstMatch(of: #/sluice_redis_last_error_timestamp_seconds 1[0-9.e+]+/#) != nil)
            #expect(body.firstMatch(of: #/\nsluice_unsettled_counters [12]\n/#) != nil)
            let ready = try http.ask("GET", "/readyz")
            #expect(ready.status == 200)
            #expect(ready.body.hasPrefix("ready: counting is local: "))
            #expect(try http.ask("GET", "/readyz?require=shared").status == 503)
        }

        @Test func countersAreForOperatorsAndComeInPages() async throws {
            let folder = try TemporaryFolder()
            let path = folder.path("http.sock")
            let sidecar = try await SidecarProcess(
                policy: Self.policy, arguments: ["--http-socket", path, "--http-listen", "127.0.0.1:0"])
            let socket = try sidecar.client()
            for grant in ["a", "b", "c"] { _ = try socket.check(grant, "opencode_run") }
            let http = HTTPClient(.socket(path))
            var grants: [String] = []
            var next: String? = "0"
            while let offset = next {
                let reply = try http.ask("GET", "/v1/counters?limit=2&offset=\(offset)")
                #expect(reply.status == 200)
                grants += reply.body.matches(of: #/"grant":"([a-z]+)"/#).map { String($0.output.1) }
                next = reply.body.firstMatch(of: #/"next_offset":([0-9]+)/#).map { String($0.output.1) }
            }
            #expect(grants == ["a", "a", "b", "b", "c", "c"])
            #expect(try http.ask("GET", "/v1/counters?grant=b").body.matches(of: #/"grant":/#).count == 2)
            #expect(try http.ask("GET", "/v1/counters?limit=0").status == 400)
            // Over TCP nobody knows who asks.
            #expect(try sidecar.http().ask("GET", "/v1/counters").status == 403)
        }

        /// While it waits for its Redis, it says so.
        @Test func aStartThatWaitsForRedisIsNotReady() async throws {
            let folder = try TemporaryFolder()
            let policy = try folder.write(Self.policy, to: "policy.json")
            let process = try SidecarProcess.launch([
                "--socket", folder.path("s.sock"), "--policy", policy, "--redis", "unix://\(folder.path("none.sock"))",
                "--require-redis", "--http-listen", "127.0.0.1:0",
            ])
            try await waitUntil("it listens for HTTP", timeout: .seconds(20)) {
                (try? SidecarProcess.httpPort(inLog: process.errors)) != nil
            }
            let http = HTTPClient(.port(try SidecarProcess.httpPort(inLog: process.errors)))
            #expect(try http.ask("GET", "/healthz").status == 200)
            let ready = try http.ask("GET", "/readyz")
            #expect(ready.status == 503)
            #expect(ready.body.hasPrefix("not ready: it waits for redis, which it requires (--require-redis): "))
            #expect(try check(http, #"{"grant": "g", "tool": "free"}"#).status == 503)
            #expect(try await process.wait() == .exited(status: 69))
        }

        @Test func anAddressInUseIsReported() async throws {
            let sidecar = try await SidecarProcess(policy: Self.policy, arguments: ["--http-listen", "127.0.0.1:0"])
            let (port, path) = (try sidecar.httpPort(), sidecar.folder.path("other.sock"))
            let errors = try await SidecarProcess.startErrors(
                [
                    "--socket", path, "--policy", sidecar.folder.path("policy.json"), "--http-listen",
                    "127.0.0.1:\(port)",
                ], status: 69)
            #expect(
                errors.last
                    == "--http-listen: cannot listen on 127.0.0.1:\(port): Address already in use, choose another port")
        }

        @Test func aDrainEndsWithoutDelay() async throws {
            let sidecar = try await SidecarProcess(policy: Self.policy, arguments: ["--http-listen", "127.0.0.1:0"])
            #expect(try sidecar.http().ask("GET", "/healthz").status == 200)
            #expect(try await sidecar.process.terminate() == .exited(status: 0))
        }

        // MARK: - Alerts

        private static let deploy = "\(ShellSession.repository)/deploy"

        @Test func alertsAreRaisedByWhatTheyAreFor() async throws {
            guard let promtool = Tool.find("promtool") else {
                return print("not run, since there is no promtool: the tests of the alerts")
            }
            for words in [
                ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"],
                ["check", "config", "prometheus.yml"],
            ] {
                let folder = "\(Self.deploy)/prometheus"
                let run = try ChildProcess(promtool, words.dropLast() + ["\(folder)/\(words[2])"])
                #expect(try await run.wait() == .exited(status: 0), "\(words): \(run.output)\(run.errors)")
            }
        }

        /// Every expression of the dashboard is one that Prometheus takes.
        @Test func theDashboardAsksInPromQL() async throws {
            let data = try Data(contentsOf: URL(fileURLWithPath: "\(Self.deploy)/prometheus/dashboard.json"))
            let board = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            let panels = try #require(board["panels"] as? [[String: Any]])
            let expressions = panels.flatMap { $0["targets"] as? [[String: Any]] ?? [] }
                .compactMap { $0["expr"] as? String }
            #expect(expressions.count > 20)
            #expect(Set(panels.compactMap { $0["id"] as? Int }).count == panels.count)
            guard let promtool = Tool.find("promtool") else {
                return print("not run, since there is no promtool: the check of the dashboard's expressions")
            }
            let rules = expressions.enumerated().map { index, expression in
                "  - record: a:\(index)\n    expr: |\n      \(expression.replacing("$__rate_interval", with: "5m"))\n"
            }
            let folder = try TemporaryFolder()
            let file = try folder.write("groups:\n- name: a\n  rules:\n\(rules.joined())", to: "rules.yml")
            let run = try ChildProcess(promtool, ["check", "rules", file])
            #expect(try await run.wait() == .exited(status: 0), "\(run.output)\(run.errors)")
            withExtendedLifetime(folder) {}
        }
    }

    /// Programs that may be missing.
    enum Tool {
        static func find(_ name: String) -> String? {
            let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
            let folders = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/usr/local/sbin"]
            return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
        }
    }
}
