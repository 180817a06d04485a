import SluiceTerminal
import Testing

@testable import sluicectl

@Suite struct TailTests {
    private static func line(
        _ grant: String = "alice", verdict: String = "limit",
        more: String = #","used":10,"max":10,"retry_after_ms":11485"#
    ) -> String {
        #"{"time":"2026-11-30T16:01:48.515Z","door":"socket","action":"check","grant":"\#(grant)","tool":"run","verdict":""#
            + verdict + #"","rule":"/tools/run/limits/r","source":"shared""# + more + "}"
    }

    /// Answers a stream of these lines, after `OK`.
    private static func stub(_ lines: [String], for words: [String] = ["TAIL"]) async throws -> StubSidecar {
        try await StubSidecar { asked in
            asked == words
                ? "+OK\r\n" + lines.map(StubSidecar.text).joined() : StubSidecar.error("BADARG other words: \(asked)")
        }
    }

    @Test func aLineForEachDecision() async throws {
        let stub = try await Self.stub([
            Self.line(), #"{"dropped":12}"#, Self.line("日本\\u001b", verdict: "allow", more: #","used":1,"max":10"#),
            Self.line("carol", verdict: "busy", more: ""),
        ])
        let run = await ControlRun.of("tail", "--socket", stub.path, "--count", "3")
        #expect(run.exitCode == 0 && run.errors == "")
        #expect(
            run.output == """
                time          grant           tool            verdict  used/max  retry in    rule
                16:01:48.515  alice           run             limit    10/10     12 seconds  /tools/run/limits/r
                12 left out
                16:01:48.515  日本\\u001b      run             allow    1/10      -           /tools/run/limits/r
                16:01:48.515  carol           run             busy     -         -           /tools/run/limits/r

                """)
    }

    @Test func jsonIsTheLogsOwn() async throws {
        let lines = [Self.line(), #"{"dropped":1}"#, Self.line("b")]
        let words = ["TAIL", "DENIED", "GRANT", "a*", "TOOL", "run"]
        let stub = try await Self.stub(lines, for: words)
        let run = await ControlRun.of(
            "tail", "--json", "--denied", "--tool", "run", "--grant", "a*", "--count", "2", "--socket", stub.path)
        #expect(run.exitCode == 0)
        #expect(run.output == lines.map { $0 + "\n" }.joined())
    }

    @Test func whatTheSidecarRefusesAndEndsIsSaid() async throws {
        let busy = try await StubSidecar { _ in StubSidecar.error("BUSY 8 connections listen already") }
        let refused = await ControlRun.of("tail", "--socket", busy.path)
        #expect(refused.exitCode == 2)
        #expect(refused.errors == "sluicectl: the sidecar refused: 8 connections listen already (BUSY)\n")
        let closing = try await StubSidecar { _ in nil }
        let ended = await ControlRun.of("tail", "--socket", closing.path, "--json")
        #expect(ended.exitCode == 2 && ended.output.contains("the sidecar ended the stream"))
        let wrong = await ControlRun.of("tail", "--count", "0")
        #expect(wrong.exitCode == 64 && wrong.errors.contains("--count: found 0, expected a whole number from 1 up"))
    }

    /// Columns grow with what they hold, up to a bound, and stay as wide.
    @Test func columnsGrow() {
        var report = TailReport(isJSON: false, style: .plain, limit: nil)
        _ = report.take(Self.line())
        let long = report.take(Self.line("a-grant-of-twenty-one"))
        #expect(long.hasPrefix("16:01:48.515  a-grant-of-twenty-one  run    "))
        #expect(report.take(Self.line()).hasPrefix("16:01:48.515  alice                  run    "))
        let longest = String(repeating: "g", count: 200)
        #expect(report.take(Self.line(longest)).contains(longest + "  run"))
        #expect(report.take(Self.line()).hasPrefix("16:01:48.515  alice" + String(repeating: " ", count: 29) + "run"))
    }

    @Test func whatIsUnusualIsNoted() {
        var report = TailReport(isJSON: false, style: .plain, limit: nil)
        let line = Self.line(more: #","cost":5,"session":"s","x":1"#).replacing("\"check\"", with: "\"peek\"")
            .replacing("\"socket\"", with: "\"http\"")
        #expect(report.take(line).hasSuffix("/tools/run/limits/r  (peek, cost 5, session s, by http)\n"))
        #expect(report.take("no JSON \u{1B}[2J") == "no JSON \\u001b[2J\n")
    }

    @Test func verdictsAreColoured() {
        var report = TailReport(isJSON: false, style: Style(isColoured: true), limit: nil)
        #expect(report.take(Self.line()).contains("\u{1B}[31mlimit\u{1B}[0m"))
        #expect(report.take(Self.line(verdict: "allow")).contains("\u{1B}[32mallow\u{1B}[0m"))
    }
}
