import SluicePolicy
import Testing

/// A policy that is written as a document again means the same.
@Suite struct PolicyTextTests {
    private static let others = [
        seedDocument, wholeLanguage, wholeRules,
        #"{"version":"1","default":"allow","hide":"*"}"#,
        #"{"version":"1","default":"allow","hide":["*","a\"\\b\u0001\u202e日本"]}"#,
        // The order of the limits is kept.
        document(
            tool: #"{"limits":[{"counter":"c","max":1,"window":1}],"rate_limit":"1/s"}"#.replacing("/s", with: "/1s")),
        document(tool: #"{"rate_limit":"1/day","limits":[{"counter":"c","max":1,"window":1}]}"#),
        // The message of an allowed tool is that of its limits.
        document(
            tool: #"{"reason":"No.","rate_limit":"1/day","limits":[{"counter":"c","max":1,"window":1,"on_deny":"N"}]}"#),
        // Names that look like paths.
        #"{"version":"1","default":"deny","tools":{"limits":{"rate_limit":"1/day"},"a/b~":{"rate_limit":"1/day"}}}"#,
        document(limit: #"{"counter":"rate_limit","max":1,"window":1,"scope":"session"}"#),
        document(limit: #"{"counter":"c","max":0,"window":1,"algorithm":"token_bucket"}"#),
    ]

    @Test(arguments: others + KeyTable.rows.map(\.document))
    func aDocument(text: String) throws {
        let policy = try parse(text, features: .all)
        let written = PolicyDocument.text(of: policy)
        #expect(try parse(written, features: .all) == policy, "\(written)")
        #expect(PolicyDocument.text(of: try parse(written, features: .all)) == written)
    }

    @Test func itReadsWell() throws {
        #expect(
            PolicyDocument.text(of: try parse(seedDocument)) == """
                {
                  "version": "1",
                  "default": "deny",
                  "tools": {
                    "opencode_run": {"limits": [
                      {"counter": "opencode_run_rate", "window": 60, "max": 10}
                    ]}
                  }
                }

                """)
    }

    @Test func aFolder() throws {
        let files = [
            ("a b.json", Array(wholeLanguage.utf8)), ("unused.json", Array(seedDocument.utf8)),
            ("grants.json", Array(#"{"an\"n":"a b","*":"a b"}"#.utf8)),
        ]
        let policies = try PolicySet.parse(files: files, features: .all)
        let written = policies.files.map { (name: $0.name, bytes: Array($0.text.utf8)) }
        #expect(written.map(\.name) == ["grants.json", "a b.json", "unused.json"])
        #expect(try PolicySet.parse(files: written, features: .all) == policies)

        let nobody = try PolicySet.parse(files: [("grants.json", Array("{}".utf8))])
        #expect(try PolicySet.parse(files: nobody.files.map { ($0.name, Array($0.text.utf8)) }) == nobody)
        #expect(PolicySet(single: try parse(seedDocument)).files.map(\.name) == ["policy.json"])
    }
}
