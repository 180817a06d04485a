import SluicePolicy
import Testing

/// What documents without faults mean.
@Suite struct PolicyDocumentTests {
    @Test func seedDocument() throws {
        let policy = try parse(SluicePolicyTests.seedDocument)
        let limit = Limit(
            container: .tool("opencode_run"), counter: "opencode_run_rate", window: Window.seconds(60), max: 10,
            scope: .grant, rule: "/tools/opencode_run/limits/opencode_run_rate", onDeny: nil)
        #expect(
            policy
                == Policy(
                    defaultRuling: .deny, hidden: [], allToolsLimits: [],
                    tools: ["opencode_run": ToolRule(action: .allow, reason: nil, limits: [limit])]))
    }

    @Test func smallestDocument() throws {
        #expect(
            try parse(#"{"version":"1","default":"allow"}"#)
                == Policy(defaultRuling: .allow, hidden: [], allToolsLimits: [], tools: [:]))
    }

    @Test(
        arguments: [
            (#""hide":[]"#, []), (#""hide":["a","b","a"]"#, ["a", "b"]), (#""hide":"*""#, ["*"]),
            (#""hide":["*","a"]"#, ["*", "a"]),
        ] as [(String, Set<String>)])
    func hide(members: String, hidden: Set<String>) throws {
        #expect(try parse(document(members: members)).hidden == hidden)
    }

    @Test(
        arguments: [
            ("{}", .allow, nil),
            (#"{"action":"allow"}"#, .allow, nil),
            (#"{"action":"deny"}"#, .deny, nil),
            (#"{"action":"require_approval"}"#, .requireApproval, nil),
            (#"{"action":"deny","reason":"Not on Fridays."}"#, .deny, "Not on Fridays."),
            (#"{"on_deny":"Ask Ann.","action":"deny","limits":[]}"#, .deny, "Ask Ann."),
        ] as [(String, ToolRule.Action, String?)])
    func tool(text: String, action: ToolRule.Action, reason: String?) throws {
        let policy = try parse(document(tool: text))
        #expect(policy.tools == ["x": ToolRule(action: action, reason: reason, limits: [])])
    }

    @Test(
        arguments: [
            (#""second""#, 1), (#""minute""#, 60), (#""hour""#, 3600), (#""day""#, 86_400), ("1", 1), ("90", 90),
            ("31622400", 31_622_400), (#""1s""#, 1), (#""90s""#, 90), (#""15m""#, 900), (#""6h""#, 21_600),
            (#""2d""#, 172_800), (#""366d""#, 31_622_400),
        ] as [(String, Int64)])
    func window(text: String, seconds: Int64) throws {
        let limit = try onlyLimit(document(limit: #"{"counter":"c","window":\#(text),"max":1}"#))
        #expect(limit.window.seconds == seconds)
    }

    @Test(arguments: [("0", 0), ("1", 1), ("1000000000000", 1_000_000_000_000)] as [(String, Int64)])
    func max(text: String, max: Int64) throws {
        #expect(try onlyLimit(document(limit: #"{"counter":"c","window":"day","max":\#(text)}"#)).max == max)
    }

    @Test(
        arguments: [("", .grant), (#","scope":"grant""#, .grant), (#","scope":"session""#, .session)]
            as [(String, Limit.Scope)])
    func scope(text: String, scope: Limit.Scope) throws {
        #expect(try onlyLimit(document(limit: #"{"counter":"c","window":1,"max":1\#(text)}"#)).scope == scope)
    }

    @Test func whatHappensAnywayMayBeSaid() throws {
        let limit = try onlyLimit(
            document(
                limit: #"""
                    {"counter":"c","window":"day","max":1,"algorithm":"fixed_window","on_outage":"local",
                    "mode":"enforce","precision":"exact","timezone":"UTC","across_grants":false}
                    """#))
        #expect(limit == (try onlyLimit(document(limit: #"{"counter":"c","window":"day","max":1}"#))))
    }

    @Test(
        arguments: [
            (#"{"max":10,"window":60}"#, 10, 60), (#"{"window":5,"max":0}"#, 0, 5), (#""10/second""#, 10, 1),
            (#""10/minute""#, 10, 60), (#""1/hour""#, 1, 3600), (#""0/day""#, 0, 86_400), (#""10/90s""#, 10, 90),
            (#""10/15m""#, 10, 900),
        ] as [(String, Int64, Int64)])
    func rateLimit(text: String, max: Int64, seconds: Int64) throws {
        let limit = try onlyLimit(document(tool: #"{"rate_limit":\#(text)}"#))
        #expect(
            limit
                == Limit(
                    container: .tool("x"), counter: "rate_limit", window: Window.seconds(seconds), max: max,
                    scope: .session, rule: "/tools/x/rate_limit", onDeny: nil))
    }

    @Test func limitsKeepTheOrderOfTheDocument() throws {
        let limits = #""limits":[{"counter":"b","window":1,"max":1},{"counter":"a","window":1,"max":1}]"#
        let before = try parse(document(tool: #"{"rate_limit":"1/day",\#(limits)}"#))
        #expect(before.tools["x"]?.limits.map(\.counter) == ["rate_limit", "b", "a"])
        let after = try parse(document(tool: #"{\#(limits),"rate_limit":"1/day"}"#))
        #expect(after.tools["x"]?.limits.map(\.counter) == ["b", "a", "rate_limit"])
    }

    @Test func limitsOverAllTools() throws {
        let limits = #"[{"counter":"calls","window":"hour","max":100,"on_deny":"Enough."}]"#
        let policy = try parse(document(members: #""all_tools":{"limits":\#(limits)}"#))
        #expect(
            policy.allToolsLimits == [
                Limit(
                    container: .allTools, counter: "calls", window: Window.seconds(3600), max: 100, scope: .grant,
                    rule: "/all_tools/limits/calls", onDeny: "Enough.")
            ])
        #expect(try parse(document(members: #""all_tools":{}"#)).allToolsLimits == [])
    }

    /// The same name in two containers is two counters.
    @Test func containersHaveCountersOfTheirOwn() throws {
        let limits = #"{"limits":[{"counter":"c","window":1,"max":1}]}"#
        let policy = try parse(document(members: #""all_tools":\#(limits),"tools":{"a":\#(limits),"b":\#(limits)}"#))
        #expect(policy.tools.count == 2)
    }

    @Test func rulesEscapeNames() throws {
        let policy = try parse(
            document(
                members: #"""
                    "tools":{"a/b~c":{"limits":[{"counter":"~/","window":1,"max":1}],"rate_limit":"1/day"}}
                    """#))
        #expect(
            policy.tools["a/b~c"]?.limits.map(\.rule) == [
                "/tools/a~1b~0c/limits/~0~1", "/tools/a~1b~0c/rate_limit",
            ])
    }

    /// An allowed tool is denied by its limits alone, so its message is theirs.
    @Test func messageOfAnAllowedToolIsItsLimits() throws {
        let limits = #"[{"counter":"a","window":1,"max":1},{"counter":"b","window":1,"max":1,"on_deny":"B."}]"#
        let allowed = try parse(document(tool: #"{"on_deny":"Slow down.","limits":\#(limits),"rate_limit":"1/day"}"#))
        #expect(allowed.tools["x"]?.limits.map(\.onDeny) == ["Slow down.", "B.", "Slow down."])
        let approved = try parse(
            document(tool: #"{"action":"require_approval","reason":"Ask.","limits":\#(limits)}"#))
        #expect(approved.tools["x"]?.limits.map(\.onDeny) == [nil, "B."])
    }

    @Test func boundsAreWithin() throws {
        let name = String(repeating: "n", count: PolicyBounds.maxNameBytes)
        let message = String(repeating: "m", count: PolicyBounds.maxMessageBytes)
        let policy = try parse(
            document(
                members: #"""
                    "hide":["\#(name)"],"tools":{"\#(name)":{"limits":[
                    {"counter":"\#(name)","window":1,"max":1,"on_deny":"\#(message)"}]}}
                    """#))
        #expect(policy.tools[name]?.limits.first?.onDeny == message)
        let limits = (0..<8).map { #"{"counter":"\#($0)","window":1,"max":1}"# }.joined(separator: ",")
        let most = try parse(
            document(members: #""all_tools":{"limits":[\#(limits)]},"tools":{"x":{"limits":[\#(limits)]}}"#))
        guard case .count(_, let met) = most.ruling(forTool: "x") else {
            Issue.record("not counted")
            return
        }
        #expect(met.count == PolicyBounds.maxLimitsPerCheck)
    }

    @Test func tenThousandTools() throws {
        let tools = (0..<10_000).map {
            #""tool_\#($0)":{"limits":[{"counter":"calls","window":"minute","max":10,"scope":"grant"}]}"#
        }
        let policy = try parse(document(members: "\"tools\":{\n\(tools.joined(separator: ",\n"))}"))
        #expect(policy.tools.count == 10_000)
        #expect(policy.tools.values.allSatisfy { $0.limits.count == 1 })
    }

    private func onlyLimit(_ text: String) throws -> Limit {
        let limits = try #require(try parse(text).tools["x"]).limits
        try #require(limits.count == 1)
        return limits[0]
    }
}
