import Testing

@Suite struct CountersTests {
    private struct Row {
        var grant = "alice"
        var tool = "opencode_run"
        var counter = "opencode_run_rate"
        var subject = ""
        var windowSeconds: Int64 = 60
        var max: Int64 = 10
        var sharedUsed: Int64 = 3
        var localUsed: Int64 = 0
        var remaining: Int64 = 7

        var reply: String {
            StubSidecar.map([
                ("grant", StubSidecar.text(grant)), ("tool", StubSidecar.text(tool)),
                ("counter", StubSidecar.text(counter)), ("subject", StubSidecar.text(subject)),
                ("rule", StubSidecar.text("")), ("algorithm", StubSidecar.text("fixed_window")),
                ("window", StubSidecar.text("\(windowSeconds)s")), ("mode", StubSidecar.text("enforce")),
                ("window_start_ms", StubSidecar.integer(1_795_371_240_000)), ("reset_ms", StubSidecar.integer(37_250)),
                ("max", StubSidecar.integer(max)), ("shared_used", StubSidecar.integer(sharedUsed)),
                ("local_used", StubSidecar.integer(localUsed)), ("local_share", StubSidecar.integer(-1)),
                ("remaining", StubSidecar.integer(remaining)), ("would_deny", StubSidecar.integer(0)),
            ])
        }
    }

    private static func stub(
        _ rows: [Row], shared: Bool = true, truncated: Bool = false, redis: String = "unix:///r.sock"
    ) async throws -> StubSidecar {
        let reply = StubSidecar.map([
            ("shared", StubSidecar.integer(shared ? 1 : 0)), ("truncated", StubSidecar.integer(truncated ? 1 : 0)),
            ("counters", StubSidecar.array(rows.map(\.reply))),
        ])
        return try await StubSidecar { words in
            words[0] == "INFO" ? StubSidecar.text("# Redis\r\nredis_address:\(redis)\r\n") : reply
        }
    }

    @Test func theTableIsAligned() async throws {
        let stub = try await Self.stub([
            Row(), Row(grant: "bob-laptop", tool: "", counter: "all", windowSeconds: 3600, max: 100, remaining: 0),
        ])
        let run = await ControlRun.of("counters", "--socket", stub.path)
        #expect(run.errors == "")
        #expect(run.exitCode == 0)
        #expect(
            run.output == """
                grant       tool          counter            window  used  local  max  remaining   resets in
                alice       opencode_run  opencode_run_rate      1m     3      0   10          7  38 seconds
                bob-laptop  (all tools)   all                    1h     3      0  100          0  38 seconds

                2 counters, read from Redis just now

                """)
    }

    @Test func sessionsAndUnknownTalliesAndOddNames() async throws {
        let stub = try await Self.stub(
            [
                Row(
                    grant: "日本\u{1B}[2J", subject: "session=s-17", max: -1, sharedUsed: -1, localUsed: 2, remaining: -1),
                Row(),
            ], shared: false, truncated: true)
        let run = await ControlRun.of("counters", "--socket", stub.path)
        #expect(
            run.output == """
                grant          tool          counter            of            window  used  local  max  remaining  \
                 resets in
                日本\\u001b[2J  opencode_run  opencode_run_rate  session=s-17      1m     -      2    -          -  \
                38 seconds
                alice          opencode_run  opencode_run_rate  -                 1m     3      0   10          7  \
                38 seconds

                2 counters, as this replica last knew: Redis does not answer; there are more: raise --limit, or name a \
                --grant or --tool

                """)
    }

    @Test func noCounters() async throws {
        let stub = try await Self.stub([], shared: false, redis: "none")
        let run = await ControlRun.of("counters", "--socket", stub.path)
        #expect(run.output == "(no counters)\n\n0 counters of this replica, which counts alone\n")
    }

    @Test func json() async throws {
        let stub = try await Self.stub([Row(tool: "", sharedUsed: -1)])
        let run = await ControlRun.of("counters", "--socket", stub.path, "--json")
        let json = try run.json()
        #expect(json["shared"] as? Bool == true)
        #expect(json["truncated"] as? Bool == false)
        let row = try #require((json["counters"] as? [[String: Any]])?.first)
        #expect(row.count == 18)
        #expect(row["grant"] as? String == "alice")
        #expect(row["tool"] as? String == nil)
        #expect(row["shared_used"] as? Int == nil)
        #expect(row["reset_ms"] as? Int == 37_250)
    }

    @Test func filtersGoIntoTheRequest() async throws {
        let stub = try await StubSidecar { words in
            switch words {
            case ["INFO", "redis"]: StubSidecar.text("redis_address:none\r\n")
            case ["COUNTERS", "LIMIT", "5", "GRANT", "g", "TOOL", "t"]:
                StubSidecar.map([
                    ("shared", StubSidecar.integer(0)), ("truncated", StubSidecar.integer(0)),
                    ("counters", StubSidecar.array([])),
                ])
            default: StubSidecar.error("NOPERM other words, ask as root: \(words)")
            }
        }
        let run = await ControlRun.of(
            "counters", "--socket", stub.path, "--limit", "5", "--tool", "t", "--grant", "g")
        #expect(run.exitCode == 0)
        let refused = await ControlRun.of("counters", "--socket", stub.path)
        #expect(refused.exitCode == 2)
        #expect(refused.errors.hasPrefix("sluicectl: the sidecar refused: other words, ask as root"))
    }
}
