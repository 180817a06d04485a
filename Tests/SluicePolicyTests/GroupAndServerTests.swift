import SluicePolicy
import Testing

/// Budgets over several tools, and rules for the tools of one server.
@Suite struct GroupAndServerTests {
    private static func limit(_ counter: String, max: Int = 1) -> String {
        #"{"counter":"\#(counter)","window":"minute","max":\#(max)}"#
    }

    private static let policy = try! parse(
        document(
            members: """
                "on_deny":"Ask Ann.",
                "all_tools":{"limits":[\(limit("all"))]},
                "groups":{"web":{"tools":["search","fetch_*"],"limits":[\(limit("pages"))]}},
                "tools":{"search":{"limits":[\(limit("searches"))]},"fetch_*":{},"run":{}},
                "servers":{
                  "git":{"default":"allow","hide":["rm"],"groups":{"g":{"tools":["*"],"limits":[\(limit("c"))]}},
                         "tools":{"push":{"action":"deny"}}},
                  "*":{"all_tools":{"limits":[\(limit("all"))]},
                       "tools":{"search":{"limits":[\(limit("c"))]},"x_*":{"each_tool":true,"limits":[\(limit("c"))]}}}
                }
                """))

    private static func limits(_ tool: String, server: String? = nil) -> [String] {
        policy.ruling(forTool: tool, server: server).limits.map(\.rule)
    }

    @Test func aCallMeetsTheLimitsOfItsGroups() {
        #expect(
            Self.limits("search") == [
                "/tools/search/limits/searches", "/groups/web/limits/pages", "/all_tools/limits/all",
            ])
        #expect(Self.limits("fetch_page") == ["/groups/web/limits/pages", "/all_tools/limits/all"])
        #expect(Self.limits("run") == ["/all_tools/limits/all"])
        let group = Self.policy.groups["web"]?.limits[0]
        #expect(
            group?.denialMessage
                == "The tools of the group web are together limited to 1 call per minute for this grant.")
        #expect(Self.policy.limits(in: .group("web")) == group.map { [$0] })
    }

    @Test func aServersRulesAreForItsTools() {
        #expect(Self.limits("search", server: "git") == ["/servers/git/groups/g/limits/c"])
        #expect(
            Self.policy.ruling(forTool: "push", server: "git")
                == .deny(rule: "/servers/git/tools/push/action", message: "push is not allowed by this grant's policy.")
        )
        #expect(
            Self.policy.ruling(forTool: "rm", server: "git")
                == .deny(rule: "(hidden)", message: "rm is not allowed by this grant's policy."))
        // Without a default of its own it has the document's.
        #expect(
            Self.policy.ruling(forTool: "run", server: "other")
                == .deny(rule: "(default deny)", message: "run is not allowed by this grant's policy."))
        #expect(Self.policy.ruling(forTool: "y") == .deny(rule: "(default deny)", message: "Ask Ann."))
    }

    /// Also of those that are not listed, each server has counters of its own.
    @Test func eachServerHasItsCounters() {
        let containers = { (tool: String, server: String) in
            Self.policy.ruling(forTool: tool, server: server).limits.map(\.container)
        }
        #expect(containers("search", "a") == [.server("a", .tool("search")), .server("a", .allTools)])
        #expect(containers("x_1", "b") == [.server("b", .tool("x_1")), .server("b", .allTools)])
        #expect(containers("search", "git") == [.server("git", .group("g"))])
        // Of a server that is called so, too.
        #expect(containers("search", "*") == [.server("*", .tool("search")), .server("*", .allTools)])
        for (tool, server) in [("search", "a"), ("x_1", "b"), ("search", "git")] {
            for limit in Self.policy.ruling(forTool: tool, server: server).limits {
                #expect(Self.policy.limits(in: limit.container) == [limit])
            }
        }
        #expect(Self.policy.limits(in: .server("git", .tool("nothing"))) == [])
        #expect(
            Self.policy.ruling(forTool: "search", server: "a").limits[1].denialMessage
                == "This grant is limited to 1 call per minute over all tools of the server a.")
    }

    @Test func theirViews() {
        #expect(
            PolicySummary(Self.policy, file: "p").facts
                == "2 tools, 1 pattern, 7 limits, 1 group, 2 servers, default deny")
        #expect(
            PolicyListing(Self.policy).allEntries.map(\.title) == [
                "fetch_*", "run", "search", "(any other)", "(group web)", "(all tools)",
                "*: search", "*: x_*", "*: (any other)", "*: (all tools)",
                "git: push", "git: rm", "git: (any other)", "git: (group g)",
            ])
        let text = PolicyDocument.text(of: Self.policy)
        #expect(try! parse(text) == Self.policy, "\(text)")
    }

    @Test func changesInWords() throws {
        let before = try parse(
            document(members: #""groups":{"g":{"tools":["a","b"],"limits":[\#(Self.limit("c"))]}},"servers":{"s":{}}"#))
        let after = try parse(
            document(
                members: #"""
                    "groups":{"g":{"tools":["b","c*"],"limits":[\#(Self.limit("c", max: 2))]}},
                    "servers":{"s":{"hide":["x"]},"t":{}}
                    """#))
        #expect(
            PolicyDiff(from: before, to: after).lines == [
                "group g: now also c*, no longer a", "group g: limit c: max 1 -> 2, keeps its count",
                "server s: tool x: now hidden", "server t: now has rules of its own",
            ])
    }

    /// All limits that one check may meet are at most 16, also where groups share a tool.
    @Test func notTooManyLimitsForOneCheck() {
        let nine = (0..<9).map { Self.limit("c\($0)") }.joined(separator: ",")
        let groups = { (one: String, other: String) in
            #""groups":{"a":{"tools":["\#(one)"],"limits":[\#(nine)]},"b":{"tools":["\#(other)"],"limits":[\#(nine)]}}"#
        }
        #expect(faultLines(document(members: groups("x", "y"))) == [])
        for (one, other) in [("x", "x"), ("x*", "xy"), ("x*", "*y")] {
            #expect(
                faultLines(document(members: groups(one, other))).map { $0.prefix(51) } == [
                    "policy.json:2:10: /groups: found 18 limits in the g"
                ], "\(one) \(other)")
        }
        let tool = groups("x*", "y") + #","tools":{"*x":{"limits":[\#(nine)]}}"#
        #expect(
            faultLines(document(members: tool)).map {
                $0.hasSuffix("9 limits and 9 in its groups, expected at most 16 for one check")
            } == [true])
    }

    @Test func whoMustReserve() throws {
        let slots = #"{"limits":[{"counter":"c","max":2,"algorithm":"concurrency"}]"#
        let policy = try parse(
            document(
                members: #"""
                    "groups":{"g":\#(slots),"tools":["a","b"]}},
                    "tools":{"a":{},"b":{"action":"deny"},"c_*":\#(slots)}},
                    "servers":{"s":{"all_tools":\#(slots)}}}
                    """#), features: .all)
        #expect(policy.mustReserve.titles == ["a", "c_*", "(all tools) of the server s"])
        #expect(policy.mustReserve.of("c_1").tools == ["c_*"])
    }

    // MARK: - Shadow

    @Test func whatAShadowDocumentWouldDeny() throws {
        let policy = try parse(
            document(
                members: #"""
                    "mode":"shadow","hide":["h"],
                    "all_tools":{"limits":[\#(Self.limit("all"))]},
                    "tools":{"d":{"action":"deny"},"a":{"action":"require_approval","limits":[\#(Self.limit("c"))]},
                             "t":{"rate_limit":"1/day","hours":{"from":"09:00","to":"10:00"}}}
                    """#))
        #expect(policy.allLimits.allSatisfy { $0.mode == .shadow })
        for (tool, rule, limits) in [
            ("d", "/tools/d/action", ["/tools/d/action", "/all_tools/limits/all"]),
            ("a", "/tools/a/action", ["/tools/a/action", "/tools/a/limits/c", "/all_tools/limits/all"]),
            ("h", "(hidden)", ["(hidden)", "/all_tools/limits/all"]),
            ("x", "(default deny)", ["(default deny)", "/all_tools/limits/all"]),
        ] {
            let ruling = policy.ruling(forTool: tool)
            guard case .shadow(_, let denial, _) = ruling else {
                Issue.record("\(tool): \(ruling)")
                continue
            }
            #expect(denial.rule == rule && denial.max == 0 && denial.mode == .shadow)
            #expect(ruling.limits.map(\.rule) == limits)
            #expect(ruling.limits.allSatisfy { $0.mode == .shadow })
        }
        guard case .within(_, _, .shadow(of: .deny, let denial, _)) = policy.ruling(forTool: "t") else {
            Issue.record("\(policy.ruling(forTool: "t"))")
            return
        }
        #expect(denial.rule == "/tools/t/hours")
        #expect(
            PolicyListing(policy).entries.map(\.actionWords).prefix(2) == [
                "require_approval (shadow)", "deny (shadow)",
            ])
        let text = PolicyDocument.text(of: policy)
        #expect(try parse(text) == policy && text.split(separator: "shadow").count == 2, "\(text)")
    }

    @Test func aShadowToolKeepsTheLimitsOfOthers() throws {
        let policy = try parse(
            document(
                members: #"""
                    "all_tools":{"limits":[\#(Self.limit("all"))]},
                    "tools":{"x":{"mode":"shadow","action":"deny"},"y":{"mode":"shadow","rate_limit":"1/day"}}
                    """#))
        #expect(policy.ruling(forTool: "x").limits.map(\.mode) == [.shadow, .enforce])
        #expect(policy.ruling(forTool: "y").limits.map(\.mode) == [.shadow, .enforce])
        let enforcing = try parse(
            document(
                members: #"""
                    "all_tools":{"limits":[\#(Self.limit("all"))]},
                    "tools":{"x":{"action":"deny"},"y":{"rate_limit":"1/day"}}
                    """#))
        #expect(
            PolicyDiff(from: policy, to: enforcing).lines == [
                "tool x: mode shadow -> enforce", "tool y: mode shadow -> enforce",
                "tool y: limit rate_limit: mode shadow -> enforce, keeps its count",
            ])
    }
}
