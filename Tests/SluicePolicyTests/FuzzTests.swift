import SluicePolicy
import Testing

/// Whatever the bytes, parsing ends with a policy or with faults, each on one line; a crash fails the run.
@Suite struct FuzzTests {
    @Test func everyTruncationOfTheSeedDocumentIsAFault() throws {
        let whole = Array(seedDocument.utf8)
        let end = try #require(whole.lastIndex(of: UInt8(ascii: "}")))
        for length in 0...end {
            #expect(faultLines(Array(whole[..<length])).count == 1, "cut at \(length)")
        }
        #expect(faultLines(Array(whole[...end])) == [])
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func randomBytesNeverCrash(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<2_000 {
            let bytes = (0..<Int.random(in: 0...80, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let lines = faultLines(bytes)
            #expect(lines.count == 1, "seed \(seed): \(bytes)")
        }
    }

    /// Tokens of JSON and of policies in any order come further into the parser than bytes do.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func randomTokensNeverCrash(seed: UInt64) {
        let tokens = [
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "d83d", "\\ude00", "\n", "\r", " ", "1", "-", ".5", "e9",
            "0",
            "true", "null", "\"version\":\"1\"", "\"default\":\"deny\"", "\"tools\":{", "\"x\":{", "\"limits\":[",
            "\"counter\":", "\"max\":", "\"window\":", "é", "\u{202E}",
        ]
        var random = SeededRandom(seed: seed)
        for _ in 0..<2_000 {
            let text = (0..<Int.random(in: 1...30, using: &random)).map { _ in tokens.randomElement(using: &random)! }
            let lines = faultLines(text.joined())
            #expect(lines.allSatisfy { $0.hasPrefix("policy.json:") }, "seed \(seed): \(text)")
        }
    }

    /// A right document with a few bytes changed, removed or doubled is refused or means something; never a crash.
    @Test(arguments: [1, 2, 3, 4] as [UInt64], [seedDocument, wholeLanguage, wholeRules])
    func mutatedDocumentsNeverCrash(seed: UInt64, document: String) {
        let whole = Array(document.utf8)
        var random = SeededRandom(seed: seed)
        for _ in 0..<500 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: bytes.indices, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                default: bytes.insert(bytes[index], at: index)
                }
            }
            let lines = faultLines(bytes, features: .all)
            #expect(lines.allSatisfy { $0.hasPrefix("policy.json:") }, "seed \(seed): \(bytes)")
            guard lines.isEmpty, let policy = try? PolicyDocument.parse(bytes, file: "", features: .all) else {
                continue
            }
            Self.use(policy)
        }
    }

    /// Everything that a policy is asked.
    private static func use(_ policy: Policy) {
        for server in [nil, "git", "x"] {
            for tool in ["search", "fetch_1", "deploy", "a_1", "x"] {
                let ruling = policy.ruling(forTool: tool, server: server)
                for limit in ruling.limits {
                    #expect(policy.limits(in: limit.container).contains { $0.rule == limit.rule }, "\(limit)")
                }
                if case .within(let hours, _, _) = ruling { _ = hours.stretch(atMs: 1_700_000_000_000) }
            }
        }
        let text = PolicyDocument.text(of: policy)
        #expect((try? PolicyDocument.parse(text.utf8, file: "", features: .all)) == policy, "\(text)")
        _ = PolicySummary(policy, file: "p").render(advises: true)
    }

    /// Folders whose documents extend each other in any way end with policies or with faults.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func randomFoldersEnd(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<100 {
            var files = [(name: "grants.json", bytes: Array(#"{"*":"d0"}"#.utf8))]
            for number in 0..<12 {
                let base = Int.random(in: 0..<14, using: &random)
                let extends = Bool.random(using: &random) ? #""extends":"d\#(base)","# : #""default":"deny","#
                files.append(("d\(number).json", Array(#"{"version":"1",\#(extends)"tools":{"t\#(number)":{}}}"#.utf8)))
            }
            do throws(PolicySetFaults) {
                let policies = try PolicySet.parse(files: files)
                #expect(policies.documents.count == 12)
            } catch {
                #expect(!error.files.isEmpty)
            }
        }
    }
}
