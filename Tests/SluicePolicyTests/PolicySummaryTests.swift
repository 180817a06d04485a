import SluicePolicy
import Testing

@Suite struct PolicySummaryTests {
    @Test func seedDocument() throws {
        let summary = PolicySummary(try parse(SluicePolicyTests.seedDocument), file: "policy.json")
        #expect(summary.line == "policy.json: ok, 1 tool, 1 limit, default deny")
        #expect(
            summary.render() == """
                tool          action  counter            limit          scope
                opencode_run  allow   opencode_run_rate  10 per minute  grant
                (any other)   deny    -                  -              -

                policy.json: ok, 1 tool, 1 limit, default deny

                """)
    }

    @Test func everyKindOfRow() throws {
        let text = document(
            members: #"""
                "hide":["b","unlisted"],
                "all_tools":{"limits":[{"counter":"all","window":"hour","max":100}]},
                "tools":{
                "c":{"action":"require_approval"},"b":{},"d":{"action":"deny"},
                "a":{"limits":[{"counter":"one","window":90,"max":1,"scope":"session"}],"rate_limit":"10/minute"}}
                """#,
            default: "allow")
        #expect(
            PolicySummary(try parse(text), file: "p.json").render() == """
                tool         action            counter     limit             scope
                a            allow             one         1 per 90 seconds  session
                a            allow             rate_limit  10 per minute     session
                b            hidden            -           -                 -
                c            require_approval  -           -                 -
                d            deny              -           -                 -
                unlisted     hidden            -           -                 -
                (any other)  allow             -           -                 -
                (all tools)  -                 all         100 per hour      grant

                p.json: ok, 4 tools, 3 limits, default allow, 2 hidden

                """)
    }

    @Test func everythingHidden() throws {
        let policy = try parse(document(members: #""hide":"*","tools":{"a":{}}"#, default: "allow"))
        #expect(
            PolicySummary(policy, file: "p.json").render() == """
                tool         action  counter  limit  scope
                a            hidden  -        -      -
                (any other)  hidden  -        -      -

                p.json: ok, 1 tool, 0 limits, default allow, every tool hidden

                """)
    }
}
