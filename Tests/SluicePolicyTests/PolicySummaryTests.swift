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

    /// Columns are there for what some limit uses.
    @Test func theWholeLanguage() throws {
        let policy = try parse(wholeLanguage, features: .all)
        #expect(
            PolicySummary(policy, file: "p.json").render() == """
                tool         action            counter     limit                               algorithm       burst  hold        scope                         outage  mode
                edit         allow             rate_limit  10 per 15 minutes                   fixed_window    -      -           session                       local   enforce
                run          require_approval  rate_limit  1 per minute                        fixed_window    -      -           session                       local   enforce
                search       allow             smooth      10 in any 60 seconds                sliding_window  -      -           grant                         local   enforce
                search       allow             bucket      10 per 90 seconds                   token_bucket    20     -           grant                         local   enforce
                search       allow             at once     3 at once                           concurrency     -      10 minutes  grant                         deny    enforce
                search       allow             try out     1 per day                           fixed_window    -      -           server                        local   shadow
                secret       hidden            -           -                                   -               -      -           -                             -       -
                (any other)  deny              -           -                                   -               -      -           -                             -       -
                (all tools)  -                 monthly     10000 per month (America/New_York)  fixed_window    -      -           grant                         local   enforce
                (all tools)  -                 everybody   100000 per hour                     fixed_window    -      -           global                        allow   enforce
                (all tools)  -                 team        5000 per week                       fixed_window    -      -           attribute:team of all grants  local   enforce

                checks of search must say RESERVE, else they are BADARG

                p.json: ok, 3 tools, 9 limits, default deny, 1 hidden, 1 tool with arguments for the gateway to check

                """)
        let shadow = try parse(
            document(limit: #"{"counter":"c","max":1,"window":1,"mode":"shadow"}"#), features: .all)
        #expect(
            PolicySummary(shadow, file: "p.json").render().hasPrefix(
                "tool         action  counter  limit         scope  mode\n"))
    }

    @Test func aFolder() throws {
        let files = [
            ("open.json", #"{"version":"1","default":"allow"}"#), ("unused.json", #"{"version":"1","default":"deny"}"#),
            ("grants.json", #"{"bob":"open","ann":"open"}"#),
        ]
        let policies = try PolicySet.parse(files: files.map { ($0.0, Array($0.1.utf8)) })
        #expect(
            PolicySetSummary(policies, file: "policies").render() == """
                grant        policy
                ann          open
                bob          open
                (any other)  no policy: denied

                tool         action  counter  limit  scope
                (any other)  allow   -        -      -

                open.json: ok, 0 tools, 0 limits, default allow

                tool         action  counter  limit  scope
                (any other)  deny    -        -      -

                unused.json: ok, 0 tools, 0 limits, default deny

                policies: ok, 2 documents (1 unused), 2 grants

                """)
        let single = try parse(SluicePolicyTests.seedDocument)
        #expect(
            PolicySetSummary(PolicySet(single: single), file: "policy.json").render()
                == PolicySummary(single, file: "policy.json").render())
    }
}
