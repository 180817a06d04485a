import Foundation
import SluicePolicy
import Testing

/// The table of keys is the language, and its page has all of it.
@Suite struct ReferenceTests {
    @Test(arguments: KeyTable.rows)
    func everyExampleIsAccepted(row: KeyRow) {
        #expect(faultLines(row.document, features: .all) == [])
        #expect(row.document.contains("\"\(row.key)\":"))
    }

    /// What a fault says is known is what the table has.
    @Test func theTableIsTheLanguage() throws {
        for probe in KeyTable.probes {
            let line = try #require(faultLines(probe.document, features: .all).first)
            let known = Self.quotedWords(try Self.expectation(line))
            let rows = KeyTable.rows.filter { $0.object == probe.object }
            if let key = probe.key {
                #expect(Set(rows.filter { $0.key == key }.compactMap(\.word)) == Set(known), "\(line)")
            } else {
                let keys = Set(rows.map(\.key))
                #expect(keys == Set(known), "\(line)")
            }
        }
    }

    // MARK: - The README

    @Test func theReadmeTellsEveryKeyAndWord() throws {
        let section = try Self.section()
        for row in KeyTable.rows {
            #expect(Self.mentions(row.key, section), "\(row.key)")
            if let word = row.word { #expect(Self.mentions(word, section), "\(row.key): \(word)") }
        }
    }

    /// An example with `version` is a whole document, any other is one limit. Each is accepted as it stands, but for one of
    /// which the sentence in front of it says what it needs.
    @Test func theReadmesExamplesAreAccepted() throws {
        let examples = try Self.blocks("json")
        #expect(examples.count >= 4)
        let needing = try Self.section().components(separatedBy: "refused without `--arguments-checked-by-gateway`")
        try #require(needing.count == 2)
        for example in examples {
            let text = example.contains("\"version\"") ? example : document(limit: example)
            let accepts = { (isChecked: Bool) in
                faultLines(text, features: .supported(argumentsCheckedByGateway: isChecked)) == []
            }
            let needsFlag =
                needing[1].components(separatedBy: "```json\n").dropFirst().first?.hasPrefix(example) == true
            #expect(accepts(true) && accepts(false) == !needsFlag, "\(example)")
        }
    }

    /// The first is the policy of the examples.
    @Test func theFirstExampleIsTheOneThatIsThere() throws {
        let example = try parse(#require(Self.blocks("json").first))
        #expect(example == (try parse(Self.file("deploy/examples/policy.json"))))
    }

    /// What it says of two faults in the policy of the examples is what is said of them.
    @Test func theReadmesFaultsAreTheTrueOnes() throws {
        let example = try Self.file("deploy/examples/policy.json")
        let wrong = example.replacing("10,", with: "\"10\",").replacing("\"grant\"", with: "\"grants\"")
        let shown = try Self.blocks("console").joined().split(separator: "\n").filter { $0.hasPrefix("wrong.json:") }
        #expect(shown.count == 2)
        #expect(
            faultLines(wrong, features: .all) == shown.map { String($0).replacing("wrong.json", with: "policy.json") })
    }

    // MARK: - Reading

    /// What the page has between its marks.
    private static func section() throws -> String {
        let text = try file("Sources/SluicePolicy/README.md")
        let parts = text.components(separatedBy: "<!-- policy-reference -->\n")
        try #require(parts.count == 2, "one mark where the reference begins")
        let inner = parts[1].components(separatedBy: "<!-- /policy-reference -->")
        try #require(inner.count == 2, "one mark where it ends")
        return inner[0]
    }

    private static func file(_ name: String) throws -> String {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
        return try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
    }

    /// The fenced blocks of a language.
    private static func blocks(_ language: String) throws -> [String] {
        let parts = try section().components(separatedBy: "```")
        try #require(!parts.count.isMultiple(of: 2), "every fence is closed")
        return stride(from: 1, to: parts.count, by: 2).map { parts[$0] }
            .filter { $0.hasPrefix(language + "\n") }
            .map { String($0.dropFirst(language.count + 1)) }
    }

    private static func mentions(_ word: String, _ text: String) -> Bool {
        text.contains("`\(word)`") || text.contains("\"\(word)\"")
    }

    /// What comes behind "expected".
    private static func expectation(_ line: String) throws -> Substring {
        let parts = line.split(separator: ", expected ", maxSplits: 1)
        try #require(parts.count == 2, "\(line)")
        return parts[1].split(separator: "; did you mean")[0]
    }

    private static func quotedWords(_ text: Substring) -> [String] {
        let parts = text.components(separatedBy: "\"")
        return stride(from: 1, to: parts.count, by: 2).map { parts[$0] }
    }
}
