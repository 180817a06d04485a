import SluicePolicy
import Testing

/// Documents that extend others, and grants with maxima of their own.
@Suite struct ExtendsTests {
    private static let base = """
        {"version":"1","default":"deny","on_deny":"Ask Ann.","hide":["old"],
         "all_tools":{"limits":[{"counter":"all","window":"day","max":100}]},
         "groups":{"g":{"tools":["search"],"limits":[{"counter":"c","window":"day","max":9}]}},
         "tools":{"search":{"rate_limit":"10/minute"},"run":{}},
         "servers":{"git":{"default":"allow","tools":{"push":{"action":"deny"}}}}}
        """

    private static func parse(_ files: [String: String]) throws(PolicySetFaults) -> PolicySet {
        try PolicySet.parse(files: files.map { ($0.key, Array($0.value.utf8)) }, folder: "p")
    }

    private static func lines(_ files: [String: String]) -> [String] {
        do throws(PolicySetFaults) {
            _ = try parse(files)
            return []
        } catch {
            return error.description.split(separator: "\n").map(String.init)
        }
    }

    @Test func whatADocumentHasOfItsBase() throws {
        let policies = try Self.parse(
            [
                "base.json": Self.base,
                "child.json": """
                {"version":"1","extends":"base","hide":["new"],"tools":{"run":{"action":"deny"},"ask":{}},
                 "servers":{"git":{"tools":{"log":{"rate_limit":"1/day"}}},"*":{}}}
                """,
                "grandchild.json": #"{"version":"1","extends":"child","default":"allow","on_deny":"x","all_tools":{}}"#
                    .replacing(#""on_deny":"x","#, with: ""),
                "grants.json": #"{"*":"child"}"#,
            ].filter { $0.key != "grandchild.json" })
        let child = try #require(policies.documents["child"])
        #expect(child.defaultRuling == .deny && child.onDeny == "Ask Ann." && child.hidden == ["old", "new"])
        #expect(child.tools.keys.sorted() == ["ask", "run", "search"] && child.tools["run"]?.action == .deny)
        #expect(child.allToolsLimits.count == 1 && child.groups.count == 1)
        #expect(child.servers.keys.sorted() == ["*", "git"])
        #expect(child.servers["git"]?.tools.keys.sorted() == ["log", "push"])
        // Where it is shown it is whole.
        let text = PolicyDocument.text(of: child)
        #expect(!text.contains("extends") && text.contains("search"))
    }

    @Test func severalOneBehindTheOther() throws {
        var files = ["d0.json": Self.base, "grants.json": #"{"*":"d0"}"#]
        for number in 1...PolicyBounds.maxExtends {
            files["d\(number).json"] =
                #"{"version":"1","extends":"d\#(number - 1)","tools":{"t\#(number)":{}}}"#
        }
        let deepest = try #require(try Self.parse(files).documents["d\(PolicyBounds.maxExtends)"])
        #expect(deepest.tools.count == 2 + PolicyBounds.maxExtends)
        files["x.json"] = #"{"version":"1","extends":"d\#(PolicyBounds.maxExtends)"}"#
        #expect(
            Self.lines(files) == [
                #"p/x.json:1:26: /extends: found "d8", expected at most 8 documents one behind the other"#
            ])
    }

    @Test(
        arguments: [
            (
                ["a.json": #"{"version":"1","extends":"b"}"#, "b.json": #"{"version":"1","extends":"a"}"#],
                [#"p/b.json:1:26: /extends: found "a", expected a document that does not extend this one"#]
            ),
            (
                ["a.json": #"{"version":"1","extends":"a"}"#],
                [#"p/a.json:1:26: /extends: found "a", expected a document that does not extend this one"#]
            ),
            (
                ["a.json": #"{"version":"1","extends":"bose"}"#, "base.json": base],
                [#"p/a.json:1:26: /extends: found "bose", expected "a" or "base"; did you mean "base"?"#]
            ),
            (
                ["a.json": #"{"version":"1","extends":7}"#],
                [#"p/a.json:1:26: /extends: found 7, expected "a""#]
            ),
            // What does not fit together is where it says so.
            (
                ["a.json": #"{"version":"1","extends":"base","default":"allow"}"#, "base.json": base],
                [
                    #"p/a.json:1:26: /on_deny: found "on_deny" with the default "allow", expected it only with the default "deny", whose message it is"#
                ]
            ),
            // The faults of a base are told once.
            (
                ["a.json": #"{"version":"1","extends":"b"}"#, "b.json": #"{"version":"1","default":"dney"}"#],
                [#"p/b.json:1:26: /default: found "dney", expected "allow" or "deny"; did you mean "deny"?"#]
            ),
            (
                ["a.json": #"{"version":"1","extends":"b"}"#, "b.json": "{"],
                ["p/b.json:1:2: found the end of the document, expected a key in double quotes, or '}'"]
            ),
        ] as [([String: String], [String])])
    func faults(files: [String: String], lines: [String]) {
        #expect(Self.lines(files.merging(["grants.json": "{}"]) { first, _ in first }) == lines)
    }

    @Test func onlyInAFolder() {
        #expect(
            faultLines(#"{"version":"1","default":"deny","extends":"base"}"#) == [
                #"policy.json:1:33: /extends: found "extends", expected it only in a folder of documents, as with --policies"#
            ])
        #expect(faultLines(#"{"version":"1","default":"deny","$schema":"policy.schema.json"}"#) == [])
    }

    // MARK: - Maxima of grants

    private static func limits(_ grants: String) -> [String: String] {
        [
            "standard.json": """
            {"version":"1","default":"deny","tools":{
              "search":{"limits":[{"counter":"rate","window":"minute","max":10},
                                  {"counter":"bucket","window":"minute","max":5,"algorithm":"token_bucket"},
                                  {"counter":"log","window":"minute","max":5,"algorithm":"sliding_log"}]},
              "git_*":{"each_tool":true,"rate_limit":"7/minute"}}}
            """,
            "grants.json": grants,
        ]
    }

    @Test func aGrantsMaxima() throws {
        let policies = try Self.parse(
            Self.limits(
                #"{"*":"standard","big-*":{"policy":"standard","max":{"/tools/search/limits/rate":50,"#
                    + #""/tools/search/limits/bucket":20,"/tools/git_*/rate_limit":70}}}"#))
        let rates = { (grant: String, tool: String) in
            policies.ruling(forGrant: grant, tool: tool).limits.map { [$0.max, $0.burst ?? -1] }
        }
        #expect(rates("small", "search") == [[10, -1], [5, 5], [5, -1]])
        #expect(rates("big-one", "search") == [[50, -1], [20, 20], [5, -1]])
        #expect(rates("big-one", "git_log") == [[70, -1]])
        #expect(policies.policy(forGrant: "big-one")?.tools["search"]?.limits.map(\.max) == [50, 20, 5])
        #expect(
            policies.limits(forGrant: "big-one", in: .tool("git_log")).map(\.max) == [70]
                && policies.limits(forGrant: "small", in: .tool("search")).map(\.max) == [10, 5, 5])
        let written = policies.files.map { (name: $0.name, bytes: Array($0.text.utf8)) }
        #expect(try PolicySet.parse(files: written) == policies)
        #expect(
            PolicySetSummary(policies, file: "p").render().contains(
                "big-*  standard with max of /tools/git_*/rate_limit 70, /tools/search/limits/bucket 20, /tools/search/limits/rate 50\n"
            ))
        let before = try Self.parse(Self.limits(#"{"*":"standard","big-*":"standard"}"#))
        #expect(
            PolicyDiff(from: before, to: policies).lines == [
                "grant big-*: max of /tools/git_*/rate_limit as its policy -> 70",
                "grant big-*: max of /tools/search/limits/bucket as its policy -> 20",
                "grant big-*: max of /tools/search/limits/rate as its policy -> 50",
            ])
    }

    @Test(
        arguments: [
            (#"{"a":{"max":{}}}"#, #"1:6: /a: found no "policy", expected "policy": "standard""#),
            (
                #"{"a":{"policy":"standard","max":{"/tools/search/limits/rat":1}}}"#,
                #"1:34: /a/max/~1tools~1search~1limits~1rat: found "/tools/search/limits/rat", expected the path of a limit in standard.json; did you mean "/tools/search/limits/rate"?"#
            ),
            (
                #"{"a":{"policy":"standard","max":{"/tools/search/limits/log":1025}}}"#,
                #"1:61: /a/max/~1tools~1search~1limits~1log: found 1025, expected a whole number from 0 to 1024"#
            ),
            (
                #"{"a":{"policy":"standard","maxima":{}}}"#,
                #"1:27: /a/maxima: found the unknown key "maxima", expected "policy" or "max""#
            ),
            (
                #"{"a":{"policy":"standrd"}}"#,
                #"1:16: /a/policy: found "standrd", expected "standard"; did you mean "standard"?"#
            ),
        ])
    func faultsOfMaxima(grants: String, line: String) {
        #expect(Self.lines(Self.limits(grants)) == ["p/grants.json:" + line])
    }
}
