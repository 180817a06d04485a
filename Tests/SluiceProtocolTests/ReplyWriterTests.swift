import Foundation
import NIOCore
import SluiceProtocol
import Testing

@Suite struct ReplyWriterTests {
    static let allowed = DecisionFields(
        allowed: true, limit: 100, remaining: 99, retryAfterMs: 0, resetMs: 51_000, verdict: .allow,
        rule: "/tools/x/limits/rate", source: .shared)

    @Test func anAllowedCheckInRESP2() {
        #expect(
            written { $0.writeDecision(Self.allowed, to: &$1) }
                == "*9\r\n:1\r\n:100\r\n:99\r\n:0\r\n:51000\r\n$5\r\nallow\r\n$20\r\n/tools/x/limits/rate\r\n$6\r\nshared\r\n$0\r\n\r\n"
        )
    }

    /// What a client makes of a flat list is what RESP3 has as a map.
    @Test func withNamesInRESP2() {
        var output = ByteBuffer()
        var fields = Self.allowed
        let writer = ReplyWriter(version: .resp2, namesFields: true)
        writer.writeDecision(fields, to: &output)
        let map = written(.resp3) { $0.writeDecision(fields, to: &$1) }
        #expect(String(buffer: output) == map.replacing("%9\r\n", with: "*18\r\n", maxReplacements: 1))
        output.clear()
        fields.reservation = "r"
        fields.trace = []
        writer.writeDecision(fields, to: &output)
        #expect(String(buffer: output).hasPrefix("*22\r\n"))
        #expect(String(buffer: output).hasSuffix("$11\r\nreservation\r\n$1\r\nr\r\n$5\r\ntrace\r\n*0\r\n"))
    }

    /// The page's table has every code word, and says of each whether to try again.
    @Test func everyCodeWordIsOnThePage() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path
        let page = try String(contentsOfFile: "\(folder)/../../Sources/SluiceProtocol/README.md", encoding: .utf8)
        let rows = page.split(separator: "\n").compactMap { $0.firstMatch(of: #/^\| `([A-Z]+)` \|.*\| (yes|no)[ |]/#) }
        #expect(Set(rows.map { String($0.1) }) == Set(ErrorCode.allCases.map(\.rawValue)))
        #expect(rows.filter { $0.2 == "yes" }.map { String($0.1) } == ["BUSY"])
    }

    @Test func anAllowedCheckInRESP3() {
        #expect(
            written(.resp3) { $0.writeDecision(Self.allowed, to: &$1) }
                == "%9\r\n$7\r\nallowed\r\n:1\r\n$5\r\nlimit\r\n:100\r\n$9\r\nremaining\r\n:99\r\n$14\r\nretry_after_ms\r\n:0\r\n"
                + "$8\r\nreset_ms\r\n:51000\r\n$7\r\nverdict\r\n$5\r\nallow\r\n$4\r\nrule\r\n$20\r\n/tools/x/limits/rate\r\n"
                + "$6\r\nsource\r\n$6\r\nshared\r\n$7\r\nmessage\r\n$0\r\n\r\n")
    }

    @Test func aDeniedCheckWithEverything() {
        let fields = DecisionFields(
            allowed: false, limit: 0, remaining: 0, retryAfterMs: -1, resetMs: -1, verdict: .unavailable,
            rule: "(default deny)", source: .local, message: "Nein, ü.", reservation: "",
            trace: [TraceEntry(rule: "/all_tools/limits/a", windowStartMs: 1_785_000_000_000, used: 5, max: 4)])
        #expect(
            written { $0.writeDecision(fields, to: &$1) }
                == "*11\r\n:0\r\n:0\r\n:0\r\n:-1\r\n:-1\r\n$11\r\nunavailable\r\n$14\r\n(default deny)\r\n$5\r\nlocal\r\n"
                + "$9\r\nNein, ü.\r\n$0\r\n\r\n*1\r\n*4\r\n$19\r\n/all_tools/limits/a\r\n:1785000000000\r\n:5\r\n:4\r\n"
        )
        #expect(
            written(.resp3) { $0.writeDecision(fields, to: &$1) }.hasSuffix(
                "$7\r\nmessage\r\n$9\r\nNein, ü.\r\n$11\r\nreservation\r\n$0\r\n\r\n$5\r\ntrace\r\n*1\r\n*4\r\n"
                    + "$19\r\n/all_tools/limits/a\r\n:1785000000000\r\n:5\r\n:4\r\n"))
    }

    @Test func optionalElementsComeEachByItself() {
        var fields = Self.allowed
        fields.reservation = "0123456789abcdef0123456789abcdef"
        #expect(written { $0.writeDecision(fields, to: &$1) }.hasPrefix("*10\r\n"))
        #expect(written { $0.writeDecision(fields, to: &$1) }.hasSuffix("$32\r\n0123456789abcdef0123456789abcdef\r\n"))
        fields.reservation = nil
        fields.trace = []
        #expect(written(.resp3) { $0.writeDecision(fields, to: &$1) }.hasPrefix("%10\r\n"))
        #expect(written(.resp3) { $0.writeDecision(fields, to: &$1) }.hasSuffix("$5\r\ntrace\r\n*0\r\n"))
    }

    @Test(arguments: [
        (Int64(0), "Try again in 1 second."), (1, "Try again in 1 second."), (1000, "Try again in 1 second."),
        (1001, "Try again in 2 seconds."), (59_999, "Try again in 60 seconds."), (-5, "Try again in 1 second."),
        (120_000, "Try again in 120 seconds."), (120_001, "Try again in 3 minutes."),
        (180_000, "Try again in 3 minutes."), (180_001, "Try again in 4 minutes."),
        (7_200_000, "Try again in 120 minutes."), (7_200_001, "Try again in 3 hours."),
        (164_160_000, "Try again in 46 hours."), (172_800_000, "Try again in 48 hours."),
        (172_800_001, "Try again in 3 days."), (30 * 86_400_000, "Try again in 30 days."),
        (123_456_789_000, "Try again in 1429 days."),
        (.max, "Try again in 106751991168 days."),
    ]) func theWaitIsRoundedUp(_ waitMs: Int64, _ sentence: String) {
        for message in ["", "Too many runs."] {
            var fields = Self.allowed
            fields.message = message
            fields.waitMs = waitMs
            let text = message.isEmpty ? sentence : message + " " + sentence
            #expect(
                written { $0.writeDecision(fields, to: &$1) }.hasSuffix(
                    "$6\r\nshared\r\n$\(text.utf8.count)\r\n\(text)\r\n"))
        }
    }

    /// Where the message has a place for it, the wait is not appended.
    @Test(arguments: [
        ("In {retry_after} é.", "In 62 seconds é."), ("{retry_after}", "62 seconds"),
        ("é {retry_after}", "é 62 seconds"),
    ]) func theWaitHasAPlace(_ message: String, _ text: String) {
        var fields = Self.allowed
        fields.message = message
        fields.waitMs = 61_001
        let head = message.utf8.count - message.drop { $0 != "{" }.utf8.count
        fields.waitRange = head..<(head + 13)
        #expect(
            written { $0.writeDecision(fields, to: &$1) }.hasSuffix(
                "$6\r\nshared\r\n$\(text.utf8.count)\r\n\(text)\r\n"))
    }

    /// A lease is not given yet.
    @Test func theReadmesTableOfTheAnswerHasEveryWord() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../README.md")
        let lines = try String(contentsOf: path, encoding: .utf8).split(separator: "\n")
        let row = { (field: String) in try #require(lines.first { $0.contains("| `\(field)` | string |") }) }
        for source in ReplySource.allCases where source != .lease {
            #expect(try row("source").contains("`\(source.rawValue)`"), "\(source)")
        }
        for verdict in ReplyVerdict.allCases {
            #expect(try row("verdict").contains("`\(verdict.rawValue)`"), "\(verdict)")
        }
    }

    @Test(arguments: ReplyVerdict.allCases) func verdictsAreTheirRawValues(_ verdict: ReplyVerdict) {
        var fields = Self.allowed
        fields.verdict = verdict
        let word = verdict.rawValue
        #expect(written { $0.writeDecision(fields, to: &$1) }.contains("\r\n$\(word.utf8.count)\r\n\(word)\r\n$20\r\n"))
    }

    @Test(arguments: ReplySource.allCases) func sourcesAreTheirRawValues(_ source: ReplySource) {
        var fields = Self.allowed
        fields.source = source
        let word = source.rawValue
        #expect(
            written { $0.writeDecision(fields, to: &$1) }.hasSuffix("\r\n$\(word.utf8.count)\r\n\(word)\r\n$0\r\n\r\n"))
    }

    @Test func longTexts() {
        var fields = Self.allowed
        fields.rule = String(repeating: "r", count: 1000)
        fields.message = String(repeating: "m", count: 1024)
        let text = written { $0.writeDecision(fields, to: &$1) }
        #expect(text.hasSuffix("$1000\r\n\(fields.rule)\r\n$6\r\nshared\r\n$1024\r\n\(fields.message)\r\n"))
    }

    @Test func decisionsFollowEachOtherInOneBuffer() {
        var output = ByteBuffer()
        let writer = ReplyWriter(version: .resp2)
        var expected = ""
        for number in 0..<200 as Range<Int64> {
            var fields = Self.allowed
            fields.remaining = number
            writer.writeDecision(fields, to: &output)
            expected += written { $0.writeDecision(fields, to: &$1) }
        }
        #expect(String(buffer: output) == expected)
    }

    @Test(
        arguments: [
            0, 1, 9, 10, 99, 100, 12_345_678, 99_999_999, 100_000_000, 100_000_001, 1_000_000_000_000,
            9_999_999_999_999_999, 10_000_000_000_000_000, .max, .min, -1, -100_000_000,
        ] as [Int64]) func integers(_ value: Int64)
    {
        #expect(written { $0.writeInteger(value, to: &$1) } == ":\(value)\r\n")
    }

    @Test func simpleTypes() {
        #expect(written { $0.writeOK(to: &$1) } == "+OK\r\n")
        #expect(written { $0.writeSimpleString("a\r\nb", to: &$1) } == "+a  b\r\n")
        #expect(
            written { $0.writeError(.busy, "too many checks are waiting,\ntry again", to: &$1) }
                == "-BUSY too many checks are waiting, try again\r\n")
        #expect(written { $0.writeBulkString("é", to: &$1) } == "$2\r\né\r\n")
        #expect(written { $0.writeArrayHeader(3, to: &$1) } == "*3\r\n")
    }

    @Test func typesThatDifferByVersion() {
        #expect(written(.resp2) { $0.writeNull(to: &$1) } == "$-1\r\n")
        #expect(written(.resp3) { $0.writeNull(to: &$1) } == "_\r\n")
        #expect(written(.resp2) { $0.writeMapHeader(2, to: &$1) } == "*4\r\n")
        #expect(written(.resp3) { $0.writeMapHeader(2, to: &$1) } == "%2\r\n")
        #expect(written(.resp2) { $0.writeSetHeader(2, to: &$1) } == "*2\r\n")
        #expect(written(.resp3) { $0.writeSetHeader(2, to: &$1) } == "~2\r\n")
        #expect(written(.resp2) { $0.writeText("ab", to: &$1) } == "$2\r\nab\r\n")
        #expect(written(.resp3) { $0.writeText("ab", to: &$1) } == "=6\r\ntxt:ab\r\n")
    }
}
