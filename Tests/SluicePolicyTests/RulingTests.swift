import SluicePolicy
import Testing

@Suite struct RulingTests {
    private static let limits = #"{"limits":[{"counter":"all","window":"hour","max":100}]}"#

    @Test func hiddenComesFirst() throws {
        let policy = try parse(
            document(members: #""hide":["x","y"],"tools":{"x":{"action":"allow"}}"#, default: "allow"))
        for tool in ["x", "y"] {
            #expect(
                policy.ruling(forTool: tool)
                    == .deny(rule: "(hidden)", message: "\(tool) is not allowed by this grant's policy."))
        }
        #expect(policy.ruling(forTool: "z") == .count(rule: "(default allow)", limits: []))
    }

    @Test(arguments: [#""*""#, #"["*"]"#])
    func everythingHidden(hide: String) throws {
        let policy = try parse(document(members: #""hide":\#(hide),"tools":{"x":{}}"#, default: "allow"))
        for tool in ["x", "y", "*"] {
            #expect(
                policy.ruling(forTool: tool)
                    == .deny(rule: "(hidden)", message: "\(tool) is not allowed by this grant's policy."))
        }
    }

    @Test func unlistedToolsGetTheDefault() throws {
        let denying = try parse(document(members: #""all_tools":\#(Self.limits)"#))
        #expect(
            denying.ruling(forTool: "x")
                == .deny(rule: "(default deny)", message: "x is not allowed by this grant's policy."))
        let allowing = try parse(document(members: #""all_tools":\#(Self.limits)"#, default: "allow"))
        #expect(allowing.ruling(forTool: "x") == .count(rule: "(default allow)", limits: allowing.allToolsLimits))
        #expect(allowing.allToolsLimits.count == 1)
    }

    @Test func listedToolsMeetTheirLimitsAndThenThoseOverAllTools() throws {
        let own = #"{"limits":[{"counter":"own","window":"minute","max":1}],"rate_limit":"5/day"}"#
        let policy = try parse(document(members: #""all_tools":\#(Self.limits),"tools":{"x":\#(own),"y":{}}"#))
        guard case .count(let rule, let limits) = policy.ruling(forTool: "x") else {
            Issue.record("not counted")
            return
        }
        #expect(rule == "/tools/x")
        #expect(
            limits.map(\.rule) == ["/tools/x/limits/own", "/tools/x/rate_limit", "/all_tools/limits/all"])
        #expect(policy.ruling(forTool: "y") == .count(rule: "/tools/y", limits: policy.allToolsLimits))
    }

    @Test func actions() throws {
        let policy = try parse(
            document(
                members: #"""
                    "all_tools":\#(Self.limits),"tools":{
                    "deny":{"action":"deny"},"deny because":{"action":"deny","reason":"Use list_files."},
                    "approve":{"action":"require_approval"},
                    "approve because":{"action":"require_approval","on_deny":"Ann must look at it."},
                    "a/b~c":{"action":"deny"}}
                    """#))
        #expect(
            policy.ruling(forTool: "deny")
                == .deny(rule: "/tools/deny/action", message: "deny is not allowed by this grant's policy."))
        #expect(
            policy.ruling(forTool: "deny because")
                == .deny(rule: "/tools/deny because/action", message: "Use list_files."))
        #expect(
            policy.ruling(forTool: "approve")
                == .approve(
                    rule: "/tools/approve/action", message: "approve needs a person's approval before it runs.",
                    limits: policy.allToolsLimits))
        #expect(
            policy.ruling(forTool: "approve because")
                == .approve(
                    rule: "/tools/approve because/action", message: "Ann must look at it.",
                    limits: policy.allToolsLimits))
        #expect(
            policy.ruling(forTool: "a/b~c")
                == .deny(rule: "/tools/a~1b~0c/action", message: "a/b~c is not allowed by this grant's policy."))
    }

    @Test func seedDocument() throws {
        let policy = try parse(SluicePolicyTests.seedDocument)
        let limits = try #require(policy.tools["opencode_run"]).limits
        #expect(policy.ruling(forTool: "opencode_run") == .count(rule: "/tools/opencode_run", limits: limits))
        #expect(
            policy.ruling(forTool: "opencode_stop")
                == .deny(rule: "(default deny)", message: "opencode_stop is not allowed by this grant's policy."))
    }

    /// A caller chooses the name of an unlisted tool, and the message is shown to an agent and to operators.
    @Test func messagesStayOnTheirLine() throws {
        let policy = try parse(#"{"version":"1","default":"deny"}"#)
        #expect(
            policy.ruling(forTool: "a\r\nb")
                == .deny(rule: "(default deny)", message: #"a\u000d\u000ab is not allowed by this grant's policy."#))
    }

    @Test func accentsWrittenInAnotherWayAreTheSameName() throws {
        let policy = try parse(document(members: #""hide":["caf\u00e9"]"#, default: "allow"))
        guard case .deny("(hidden)", _) = policy.ruling(forTool: "cafe\u{301}") else {
            Issue.record("not hidden")
            return
        }
    }
}
