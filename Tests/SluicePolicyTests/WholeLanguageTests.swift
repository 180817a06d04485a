import SluicePolicy
import Testing

/// What documents mean that use the whole language, and the one line that each fault yields.
@Suite struct WholeLanguageTests {
    /// A limit with one more field or two, and what it becomes.
    @Test(
        arguments: [
            (#""window":"week""#, limit(window: .calendar(.week))),
            (#""window":"day","timezone":"UTC""#, limit(window: .seconds(86_400))),
            (#""window":"minute","timezone":"UTC""#, limit(window: .seconds(60))),
            (#""window":"day","timezone":"Europe/Berlin""#, limit(window: .calendar(.day, in: berlin))),
            (#""timezone":"Europe/Berlin","window":"month""#, limit(window: .calendar(.month, in: berlin))),
            (#""window":1,"scope":"server""#, limit(scope: .server)),
            (#""window":1,"scope":"global","across_grants":false"#, limit(scope: .global)),
            (#""window":1,"scope":"attribute:team""#, limit(scope: .attribute("team"))),
            (#""window":1,"across_grants":true,"scope":"session""#, limit(scope: .session, acrossGrants: true)),
            (
                #""window":1,"scope":"attribute:a b","across_grants":true"#,
                limit(scope: .attribute("a b"), acrossGrants: true)
            ),
            (#""window":1,"algorithm":"sliding_window""#, limit(algorithm: .slidingWindow)),
            (
                #""window":"month","algorithm":"sliding_window""#,
                limit(window: .calendar(.month), algorithm: .slidingWindow)
            ),
            (#""window":1,"algorithm":"token_bucket""#, limit(algorithm: .tokenBucket, burst: 7)),
            (#""window":1,"burst":3,"algorithm":"token_bucket""#, limit(algorithm: .tokenBucket, burst: 3)),
            (
                #""window":"week","burst":30,"algorithm":"token_bucket""#,
                limit(window: .calendar(.week), algorithm: .tokenBucket, burst: 30)
            ),
            (#""algorithm":"concurrency""#, limit(window: .endless, algorithm: .concurrency, holdMs: 300_000)),
            (
                #""algorithm":"concurrency","hold":1"#, limit(window: .endless, algorithm: .concurrency, holdMs: 1000)
            ),
            (
                #""algorithm":"concurrency","hold":"1d""#,
                limit(window: .endless, algorithm: .concurrency, holdMs: 86_400_000)
            ),
            (#""window":1,"on_outage":"allow""#, limit(onOutage: .allow)),
            (#""window":1,"on_outage":"deny","mode":"shadow""#, limit(onOutage: .deny, mode: .shadow)),
            (#""window":1,"precision":"leased""#, limit(precision: .leased)),
            (#""window":1,"precision":"exact","mode":"enforce","on_outage":"local""#, limit()),
        ] as [(String, Limit)])
    func meaning(fields: String, limit: Limit) throws {
        let policy = try parse(document(limit: #"{"counter":"c","max":7,\#(fields)}"#), features: .all)
        #expect(policy.tools["x"]?.limits == [limit])
    }

    private static let berlin = Zone(name: "Europe/Berlin")!

    private static func limit(
        window: Window = .seconds(1), scope: Limit.Scope = .grant, algorithm: Algorithm = .fixedWindow,
        burst: Int64? = nil, holdMs: Int64? = nil, acrossGrants: Bool = false, onOutage: Limit.OnOutage = .local,
        mode: Limit.Mode = .enforce, precision: Limit.Precision = .exact
    ) -> Limit {
        Limit(
            container: .tool("x"), counter: "c", window: window, max: 7, scope: scope, rule: "/tools/x/limits/c",
            onDeny: nil, algorithm: algorithm, burst: burst, holdMs: holdMs, acrossGrants: acrossGrants,
            onOutage: onOutage, mode: mode, precision: precision)
    }

    /// A maximum of 0 blocks, whatever the algorithm.
    @Test func aBucketOfNothing() throws {
        let text = document(limit: #"{"counter":"c","max":0,"window":1,"algorithm":"token_bucket"}"#)
        let limit = try #require(try parse(text, features: .all).tools["x"]?.limits.first)
        #expect(limit.algorithm == .tokenBucket && limit.burst == 0)
    }

    @Test func identityLeavesOutWhatMayChange() {
        let bucket = Self.limit(algorithm: .tokenBucket, burst: 1)
        #expect(bucket.identity == Self.limit(algorithm: .tokenBucket, burst: 2, mode: .shadow).identity)
        #expect(bucket.identity != Self.limit().identity)
        #expect(Self.limit(scope: .session).identity != Self.limit(scope: .session, acrossGrants: true).identity)
        #expect(Self.limit(window: .seconds(2)).identity != Self.limit().identity)
    }

    @Test(arguments: WholeLanguageTables.limitFaults)
    func fault(text: String, lines: [String]) {
        let expected = lines.map { line in
            let parts = line.split(separator: ": ", maxSplits: 1)
            return "policy.json:2:\(parts[0]): /tools/x/limits/0\(parts[1])"
        }
        #expect(faultLines(document(limit: text), features: .all) == expected)
    }

    @Test(arguments: WholeLanguageTables.toolFaults)
    func faultOfATool(text: String, line: String) {
        #expect(faultLines(document(tool: text), features: .all) == ["policy.json:2:\(line)"])
    }

    /// What was wrong with the first part of the language is wrong still, in the same words where they still fit.
    @Test(arguments: FaultTables.documentFaults)
    func faultOfTheDocument(text: String, line: String) {
        #expect(faultLines(text, features: .all) == ["policy.json:" + line])
    }

    @Test func theWholeLanguageInOneDocument() throws {
        let policy = try parse(wholeLanguage, features: .all)
        #expect(policy.tools.count == 3)
        #expect(policy.tools["search"]?.limits.count == 4)
        #expect(policy.tools["edit"]?.hasArgumentRules == true)
        #expect(policy.allToolsLimits.count == 3)
        #expect(faultLines(wholeLanguage).count == 17)
    }

    /// Looking one up among hundreds of names is not done for each of thousands of faults.
    @Test func fewNearestTimeZonesAreLookedUp() {
        let limits = (0..<500).map { #"{"counter":"\#($0)","max":1,"window":"day","timezone":"Europe/Berln"}"# }
        let lines = faultLines(document(limit: limits.joined(separator: ",\n")), features: .all)
        #expect(lines.last == "policy.json: 401 more faults")
        #expect(lines.filter { $0.hasSuffix("did you mean \"Europe/Berlin\"?") }.count == PolicyBounds.maxSuggestions)
    }
}

/// Every key beside those of limits.
let wholeRules = """
    {
      "$schema": "policy.schema.json", "version": "1", "default": "deny", "on_deny": "Ask Ann.", "mode": "shadow",
      "hide": ["*_delete", "old"],
      "all_tools": {"limits": [{"counter": "all", "window": "day", "max": 1e3}]},
      "groups": {
        "web": {"tools": ["search", "fetch_*"], "limits": [{"counter": "pages", "window": "hour", "max": 200}]}
      },
      "tools": {
        "search": {"rate_limit": "10/minute", "mode": "shadow"},
        "fetch_*": {"each_tool": true, "limits": [
          {"counter": "pages", "window": "90s", "max": 5, "on_deny": "More in {retry_after}."}]},
        "deploy": {"action": "require_approval", "hours":
          {"days": "mon-thu,sat", "from": "22:30", "to": "06:00", "timezone": "Europe/Berlin"}}
      },
      "servers": {
        "git": {"default": "allow", "hide": "*", "groups": {"g": {"tools": ["*"], "limits": []}}},
        "*": {"on_deny": "Not here.", "tools": {"a_*": {"action": "deny"}}, "all_tools": {"limits": [
          {"counter": "all", "max": 2, "algorithm": "concurrency"}]}}
      }
    }
    """

/// Uses every field of a limit and every kind of value at least once.
let wholeLanguage = """
    {
      "version": "1", "default": "deny", "hide": ["secret"],
      "all_tools": {"limits": [
        {"counter": "monthly", "window": "month", "timezone": "America/New_York", "max": 10000},
        {"counter": "everybody", "window": "1h", "max": 100000, "scope": "global", "on_outage": "allow"},
        {"counter": "team", "window": "week", "max": 5000, "scope": "attribute:team", "across_grants": true}
      ]},
      "tools": {
        "search": {"limits": [
          {"counter": "smooth", "window": "minute", "max": 10, "algorithm": "sliding_window", "precision": "exact"},
          {"counter": "bucket", "window": "90s", "max": 10, "algorithm": "token_bucket", "burst": 20},
          {"counter": "at once", "max": 3, "algorithm": "concurrency", "hold": "10m", "on_outage": "deny"},
          {"counter": "try out", "window": "day", "max": 1, "mode": "shadow", "scope": "server"}
        ]},
        "edit": {"require": [{"path": "/file"}], "deny_if": {"path": "/etc"}, "rate_limit": "10/15m"},
        "run": {"action": "require_approval", "reason": "Ask Ann.", "rate_limit": {"max": 1, "window": 60}}
      }
    }
    """
