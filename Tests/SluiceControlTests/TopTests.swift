import Foundation
import SluiceClient
import SluiceTerminal
import Testing

@testable import sluicectl

/// What `top` makes of what arrives and of keys, and how it lays that out.
@Suite struct TopTests {
    // MARK: - Data

    private static func status(_ lines: String...) -> SidecarStatus {
        SidecarStatus(info: (["sluice_version:1"] + lines).joined(separator: "\r\n"))
    }

    private static func line(_ grant: String, _ verdict: String = "allow", rule: String = "/tools/run") -> String {
        #"{"time":"2026-11-30T16:01:48.515Z","action":"check","grant":"\#(grant)","tool":"run","verdict":"\#(verdict)","rule":"\#(rule)"}"#
    }

    private static func counter(
        _ grant: String, used: Int64, max: Int64, remaining: Int64? = nil, counter: String = "c"
    ) throws -> CounterRow {
        let texts = [
            ("grant", grant), ("tool", "run"), ("counter", counter), ("subject", ""), ("algorithm", "fixed_window"),
            ("window", "60s"), ("mode", "enforce"), ("rule", "/r"),
        ]
        let numbers: [(String, Int64)] = [
            ("window_start_ms", 0), ("reset_ms", 29_000), ("max", max), ("shared_used", used), ("local_used", 0),
            ("local_share", -1), ("remaining", remaining ?? max - used), ("would_deny", 0),
        ]
        let fields = texts.map { Reply.Pair(key: .string($0.0), value: .string($0.1)) }
        return try CounterRow(.map(fields + numbers.map { Reply.Pair(key: .string($0.0), value: .integer($0.1)) }))
    }

    @Test func ratesAreDifferences() {
        let before = Self.status("uptime_ms:1000", "answers_shared_allow:10", "batches:1", "coalesced_checks:5")
        let after = Self.status(
            "uptime_ms:3000", "answers_shared_allow:30", "answers_cache_limit:10", "batches:5", "coalesced_checks:15")
        let rates = TopData.rates(from: before, to: after)
        #expect(rates?.calls == 15 && rates?.denied == 5 && rates?.batches == 2 && rates?.checksInBatch == 2.5)
        #expect(rates?.sources.map(\.name) == ["shared", "cache"] && rates?.sources.map(\.rate) == [10, 5])
        // Another process, and the same moment.
        #expect(TopData.rates(from: after, to: before) == nil && TopData.rates(from: after, to: after) == nil)
    }

    @Test func grantsAndRulesAreCounted() {
        var data = TopData()
        data.take(Self.status("uptime_ms:0"), nowMs: 0)
        for _ in 0..<6 { data.takeDecision(Self.line("a")) }
        data.takeDecision(Self.line("b", "limit", rule: "/b"))
        data.takeDecision("no line")
        for grant in ["b", "c", "c"] { data.takeDenial(Self.line(grant, "limit", rule: "/b")) }
        data.takeDenial(Self.line("d", "busy"))
        data.take(Self.status("uptime_ms:2000"), nowMs: 2_000)
        let grants = Dictionary(uniqueKeysWithValues: data.grants.entries.map { ($0.name, $0) })
        #expect(grants["a"]?.rate == 3 && grants["a"]?.deniedRate == 0)
        #expect(grants["b"]?.rate == 0.5 && grants["b"]?.deniedRate == 0.5 && grants["b"]?.note == "/b")
        let rules = Dictionary(uniqueKeysWithValues: data.rules.entries.map { ($0.name, $0) })
        #expect(rules["/b"]?.rate == 1.5 && rules["/b"]?.others == ["b", "c"] && rules["/b"]?.note == "c")
        #expect(rules["(busy)"]?.rate == 0.5)
        #expect(!data.isSampled)
    }

    /// Of 1 in 10 decisions, each stands for 10.
    @Test func whatIsLeftOutIsEstimated() {
        var data = TopData()
        data.take(Self.status(), nowMs: 0)
        for _ in 0..<10 { data.takeDecision(Self.line("a")) }
        data.takeDecision(#"{"dropped":90}"#)
        data.take(Self.status(), nowMs: 1_000)
        #expect(data.isSampled && data.grants.entries.map(\.rate) == [100])
    }

    /// However many names there are, so many are kept, and the frequent ones among them; what has stopped is forgotten.
    @Test func theFrequentAreKeptInBoundedMemory() {
        var sketch = TopSketch(capacity: 20)
        for round in 0..<50 {
            for index in 0..<200 {
                sketch.count("rare-\(round)-\(index)", isDenied: false, note: "")
                if index % 10 < 2 {
                    sketch.count("often-\(index % 10)", isDenied: true, note: "n", other: "o\(index)-\(round)")
                }
            }
            sketch.fold(factor: 1, seconds: 1)
            #expect(sketch.entries.count <= 20)
        }
        let often = sketch.entries.filter { $0.name.hasPrefix("often") }
        #expect(
            often.count == 2 && often.allSatisfy { abs($0.rate - 20) < 1 && $0.others.count == TopSketch.maxOthers })
        for _ in 0..<40 { sketch.fold(factor: 1, seconds: 1) }
        #expect(sketch.entries.isEmpty)
    }

    // MARK: - Keys

    @Test func keysAreRead() {
        var keys = TopKeys()
        #expect(
            keys.take(Array("s/ü\r\u{7F}\u{3}".utf8)) == [
                .character("s"), .character("/"), .character("ü"), .enter, .backspace, .interrupt,
            ])
        // Arrows and function keys are passed over; an escape alone is a key.
        #expect(keys.take(Array("\u{1B}[A\u{1B}OP\u{1B}[15~q".utf8)) == [.character("q")])
        #expect(keys.take([0x1B]) == [.escape])
        // A character may come in two reads, and bytes that are none are dropped.
        #expect(keys.take([0xC3]) == [] && keys.take([0xBC, 0xFF]) == [.character("ü")])
        #expect(keys.take(Array("a".utf8)) == [.character("a")])
    }

    private static func model(columns: Int = 80, rows: Int = 24) throws -> TopModel {
        var model = TopModel(socket: "s.sock", columns: columns, rows: rows)
        model.data.take(
            status("uptime_ms:1000", "redis_state:closed", "counting:shared", "answers_shared_allow:0", "waiting:2"),
            nowMs: 0)
        for (grant, count) in [("alice-laptop", 4), ("bob", 8), ("日本-agent", 1)] {
            for _ in 0..<count { model.data.takeDecision(line(grant, grant == "alice-laptop" ? "limit" : "allow")) }
        }
        for _ in 0..<4 { model.data.takeDenial(line("alice-laptop", "limit", rule: "/tools/run/limits/c")) }
        model.data.take(
            status(
                "uptime_ms:2000", "redis_state:closed", "counting:shared", "answers_shared_allow:9",
                "answers_shared_limit:4", "waiting:2", "redis_shared_ms:61000", "batches:2", "coalesced_checks:13"),
            nowMs: 1_000)
        let rows = try [
            counter("bob", used: 8, max: 100), counter("alice-laptop", used: 10, max: 10),
            counter("gone", used: 5, max: -1, remaining: -1),
        ]
        model.data.take(CountersReport(rows: rows))
        return model
    }

    private static func press(_ text: String, _ model: inout TopModel) {
        for character in text { #expect(model.press(.character(character)) == .show) }
    }

    @Test func sorting() throws {
        var model = try Self.model()
        #expect(model.grants.map(\.name) == ["bob", "alice-laptop", "日本-agent"])
        #expect(model.limits.map(\.grant) == ["alice-laptop", "bob"])
        Self.press("s", &model)
        #expect(model.order == .denied && model.grants.map(\.name) == ["alice-laptop", "bob", "日本-agent"])
        Self.press("s", &model)
        #expect(model.order == .name && model.grants.map(\.name) == ["alice-laptop", "bob", "日本-agent"])
        #expect(model.limits.map(\.grant) == ["alice-laptop", "bob"])
        Self.press("s", &model)
        #expect(model.order == .busiest)
    }

    @Test func filtering() throws {
        var model = try Self.model()
        Self.press("/AL", &model)
        #expect(model.isTyping && model.grants.map(\.name) == ["alice-laptop"] && model.rules.count == 1)
        Self.press("qx", &model)
        #expect(model.filter == "ALqx" && model.grants.isEmpty && model.rules.isEmpty && model.limits.isEmpty)
        #expect(model.press(.backspace) == .show && model.press(.backspace) == .show)
        #expect(model.press(.enter) == .show)
        #expect(!model.isTyping && model.filter == "AL" && model.limits.map(\.grant) == ["alice-laptop"])
        #expect(model.press(.escape) == .show && model.filter == "")
        Self.press("/b*", &model)
        #expect(model.grants.map(\.name) == ["bob"])
        Self.press(String(repeating: "x", count: 100), &model)
        #expect(model.filter.count == TopModel.maxFilter)
        #expect(model.press(.escape) == .show && !model.isTyping && model.filter == "")
        #expect(model.press(.character("q")) == .quit)
    }

    @Test func aPauseHoldsTheScreenAndNotTheData() throws {
        var model = try Self.model()
        let before = model.frame(.plain, time: "")
        Self.press("p", &model)
        model.data.takeDecision(Self.line("carol"))
        model.data.take(Self.status("uptime_ms:3000"), nowMs: 2_000)
        #expect(Array(model.frame(.plain, time: "")[1...4]) == Array(before[1...4]))
        #expect(model.frame(.plain, time: "")[0].hasPrefix("sluice  PAUSED"))
        Self.press("p", &model)
        #expect(!model.isPaused && model.grants.map(\.name).contains("carol"))
        #expect(model.press(.interrupt) == .quit)
    }

    // MARK: - Layout

    @Test func aScreenOf80Columns() throws {
        #expect(
            try Self.model().frame(.plain, time: "16:01:48 UTC").joined(separator: "\n") == """
                sluice  16:01:48 UTC  up 2s  s.sock
                calls/s 13  denied/s 4 (31%)  waiting 2
                answers/s shared 13
                redis connected for 1m 1s  batch 6.5 checks, 2/s

                GRANTS        calls/s  denied/s  last denied by
                bob                 8         0
                alice-laptop        4         4  /tools/run
                日本-agent          1         0

                LIMITS        counter  used/max  full   resets in
                alice-laptop  run: c      10/10  100%  29 seconds
                bob           run: c      8/100    8%  29 seconds

                DENIED BY            denied/s  grants  last grant
                /tools/run/limits/c         4       1  alice-laptop
                s sort: busiest  / filter  p pause  q quit
                """)
    }

    /// Whatever the size, no line is too long and there are not too many.
    @Test func everySizeHasItsScreen() throws {
        var model = try Self.model()
        for index in 0..<100 {
            let grant = "grant-with-a-rather-long-name-\(index)"
            for _ in 0..<index { model.data.takeDecision(Self.line(grant)) }
            model.data.takeDenial(Self.line(grant, "deny", rule: "/tools/\(grant)/action"))
        }
        model.data.note("cannot connect", of: "sidecar")
        model.data.take(Self.status("uptime_ms:9000", "counting:local", "redis_state:open"), nowMs: 2_000)
        for columns in [1, 2, 10, 20, 40, 79, 80, 120, 149, 150, 200, 400] {
            for rows in [1, 2, 3, 5, 12, 19, 20, 24, 50, 200] {
                (model.columns, model.rows) = (columns, rows)
                let lines = model.frame(.plain, time: "16:01:48")
                #expect(lines.count <= rows && !lines.isEmpty, "\(columns)x\(rows)")
                #expect(lines.allSatisfy { TerminalText.width($0) <= columns }, "\(columns)x\(rows)")
                if rows >= 12 && columns >= 40 {
                    #expect(lines.contains { $0.contains("DENIED BY") } && lines.contains { $0.contains("LIMITS") })
                    #expect(lines.last?.hasPrefix("s sort: busiest") == true)
                }
            }
        }
        (model.columns, model.rows) = (200, 50)
        let wide = model.frame(.plain, time: "")
        #expect(wide.contains { $0.contains("GRANTS") && $0.contains(" │ LIMITS") } && wide.count == 50)
        #expect(wide[2].hasPrefix("answers/s") && wide.contains("sidecar: cannot connect"))
    }

    @Test func roomIsShared() {
        #expect(TopLayout.shares(of: 9, among: [10, 10, 10]) == [3, 3, 3])
        #expect(TopLayout.shares(of: 9, among: [2, 10, 1]) == [2, 6, 1])
        #expect(TopLayout.shares(of: 100, among: [2, 3]) == [2, 3])
        #expect(TopLayout.shares(of: -1, among: [2]) == [0] && TopLayout.shares(of: 3, among: []) == [])
    }

    @Test func namesCannotMoveTheCursor() throws {
        var model = try Self.model()
        for _ in 0..<9 { model.data.takeDecision(Self.line("x\\u001b[2J")) }
        model.data.take(Self.status("uptime_ms:3000"), nowMs: 2_000)
        #expect(!model.frame(.plain, time: "").joined().contains("\u{1B}"))
        #expect(model.frame(Style(isColoured: true), time: "").joined().contains("\u{1B}[1mGRANTS"))
    }

    @Test func textsAreCutByColumns() {
        #expect(TerminalText.fit("abc", columns: 3) == "abc" && TerminalText.fit("abcd", columns: 3) == "ab…")
        #expect(TerminalText.fit("日本語", columns: 5) == "日本…" && TerminalText.fit("日本語", columns: 4) == "日…")
        #expect(TerminalText.fit("abc", columns: 0) == "" && TerminalText.fit("abc", columns: 1) == "…")
    }

    // MARK: - The command

    private static func stub() async throws -> StubSidecar {
        try await StubSidecar { words in
            switch words[0] {
            case "INFO":
                StubSidecar.text(
                    "sluice_version:1.2.3\r\nuptime_ms:5\r\nredis_state:none\r\ncounting:local\r\nwaiting:0")
            case "TAIL": "+OK\r\n"
            default:
                StubSidecar.map([
                    ("shared", StubSidecar.integer(0)), ("truncated", StubSidecar.integer(0)),
                    ("counters", StubSidecar.array([])),
                ])
            }
        }
    }

    @Test func onceItPrintsOneScreen() async throws {
        let stub = try await Self.stub()
        let run = await ControlRun.of("top", "--socket", stub.path, "--interval", "100ms")
        #expect(run.exitCode == 0 && run.errors == "")
        #expect(run.output.hasPrefix("sluice  ") && run.output.contains("\nno redis, counting alone\n"))
        #expect(run.output.contains("\nDENIED BY  denied/s  grants  last grant\n(none)\n"))
    }

    @Test func jsonIsASnapshot() async throws {
        let stub = try await Self.stub()
        let json = try await ControlRun.of("top", "--json", "--socket", stub.path, "--interval", "100ms").json()
        #expect(json["version"] as? String == "1.2.3" && json["calls_per_s"] as? Double == 0)
        #expect((json["redis"] as? [String: Any])?["state"] as? String == "none")
        for name in ["grants", "denials", "limits"] { #expect((json[name] as? [Any])?.isEmpty == true) }
        let model = try Self.model()
        let text = model.json.line
        let full = try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect((full["denials"] as? [[String: Any]])?.first?["rule"] as? String == "/tools/run/limits/c")
        #expect((full["grants"] as? [[String: Any]])?.map { $0["calls_per_s"] as? Double } == [8, 4, 1])
        #expect((full["limits"] as? [[String: Any]])?.first?["grant"] as? String == "alice-laptop")
    }

    @Test func aSidecarThatIsNotThereIsAnError() async {
        let run = await ControlRun.of("top", "--socket", "/nonexistent/s.sock")
        #expect(run.exitCode == 2 && run.errors.hasPrefix("sluicectl: cannot connect to /nonexistent/s.sock"))
        let wrong = await ControlRun.of("top", "--interval", "1ms")
        #expect(wrong.exitCode == 64 && wrong.errors.contains("expected 100ms to 60s"))
    }
}
