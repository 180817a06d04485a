import SluicePolicy
import Testing

/// Each part of the language is read with its feature and refused, by one line, without it.
@Suite struct FeatureTests {
    private static let window =
        #""second", "minute", "hour", "day", a time such as "90s", "15m", "6h" or "2d" or a whole number of seconds from 1 to 31622400"#
    private static let algorithms = #""fixed_window", "sliding_window", "sliding_log", "token_bucket" or "concurrency""#

    /// A limit, the one feature that it needs, and its line with none of them, or with all others.
    static let rows: [(limit: String, needs: PolicyFeatures, without: String, withOthers: String)] = [
        (
            #"{"counter":"c","max":1,"window":"week"}"#, .calendarWindows,
            "33: /window: `week` is not supported yet: a window is \(window)",
            "33: /window: `week` is not supported yet: a window is \(window)"
        ),
        (
            #"{"counter":"c","max":1,"window":"month"}"#, .calendarWindows,
            "33: /window: `month` is not supported yet: a window is \(window)",
            "33: /window: `month` is not supported yet: a window is \(window)"
        ),
        (
            #"{"counter":"c","max":1,"window":"day","timezone":"Europe/Berlin"}"#, .calendarWindows,
            "50: /timezone: `timezone` is not supported yet: windows are aligned to UTC",
            "50: /timezone: `timezone` is not supported yet: windows are aligned to UTC"
        ),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"server"}"#, .moreScopes,
            #"43: /scope: `server` is not supported yet: a limit's scope is "grant" or "session""#,
            #"43: /scope: `server` is not supported yet: a limit's scope is "grant" or "session""#
        ),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"global"}"#, .moreScopes,
            #"43: /scope: `global` is not supported yet: a limit's scope is "grant" or "session""#,
            #"43: /scope: `global` is not supported yet: a limit's scope is "grant" or "session""#
        ),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"attribute:team"}"#, .moreScopes,
            #"43: /scope: `attribute:team` is not supported yet: a limit's scope is "grant" or "session""#,
            #"43: /scope: `attribute:team` is not supported yet: a limit's scope is "grant" or "session""#
        ),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"session","across_grants":true}"#, .moreScopes,
            "69: /across_grants: `across_grants` is not supported yet: counters are kept inside the grant",
            "69: /across_grants: `across_grants` is not supported yet: counters are kept inside the grant"
        ),
        (
            #"{"counter":"c","max":1,"window":1,"precision":"leased"}"#, .leased,
            "47: /precision: `precision` is not supported yet: every call is counted exactly",
            "47: /precision: `precision` is not supported yet: every call is counted exactly"
        ),
        (
            #"{"counter":"c","max":1,"window":1,"algorithm":"sliding_window"}"#, .slidingWindow,
            "47: /algorithm: `algorithm` is not supported yet: only fixed windows are counted",
            #"47: /algorithm: `algorithm` is not supported yet: a limit's algorithm is "fixed_window", "sliding_log", "token_bucket" or "concurrency""#
        ),
        (
            #"{"counter":"c","max":1,"window":1,"algorithm":"sliding_log"}"#, .slidingLog,
            "47: /algorithm: `algorithm` is not supported yet: only fixed windows are counted",
            #"47: /algorithm: `algorithm` is not supported yet: a limit's algorithm is "fixed_window", "sliding_window", "token_bucket" or "concurrency""#
        ),
        (
            #"{"counter":"c","max":1,"window":1,"algorithm":"token_bucket"}"#, .tokenBucket,
            "47: /algorithm: `algorithm` is not supported yet: only fixed windows are counted",
            #"47: /algorithm: `algorithm` is not supported yet: a limit's algorithm is "fixed_window", "sliding_window", "sliding_log" or "concurrency""#
        ),
        (
            #"{"counter":"c","max":1,"algorithm":"concurrency"}"#, .concurrency,
            "36: /algorithm: `algorithm` is not supported yet: only fixed windows are counted",
            #"36: /algorithm: `algorithm` is not supported yet: a limit's algorithm is "fixed_window", "sliding_window", "sliding_log" or "token_bucket""#
        ),
        (
            #"{"counter":"c","max":1,"window":1,"on_outage":"deny"}"#, .onOutage,
            "47: /on_outage: `on_outage` is not supported yet: while Redis is unavailable every limit uses local counters",
            "47: /on_outage: `on_outage` is not supported yet: while Redis is unavailable every limit uses local counters"
        ),
        (
            #"{"counter":"c","max":1,"window":1,"on_outage":"allow"}"#, .onOutage,
            "47: /on_outage: `on_outage` is not supported yet: while Redis is unavailable every limit uses local counters",
            "47: /on_outage: `on_outage` is not supported yet: while Redis is unavailable every limit uses local counters"
        ),
        (
            #"{"counter":"c","max":1,"window":1,"mode":"shadow"}"#, .shadow,
            "42: /mode: `mode` is not supported yet: every limit is enforced",
            "42: /mode: `mode` is not supported yet: every limit is enforced"
        ),
    ]

    @Test(arguments: rows)
    func ofALimit(limit: String, needs: PolicyFeatures, without: String, withOthers: String) {
        let text = document(limit: limit)
        #expect(faultLines(text, features: needs) == [])
        #expect(faultLines(text, features: .all) == [])
        #expect(faultLines(text, features: []) == [line(without)])
        #expect(faultLines(text, features: .all.subtracting(needs)) == [line(withOthers)])
    }

    /// `burst` and `hold` are refused as keys, since without their algorithm they mean nothing.
    @Test(
        arguments: [("burst", "token_bucket", #","window":1"#), ("hold", "concurrency", "")]
            as [(String, String, String)])
    func ofAKeyOfAnAlgorithm(key: String, algorithm: String, window: String) {
        let text = document(limit: #"{"counter":"c","max":1,"\#(key)":5,"algorithm":"\#(algorithm)"\#(window)}"#)
        let lines = faultLines(text)
        #expect(lines.count == 2)
        #expect(lines[0] == line("24: /\(key): `\(key)` is not supported yet: only fixed windows are counted"))
        #expect(faultLines(text, features: .all) == [])
    }

    @Test(arguments: ["require", "deny_if"])
    func argumentRules(key: String) throws {
        for rules in ["[]", "{}", #"[{"path":"/x","equals":1}]"#] {
            let text = document(tool: #"{"\#(key)":\#(rules)}"#)
            #expect(
                faultLines(text, features: .all.subtracting(.argumentsCheckedByGateway)) == [
                    #"policy.json:2:6: /tools/x/\#(key): found "\#(key)", expected no rules on arguments, which only the gateway sees: let it check them and say so with --arguments-checked-by-gateway, or take them out"#
                ])
            let policy = try parse(text, features: .argumentsCheckedByGateway)
            #expect(policy.tools["x"]?.hasArgumentRules == true)
        }
        #expect(try parse(document(tool: "{}"), features: .all).tools["x"]?.hasArgumentRules == false)
    }

    @Test func theEngineCountsEverything() {
        #expect(PolicyFeatures.supported == .all.subtracting(.argumentsCheckedByGateway))
    }

    /// Nobody but the operator can know that the gateway checks arguments.
    @Test func argumentsAreTheOperatorsToVouchFor() {
        #expect(!PolicyFeatures.supported.contains(.argumentsCheckedByGateway))
        #expect(PolicyFeatures.supported(argumentsCheckedByGateway: false) == .supported)
        #expect(
            PolicyFeatures.supported(argumentsCheckedByGateway: true)
                == PolicyFeatures.supported.union(.argumentsCheckedByGateway))
    }

    @Test func allIsEveryOne() {
        let alone: [PolicyFeatures] = [
            .calendarWindows, .moreScopes, .slidingWindow, .slidingLog, .tokenBucket, .concurrency, .onOutage, .shadow,
            .leased, .argumentsCheckedByGateway,
        ]
        #expect(alone.reduce(into: PolicyFeatures()) { $0.formUnion($1) } == .all)
        #expect(Set(alone.map(\.rawValue)).count == alone.count)
    }

    private func line(_ text: String) -> String {
        let parts = text.split(separator: ": ", maxSplits: 1)
        return "policy.json:2:\(parts[0]): /tools/x/limits/0\(parts[1])"
    }
}
