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
    @Test(arguments: [1, 2, 3, 4] as [UInt64], [seedDocument, wholeLanguage])
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
        }
    }
}
