import SluicePolicy
import Testing

@Suite struct PolicySetTests {
    private static let allowing = #"{"version":"1","default":"allow"}"#
    private static let denying = #"{"version":"1","default":"deny"}"#

    @Test func grantsByNameAndAllOthers() throws {
        let policies = try parse([
            "open.json": Self.allowing, "shut.json": Self.denying, "unused.json": Self.denying,
            "grants.json": #"{"alice":"shut","*":"open"}"#,
        ])
        #expect(policies.policy(forGrant: "alice")?.defaultRuling == .deny)
        #expect(policies.policy(forGrant: "bob")?.defaultRuling == .allow)
        #expect(policies.policy(forGrant: "*")?.defaultRuling == .allow)
        #expect(policies.ruling(forGrant: "bob", tool: "x") == .count(rule: "(default allow)", limits: []))
        #expect(policies.documents.count == 3)
        #expect(policies.policies.count == 3)
        #expect(policies.single == nil)
    }

    @Test func grantsWithoutAPolicyAreDenied() throws {
        for grants in ["{}", #"{"alice":"open"}"#] {
            let policies = try parse(["open.json": Self.allowing, "grants.json": grants])
            #expect(policies.policy(forGrant: "bob") == nil)
            #expect(
                policies.ruling(forGrant: "bob", tool: "x")
                    == .deny(rule: "(no policy)", message: "This grant has no policy, so no tool is allowed."))
        }
    }

    @Test func onePolicyIsEverybodys() throws {
        let policy = try SluicePolicyTests.parse(Self.allowing)
        let policies = PolicySet(single: policy)
        #expect(policies.policy(forGrant: "anybody") == policy)
        #expect(policies.single == policy)
        #expect(Array(policies.policies) == [policy])
    }

    @Test func otherFilesAreLeftAlone() throws {
        let policies = try parse([
            "open.json": Self.allowing, "grants.json": #"{"*":"open"}"#, "README": "", "open.json~": "{",
            ".hidden.json": "{",
        ])
        #expect(Array(policies.documents.keys) == ["open"])
    }

    @Test func featuresReachTheDocuments() throws {
        let files = [
            "a.json": document(limit: #"{"counter":"c","max":1,"window":"week"}"#), "grants.json": #"{"*":"a"}"#,
        ]
        #expect(try parse(files, features: .all).policy(forGrant: "x")?.tools.count == 1)
        #expect(lines(files).count == 1)
    }

    private static let mapping = #"an object that maps each grant, or "*", to the name of a document here"#

    @Test(
        arguments: [
            (["open.json": allowing], ["p/grants.json:1:1: found no such file, expected \(mapping)"]),
            ([:], ["p/grants.json:1:1: found no such file, expected \(mapping)"]),
            (
                ["open.json": allowing, "grants.json": "[]"],
                ["p/grants.json:1:1: found an empty array, expected \(mapping)"]
            ),
            (
                ["open.json": allowing, "grants.json": "{"],
                ["p/grants.json:1:2: found the end of the document, expected a key in double quotes, or '}'"]
            ),
            (
                ["open.json": allowing, "shut.json": denying, "grants.json": "{\n\"alice\":\"shot\"}"],
                [#"p/grants.json:2:9: /alice: found "shot", expected "open" or "shut"; did you mean "shut"?"#]
            ),
            (
                ["open.json": allowing, "grants.json": #"{"a/b":"open.json"}"#],
                [#"p/grants.json:1:8: /a~1b: found "open.json", expected "open"; did you mean "open"?"#]
            ),
            (
                ["grants.json": #"{"a":"b"}"#],
                [#"p/grants.json:1:6: /a: found "b", expected the name of a document here, without ".json""#]
            ),
            (
                ["open.json": allowing, "grants.json": #"{"*":7,"":"open"}"#],
                [
                    #"p/grants.json:1:6: /*: found 7, expected "open""#,
                    "p/grants.json:1:8: /: found an empty name, expected the name of a grant, 1 to 256 bytes",
                ]
            ),
            (
                ["open.json": allowing, "grants.json": #"{"*":"open","a-*":"open","who?":"open","*-a":"open"}"#],
                [
                    "p/grants.json:1:26: /who?: `who?` is not supported yet: a pattern has only *, for any number of"
                        + " characters",
                    #"p/grants.json:1:40: /*-a: found "*-a" beside "a-*", expected more characters in one of them: a"#
                        + " grant may match both, and neither takes precedence",
                ]
            ),
            (
                ["open.json": allowing, "grants.json": #"{"a":"open","a":"open"}"#],
                [#"p/grants.json:1:13: /a: found a second "a", expected each key once (the first is at 1:2)"#]
            ),
            // The document cannot be read, but it is there.
            (
                ["b.json": #"{"version":"1"}"#, "a.json": "1", "grants.json": #"{"x":"a","y":"c"}"#],
                [
                    #"p/a.json:1:1: found 1, expected a policy: an object with "version" and "default""#,
                    #"p/b.json:1:1: found no "default", expected "default": "allow" or "deny""#,
                    #"p/grants.json:1:14: /y: found "c", expected "a" or "b""#,
                ]
            ),
        ] as [([String: String], [String])])
    func faultsOfAllFilesAtOnce(files: [String: String], expected: [String]) {
        #expect(lines(files) == expected)
    }

    @Test func aLongListIsNotCountedUp() {
        var files = Dictionary(uniqueKeysWithValues: (0..<6).map { ("team\($0).json", Self.denying) })
        files["grants.json"] = #"{"a":"taem3"}"#
        #expect(
            lines(files) == [
                #"p/grants.json:1:6: /a: found "taem3", expected the name of a document here, without ".json"; did you mean "team3"?"#
            ])
    }

    @Test func tooManyDocuments() {
        var files = Dictionary(
            uniqueKeysWithValues: (0...PolicyBounds.maxDocuments).map { ("\($0).json", Self.denying) })
        files["grants.json"] = "{}"
        #expect(lines(files) == ["p:1:1: found 1001 documents, expected at most 1000 in one folder"])
    }

    @Test func foldersAreNamedAsTheyAreGiven() {
        for (folder, file) in [("", "grants.json"), ("/etc/p/", "/etc/p/grants.json"), ("p", "p/grants.json")] {
            do throws(PolicySetFaults) {
                _ = try PolicySet.parse(files: [], folder: folder)
                Issue.record("accepted")
            } catch {
                #expect(error.files.map(\.file) == [file])
            }
        }
    }

    /// Looking one up among hundreds of names is not done for each of thousands of faults.
    @Test func fewNearestNamesAreLookedUp() {
        var files = Dictionary(uniqueKeysWithValues: (0..<50).map { ("document_\($0).json", Self.denying) })
        files["grants.json"] = "{" + (0..<500).map { #""g\#($0)":"docment_1""# }.joined(separator: ",\n") + "}"
        let lines = lines(files)
        #expect(lines.last == "p/grants.json: 400 more faults")
        #expect(lines.filter { $0.hasSuffix("did you mean \"document_1\"?") }.count == PolicyBounds.maxSuggestions)
    }

    private func parse(
        _ files: [String: String], features: PolicyFeatures = []
    ) throws(PolicySetFaults) -> PolicySet {
        try PolicySet.parse(files: files.map { ($0.key, Array($0.value.utf8)) }, folder: "p", features: features)
    }

    private func lines(_ files: [String: String]) -> [String] {
        do throws(PolicySetFaults) {
            _ = try parse(files)
            return []
        } catch {
            return error.description.split(separator: "\n").map(String.init)
        }
    }
}
