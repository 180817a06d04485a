import Foundation
import SluiceClient
import SluiceTerminal
import Testing

@testable import sluicectl

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

    // MARK: - Page after page

    private static func page(
        _ rows: [(grant: String, used: Int64, remaining: Int64)], cursor: String = "", truncated: Bool? = nil,
        origin: CountersReport.Origin = .redis
    ) throws -> CountersReport {
        let rows = try rows.map { row in
            let texts = [
                ("grant", row.grant), ("tool", "t"), ("counter", "c"), ("subject", ""), ("rule", ""),
                ("algorithm", "fixed_window"), ("window", "60s"), ("mode", "enforce"),
            ]
            let numbers: [(String, Int64)] = [
                ("window_start_ms", 0), ("reset_ms", 1), ("max", 10), ("shared_used", row.used), ("local_used", 0),
                ("local_share", -1), ("remaining", row.remaining), ("would_deny", 0),
            ]
            let fields = texts.map { Reply.Pair(key: .string($0.0), value: .string($0.1)) }
            return try CounterRow(
                .map(fields + numbers.map { Reply.Pair(key: .string($0.0), value: .integer($0.1)) }))
        }
        return CountersReport(
            rows: rows, isTruncated: truncated ?? !cursor.isEmpty, origin: origin, cursor: cursor)
    }

    @Test func itGoesOnUntilThereAreEnough() throws {
        var reading = CountersReading(tool: "t", limit: 3)
        #expect(reading.words == ["COUNTERS", "LIMIT", "3", "TOOL", "t"])
        #expect(reading.take(try Self.page([], cursor: "0.s5")) == .ask)
        #expect(reading.words == ["COUNTERS", "LIMIT", "3", "TOOL", "t", "CURSOR", "0.s5"])
        #expect(reading.take(try Self.page([("b", 1, 9), ("c", 1, 9)], cursor: "0.s9")) == .ask)
        #expect(reading.words == ["COUNTERS", "LIMIT", "1", "TOOL", "t", "CURSOR", "0.s9"])
        #expect(reading.take(try Self.page([("a", 1, 9)], cursor: "0.s9.f")) == .done)
        let report = reading.report
        #expect(report.rows.map(\.grant) == ["a", "b", "c"] && report.isTruncated && report.cursor == "0.s9.f")
        #expect(report.text(.plain).contains("there are more: go on with --cursor 0.s9.f, raise --limit"))
        #expect(report.json.line.contains(#""cursor":"0.s9.f""#))
    }

    @Test func anOrderIsOfAllPagesAndKeepsFew() throws {
        var reading = CountersReading(isAtLimit: true, order: .remaining, limit: 2)
        #expect(reading.words == ["COUNTERS", "LIMIT", "2", "ATLIMIT", "SORT", "REMAINING"])
        #expect(reading.take(try Self.page([("x", 1, 9), ("y", 2, 8)], cursor: "0.s1")) == .ask)
        #expect(reading.report.rows.count == 2 && !reading.report.isComplete)
        #expect(reading.take(try Self.page([("z", 9, 1), ("u", 0, -1)], truncated: true)) == .done)
        let report = reading.report
        #expect(report.rows.map(\.grant) == ["z", "y"] && report.isTruncated && report.isComplete)
        #expect(report.cursor == "" && report.text(.plain).contains("there are more: raise --limit"))
        var used = CountersReading(order: .used, limit: 9)
        #expect(used.take(try Self.page([("a", 1, 9)], cursor: "0.s1")) == .ask)
        #expect(used.take(try Self.page([("b", 5, 5)])) == .done)
        #expect(used.report.rows.map(\.grant) == ["b", "a"] && !used.report.isTruncated)
    }

    /// A Redis that answers no more ends it, and the report says so.
    @Test func itDoesNotAskForEver() throws {
        var reading = CountersReading(order: .used, limit: 9)
        #expect(reading.take(try Self.page([("a", 1, 9)], cursor: "0.s1")) == .ask)
        for _ in 1..<5 { #expect(reading.take(try Self.page([], cursor: "0.s1", origin: .memory)) == .askLater) }
        #expect(reading.take(try Self.page([], cursor: "0.s1", origin: .memory)) == .done)
        #expect(reading.report.origin == .memory && reading.report.text(.plain).contains("not all could be looked at"))
    }

    @Test func wrongOptionsAreRejected() async throws {
        let sort = await ControlRun.of("counters", "--sort", "size")
        #expect(sort.exitCode == 64 && sort.errors.contains("expected used, remaining or grant"))
        let both = await ControlRun.of("counters", "--sort", "used", "--cursor", "0.s1")
        #expect(both.exitCode == 64 && both.errors.contains("--cursor does not go with --sort"))
    }

    @Test func watchingEndsWhenNobodyReads() async throws {
        let stub = try await Self.stub([Row()])
        let run = await ControlRun.of(["counters", "--watch", "--socket", stub.path], isAbandoned: true)
        #expect(run.exitCode == 0 && run.output.components(separatedBy: "1 counter, read from Redis").count == 2)
    }
}
