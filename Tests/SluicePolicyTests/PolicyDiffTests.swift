import SluicePolicy
import Testing

@Suite struct PolicyDiffTests {
    private static let limit = #"{"counter":"c","window":"minute","max":10}"#

    private static func tool(_ rule: String) -> String { #""tools":{"x":\#(rule)}"# }
    private static func limited(_ limit: String) -> String { tool(#"{"limits":[\#(limit)]}"#) }
    private static func limited(by fields: String) -> String { limited(#"{"counter":"c",\#(fields)}"#) }

    /// Members of a document that denies by default, before and after, and the reported change.
    @Test(
        arguments: [
            ("", "", []),
            (#""hide":[]"#, #""tools":{}"#, []),
            (
                limited(limit), limited(by: #""max":20,"window":60"#),
                ["tool x: limit c: max 10 -> 20, keeps its count"]
            ),
            (
                limited(limit), limited(by: #""max":10,"window":"hour""#),
                ["tool x: limit c: window minute -> hour, starts a new counter"]
            ),
            (
                limited(limit), limited(by: #""max":5,"window":"day","timezone":"Asia/Tokyo","scope":"session""#),
                [
                    "tool x: limit c: max 10 -> 5, window minute -> day (Asia/Tokyo), scope grant -> session, starts a new counter"
                ]
            ),
            (
                limited(limit), limited(by: #""max":10,"window":60,"algorithm":"token_bucket""#),
                [
                    "tool x: limit c: algorithm fixed_window -> token_bucket, burst none -> 10, starts a new counter"
                ]
            ),
            (
                limited(by: #""max":10,"window":60,"algorithm":"token_bucket""#),
                limited(by: #""max":10,"window":60,"algorithm":"token_bucket","burst":20"#),
                ["tool x: limit c: burst 10 -> 20, keeps its count"]
            ),
            (
                limited(by: #""max":10,"algorithm":"concurrency""#),
                limited(by: #""max":10,"algorithm":"concurrency","hold":"90s""#),
                ["tool x: limit c: hold 5 minutes -> 90 seconds, keeps its count"]
            ),
            (
                limited(limit), limited(by: #""max":10,"algorithm":"concurrency""#),
                [
                    "tool x: limit c: algorithm fixed_window -> concurrency, window minute -> none, hold none -> 5 minutes, starts a new counter",
                    "tool x: its checks must say RESERVE now, else they are BADARG",
                ]
            ),
            (
                limited(by: #""max":10,"algorithm":"concurrency","mode":"shadow""#),
                limited(by: #""max":10,"algorithm":"concurrency""#),
                [
                    "tool x: limit c: mode shadow -> enforce, keeps its count",
                    "tool x: its checks must say RESERVE now, else they are BADARG",
                ]
            ),
            (
                limited(by: #""max":10,"algorithm":"concurrency""#), tool("{}"),
                ["tool x: limit c: removed", "tool x: its checks need not say RESERVE any more"]
            ),
            (
                tool(#"{"action":"deny","limits":[{"counter":"c","max":2,"algorithm":"concurrency"}]}"#),
                tool(#"{"limits":[{"counter":"c","max":2,"algorithm":"concurrency"}]}"#),
                ["tool x: now allowed", "tool x: its checks must say RESERVE now, else they are BADARG"]
            ),
            (
                tool("{}"),
                tool("{}") + #","all_tools":{"limits":[{"counter":"c","max":2,"algorithm":"concurrency"}]}"#,
                [
                    "all tools: limit c: added, 2 at once, scope grant, concurrency, hold 5 minutes",
                    "all tools: every check must say RESERVE now, else it is BADARG",
                ]
            ),
            (
                limited(by: #""max":1,"window":1,"scope":"server""#),
                limited(by: #""max":1,"window":1,"scope":"server","across_grants":true"#),
                ["tool x: limit c: scope server -> server of all grants, starts a new counter"]
            ),
            (
                limited(limit),
                limited(by: #""max":10,"window":60,"on_outage":"deny","mode":"shadow","on_deny":"No.""#),
                [
                    "tool x: limit c: on_outage local -> deny, mode enforce -> shadow, message changed, keeps its count"
                ]
            ),
            (tool("{}"), limited(limit), ["tool x: limit c: added, 10 per minute, scope grant"]),
            (
                tool("{}"),
                limited(by: #""max":9,"window":1,"algorithm":"token_bucket","on_outage":"allow","mode":"shadow""#),
                [
                    "tool x: limit c: added, 9 per second, scope grant, token_bucket, burst 9, on_outage allow, mode shadow"
                ]
            ),
            (limited(limit), tool("{}"), ["tool x: limit c: removed"]),
            (
                limited(by: #""max":10,"window":60,"scope":"session""#).replacing(#""c""#, with: #""rate_limit""#),
                tool(#"{"rate_limit":"10/minute"}"#),
                [
                    "tool x: limit rate_limit: rule /tools/x/limits/rate_limit -> /tools/x/rate_limit, keeps its count"
                ]
            ),
            (
                "", #""all_tools":{"limits":[\#(limit)]}"#, ["all tools: limit c: added, 10 per minute, scope grant"]
            ),
            (tool("{}"), tool(#"{"action":"deny"}"#), ["tool x: now denied"]),
            (tool("{}"), "", ["tool x: now denied"]),
            (limited(limit), "", ["tool x: now denied", "tool x: limit c: removed"]),
            ("", tool(#"{"action":"require_approval"}"#), ["tool x: now needs approval"]),
            ("", tool(#"{"action":"deny"}"#), ["tool x: now listed, denied as before"]),
            (tool(#"{"action":"deny"}"#), "", ["tool x: no longer listed, denied as before"]),
            (tool("{}"), tool("{}") + #","hide":["x"]"#, ["tool x: now hidden"]),
            (#""hide":["x"]"#, "", ["tool x: now denied"]),
            (tool("{}"), tool("{}") + #","hide":"*""#, ["every tool: now hidden"]),
            (#""hide":["*","y"]"#, #""hide":["y"]"#, ["every tool: no longer hidden"]),
            (
                tool(#"{"action":"deny"}"#), tool(#"{"action":"deny","reason":"Ask Ann."}"#),
                ["tool x: message changed"]
            ),
            (
                limited(limit), tool(#"{"reason":"Slow down.","limits":[\#(limit)]}"#),
                ["tool x: limit c: message changed, keeps its count"]
            ),
            (tool("{}"), tool(#"{"require":[]}"#), ["tool x: the gateway now has arguments to check"]),
            (tool(#"{"deny_if":[]}"#), tool("{}"), ["tool x: the gateway no longer has arguments to check"]),
            (
                #""tools":{"b":{},"a":{}}"#, #""tools":{"c\n":{}}"#,
                ["tool a: now denied", "tool b: now denied", #"tool c\u000a: now allowed"#]
            ),
        ] as [(String, String, [String])])
    func ofTwoDocuments(before: String, after: String, lines: [String]) throws {
        let old = try policy(before)
        let new = try policy(after)
        #expect(PolicyDiff(from: old, to: new).lines == lines)
        #expect(PolicyDiff(from: old, to: old).isEmpty)
        #expect(PolicyDiff(from: new, to: new).render() == "")
    }

    @Test func theDefault() throws {
        let old = try parse(#"{"version":"1","default":"allow"}"#)
        let new = try parse(document(members: #""hide":["x"]"#))
        #expect(
            PolicyDiff(from: old, to: new).render() == """
                default: allow -> deny
                tool x: now hidden

                """)
    }

    @Test func folders() throws {
        let deny = #"{"version":"1","default":"deny"}"#
        let allow = #"{"version":"1","default":"allow"}"#
        let old = try folder([
            "a": deny, "b": deny, "gone": deny, "grants": #"{"ann":"a","bob":"b","carl":"a","*":"gone"}"#,
        ])
        let new = try folder([
            "a": allow, "b": deny, "new": deny, "grants": #"{"ann":"a","bob":"new","dora":"b","*":"a"}"#,
        ])
        #expect(
            PolicyDiff(from: old, to: new).render() == """
                a: default: deny -> allow
                document gone: removed
                document new: added
                grant bob: policy b -> new
                grant carl: removed, now policy a
                grant dora: added, policy b
                grant *: policy gone -> a

                """)
        #expect(PolicyDiff(from: old, to: old).isEmpty)
        let nobody = try folder(["a": deny, "b": deny, "gone": deny, "grants": #"{"ann":"a","bob":"b","*":"gone"}"#])
        #expect(PolicyDiff(from: old, to: nobody).lines == ["grant carl: removed, now policy gone"])
        let strangers = try folder(["a": deny, "b": deny, "gone": deny, "grants": #"{"ann":"a","bob":"b","carl":"a"}"#])
        #expect(PolicyDiff(from: old, to: strangers).lines == ["grant *: removed, now without a policy: denied"])
        let run = #"{"version":"1","default":"deny","tools":{"t":{"rate_limit":"1/minute"}}}"#
        let before = try folder(["a": run, "grants": #"{"*":"a"}"#])
        let own = try folder(["a": run, "grants": #"{"ann":{"policy":"a","max":{"/tools/t/rate_limit":5}},"*":"a"}"#])
        #expect(
            PolicyDiff(from: before, to: own).lines == [
                "grant ann: added, policy a with max of /tools/t/rate_limit 5"
            ])
    }

    @Test func fromOnePolicyToAFolderAndBack() throws {
        let text = #"{"version":"1","default":"deny"}"#
        let one = PolicySet(single: try parse(text))
        let many = try folder(["a": text, "grants": #"{"*":"a"}"#])
        #expect(
            PolicyDiff(from: one, to: many).lines == [
                "policies: one for all grants -> documents by grant", "document a: added", "grant *: added, policy a",
            ])
        #expect(
            PolicyDiff(from: many, to: one).lines == [
                "policies: documents by grant -> one for all grants", "document a: removed",
                "grant *: removed, now the one policy",
            ])
    }

    private func policy(_ members: String) throws -> Policy {
        try parse(
            members.isEmpty ? #"{"version":"1","default":"deny"}"# : document(members: members), features: .all)
    }

    private func folder(_ files: [String: String]) throws -> PolicySet {
        try PolicySet.parse(files: files.map { ($0.key + ".json", Array($0.value.utf8)) })
    }
}
