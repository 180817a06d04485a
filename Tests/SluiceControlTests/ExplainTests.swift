import Testing

@Suite struct ExplainTests {
    private static func limit(
        _ name: String, mode: String = "enforce", passes: Int64, used: Int64, wait: Int64, wouldDeny: Int64 = 0
    ) -> String {
        StubSidecar.map([
            ("rule", StubSidecar.text("/tools/run/limits/\(name)")), ("rate", StubSidecar.text("10 per minute")),
            ("scope", StubSidecar.text("grant")), ("algorithm", StubSidecar.text("fixed_window")),
            ("window", StubSidecar.text("60s")), ("mode", StubSidecar.text(mode)),
            ("on_outage", StubSidecar.text("local")), ("passes", StubSidecar.integer(passes)),
            ("max", StubSidecar.integer(10)), ("used", StubSidecar.integer(used)),
            ("left", StubSidecar.integer(10 - used)), ("local_used", StubSidecar.integer(0)),
            ("retry_after_ms", StubSidecar.integer(wait)), ("reset_ms", StubSidecar.integer(4_000)),
            ("window_start_ms", StubSidecar.integer(0)), ("would_deny", StubSidecar.integer(wouldDeny)),
        ])
    }

    /// A limit that counts by what the check does not name says that it counted for the grant.
    @Test func aMissingIdentityIsTold() async throws {
        let limit = StubSidecar.map([
            ("rule", StubSidecar.text("/tools/run/limits/s")), ("rate", StubSidecar.text("10 per minute")),
            ("scope", StubSidecar.text("session")), ("algorithm", StubSidecar.text("fixed_window")),
            ("window", StubSidecar.text("60s")), ("mode", StubSidecar.text("enforce")),
            ("on_outage", StubSidecar.text("local")), ("missing", StubSidecar.text("session")),
            ("passes", StubSidecar.integer(1)), ("max", StubSidecar.integer(10)), ("used", StubSidecar.integer(0)),
            ("left", StubSidecar.integer(10)), ("local_used", StubSidecar.integer(0)),
            ("retry_after_ms", StubSidecar.integer(0)), ("reset_ms", StubSidecar.integer(4_000)),
            ("window_start_ms", StubSidecar.integer(0)), ("would_deny", StubSidecar.integer(0)),
        ])
        let reply = StubSidecar.map([
            ("verdict", StubSidecar.text("allow")), ("rule", StubSidecar.text("/tools/run/limits/s")),
            ("source", StubSidecar.text("shared")), ("message", StubSidecar.text("")),
            ("policy", StubSidecar.text("")), ("allowed", StubSidecar.integer(1)),
            ("retry_after_ms", StubSidecar.integer(0)), ("reset_ms", StubSidecar.integer(4_000)),
            ("limit", StubSidecar.integer(10)), ("remaining", StubSidecar.integer(10)),
            ("cost", StubSidecar.integer(1)), ("limits", StubSidecar.array([limit])),
        ])
        let stub = try await StubSidecar { _ in reply }
        let run = await ControlRun.of("explain", "alice", "run", "--socket", stub.path)
        #expect(run.output.contains("grant (the check names no session)"))
        let json = try await ControlRun.of("explain", "alice", "run", "--json", "--socket", stub.path).json()
        #expect((json["limits"] as? [[String: Any]])?.first?["missing"] as? String == "session")
    }

    private static func stub() async throws -> StubSidecar {
        let reply = StubSidecar.map([
            ("verdict", StubSidecar.text("limit")), ("rule", StubSidecar.text("/tools/run/limits/a")),
            ("source", StubSidecar.text("shared")), ("message", StubSidecar.text("Too much.")),
            ("policy", StubSidecar.text("strict")), ("allowed", StubSidecar.integer(0)),
            ("retry_after_ms", StubSidecar.integer(4_000)), ("reset_ms", StubSidecar.integer(4_000)),
            ("limit", StubSidecar.integer(10)), ("remaining", StubSidecar.integer(0)),
            ("cost", StubSidecar.integer(2)),
            (
                "limits",
                StubSidecar.array([
                    limit("a", passes: 0, used: 9, wait: 4_000), limit("b", passes: 1, used: 3, wait: 0),
                    limit("c", mode: "shadow", passes: 0, used: 10, wait: 4_000, wouldDeny: 7),
                ])
            ),
        ])
        return try await StubSidecar { words in
            words == ["EXPLAIN", "alice", "run", "COST", "2", "ATTR", "team", "red=blue", "TRACE"]
                ? reply : StubSidecar.error("BADARG other words: \(words)")
        }
    }

    @Test func explainsEachLimit() async throws {
        let stub = try await Self.stub()
        let run = await ControlRun.of(
            "explain", "alice", "run", "--cost", "2", "--attr", "team=red=blue", "--socket", stub.path)
        #expect(run.errors == "" && run.exitCode == 1)
        #expect(
            run.output == """
                check        alice calls run at cost 2
                verdict      it would be denied (limit)
                because of   /tools/run/limits/a
                message      Too much.
                retry after  4 seconds
                policy       strict.json
                decided by   Redis, for all replicas

                limit                admits         counted by  used  max  left  resets in  this check
                /tools/run/limits/a  10 per minute  grant          9   10     1  4 seconds  does not pass (in 4 seconds)
                /tools/run/limits/b  10 per minute  grant          3   10     7  4 seconds  passes
                /tools/run/limits/c  10 per minute  grant         10   10     0  4 seconds  would not pass \
                (shadow; 7 in this window would not)

                """)
    }

    @Test func json() async throws {
        let stub = try await Self.stub()
        let run = await ControlRun.of(
            "explain", "alice", "run", "--cost", "2", "--attr", "team=red=blue", "--json", "--socket", stub.path)
        let json = try run.json()
        #expect(json["allowed"] as? Bool == false && json["retry_after_ms"] as? Int == 4_000)
        let limits = try #require(json["limits"] as? [[String: Any]])
        #expect(limits.compactMap { $0["passes"] as? Bool } == [false, true, false])
        #expect(limits[2]["would_deny"] as? Int == 7 && limits[2]["mode"] as? String == "shadow")
    }

    @Test func attributesHaveNamesAndValues() async throws {
        let run = await ControlRun.of("explain", "alice", "run", "--attr", "team")
        #expect(run.exitCode == 64 && run.errors.contains("expected name=value"))
    }
}
