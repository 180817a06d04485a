import SluiceTerminal
import Testing

@Suite struct CheckTests {
    private static let rule = "/tools/opencode_run/limits/opencode_run_rate"

    private static func decision(
        allowed: Bool = true, remaining: Int64 = 9, retryAfterMs: Int64 = 0, resetMs: Int64 = 42_100,
        verdict: String = "allow", rule: String = rule, source: String = "shared", message: String = "",
        limit: Int64 = 10, used: Int64? = 1
    ) -> String {
        let trace = used.map { used in
            [
                StubSidecar.array([
                    StubSidecar.text(rule), StubSidecar.integer(1_795_371_240_000), StubSidecar.integer(used),
                    StubSidecar.integer(10),
                ])
            ]
        }
        return StubSidecar.array([
            StubSidecar.integer(allowed ? 1 : 0), StubSidecar.integer(limit), StubSidecar.integer(remaining),
            StubSidecar.integer(retryAfterMs), StubSidecar.integer(resetMs), StubSidecar.text(verdict),
            StubSidecar.text(rule), StubSidecar.text(source), StubSidecar.text(message),
            StubSidecar.array(trace ?? []),
        ])
    }

    @Test func anAllowedCheckIsShown() async throws {
        let stub = try await StubSidecar { words in
            words == ["CHECK", "alice", "opencode_run", "TRACE"] ? Self.decision() : nil
        }
        let run = await ControlRun.of("check", "--socket", stub.path, "alice", "opencode_run")
        #expect(run.exitCode == 0)
        #expect(run.errors == "")
        #expect(
            run.output == """
                verdict    allow
                remaining  9 of 10
                resets in  43 seconds
                rule       /tools/opencode_run/limits/opencode_run_rate
                source     shared (counted in Redis for all replicas)

                limit                                         used  max  window since
                /tools/opencode_run/limits/opencode_run_rate     1   10  2026-11-22 18:14:00Z

                """)
    }

    @Test func aDeniedCheckIsShownAndEndsWithOne() async throws {
        let denied = Self.decision(
            allowed: false, remaining: 0, retryAfterMs: 23_400, resetMs: 23_400, verdict: "limit", source: "local",
            message: "Slow\u{1B} down.", used: 10)
        let stub = try await StubSidecar { _ in denied }
        let run = await ControlRun.of(
            "check", "--socket", stub.path, "alice", "opencode_run", style: Style(isColoured: true))
        #expect(run.exitCode == 1)
        #expect(run.output.contains("\u{1B}[31mlimit (over a limit)\u{1B}[0m\n"))
        #expect(run.output.contains("Slow\\u001b down.\n"))
        #expect(run.output.contains("24 seconds\n"))
        #expect(run.output.contains("local (counted by this replica alone)"))
        #expect(run.output.contains("  \u{1B}[31m10\u{1B}[0m   10  2026-11-22 18:14:00Z\n"))
    }

    @Test func aCheckWithoutLimitsHasNoSecondTable() async throws {
        let denied = Self.decision(
            allowed: false, remaining: -1, retryAfterMs: -1, resetMs: -1, verdict: "deny", rule: "(default deny)",
            source: "policy", message: "Not allowed.", limit: -1, used: nil)
        let stub = try await StubSidecar { _ in denied }
        let run = await ControlRun.of("peek", "--socket", stub.path, "alice", "nix")
        #expect(run.exitCode == 1)
        #expect(
            run.output == """
                verdict      deny (the policy forbids it)
                message      Not allowed.
                retry after  never
                rule         (default deny)
                source       policy (no counter was needed)

                """)
    }

    @Test func optionsGoIntoTheRequest() async throws {
        let stub = try await StubSidecar { words in
            let expected = [
                "PEEK", "-alice", "run", "COST", "5", "SERVER", "s1", "SESSION", "s 2", "APPROVED", "TRACE",
            ]
            return words == expected ? Self.decision() : StubSidecar.error("ERR other words: \(words)")
        }
        let run = await ControlRun.of(
            "peek", "--cost", "5", "--session", "s 2", "--server", "s1", "--approved", "--", "-alice", "run",
            environment: ["SLUICE_SOCKET": stub.path])
        #expect(run.errors == "")
        #expect(run.exitCode == 0)
    }

    @Test func anEmptyPathIsNone() async throws {
        let stub = try await StubSidecar { _ in Self.decision() }
        let run = await ControlRun.of(
            "check", "--socket", "", "alice", "run", environment: ["SLUICE_SOCKET": stub.path])
        #expect(run.exitCode == 0 && run.errors == "")
    }

    @Test func jsonHasNullForWhatThereIsNot() async throws {
        let denied = Self.decision(
            allowed: false, remaining: -1, retryAfterMs: -1, resetMs: -1, verdict: "deny", source: "policy",
            message: "\"No\u{1B}\\\n\u{2028}日本", limit: -1, used: 10)
        let stub = try await StubSidecar { _ in denied }
        let run = await ControlRun.of("--socket", stub.path, "check", "alice", "opencode_run", "--json")
        #expect(run.exitCode == 1)
        #expect(
            run.output == """
                {"allowed":false,"limit":null,"remaining":null,"retry_after_ms":null,"reset_ms":null,"verdict":"deny",\
                "rule":"\(Self.rule)","source":"policy","message":"\\"No\\u001b\\\\\\n\\u2028日本","trace":[{"rule":\
                "\(Self.rule)","window_start_ms":1795371240000,"used":10,"max":10}]}

                """)
        #expect(try run.json()["message"] as? String == "\"No\u{1B}\\\n\u{2028}日本")
    }

    // MARK: - What goes wrong

    @Test func noSidecarIsReportedInOneLine() async {
        let run = await ControlRun.of("check", "--socket", "/nonexistent/a.sock", "a", "b")
        #expect(run.exitCode == 2)
        #expect(run.output == "")
        #expect(
            run.errors
                == "sluicectl: cannot connect to /nonexistent/a.sock: No such file or directory, is sluiced running?\n")
    }

    @Test func aPathThatIsTooLongIsReported() async {
        let path = "/" + String(repeating: "x", count: 200)
        let run = await ControlRun.of("check", "--socket", path, "a", "b")
        #expect(run.exitCode == 2)
        #expect(run.errors.hasSuffix(": the path is too long for a socket, at most 103 bytes\n"))
    }

    @Test func errorsOfTheSidecarHaveTheirCodes() async throws {
        let stub = try await StubSidecar { words in
            switch words[1] {
            case "busy": StubSidecar.error("BUSY too many checks are waiting, retry")
            case "bad": StubSidecar.error("BADARG COST must be 1 to 1000000000000")
            case "odd": StubSidecar.text("hello")
            default: nil
            }
        }
        func run(_ grant: String) async -> ControlRun {
            await ControlRun.of("check", "--socket", stub.path, grant, "b")
        }
        let busy = await run("busy")
        #expect(busy.exitCode == 2)
        #expect(busy.errors == "sluicectl: the sidecar refused: too many checks are waiting, retry (BUSY)\n")
        let bad = await run("bad")
        #expect(bad.exitCode == 64)
        #expect(bad.errors == "sluicectl: COST must be 1 to 1000000000000\n")
        let odd = await run("odd")
        #expect(odd.exitCode == 2)
        #expect(odd.errors.contains("the answer made no sense"))
        let closed = await run("closed")
        #expect(closed.exitCode == 2)
        #expect(closed.errors.hasSuffix("the sidecar closed the connection before it answered\n"))
    }

    @Test(arguments: [
        ["check", "alice"], ["check", "a", "b", "--cost", "-1"], ["check", "a", "b", "--cost", "x"], ["nonsense"],
        ["counters", "--limit", "0"], ["counters", "--limit", "10001"], ["status", "--timeout", "1s"],
        ["status", "--wait", "--timeout", "soon"], ["status", "--wait", "--alive"], ["policy", "check"],
    ])
    func wrongUsageEndsWith64(arguments: [String]) async {
        let run = await ControlRun.of(arguments)
        #expect(run.exitCode == 64)
        #expect(run.output == "")
        #expect(run.errors.contains("Usage: sluicectl"))
    }

    @Test(arguments: [[], ["check"], ["peek"], ["counters"], ["status"], ["policy"], ["policy", "check"]])
    func everyHelpHasExamples(command: [String]) async {
        let run = await ControlRun.of(command + ["--help"])
        #expect(run.exitCode == 0)
        #expect(run.errors == "")
        #expect(run.output.contains("Example"))
        #expect(run.output.contains("  sluicectl "))
    }
}
