import StoreModel
import SluicePolicy
import Testing

@testable import SluiceEngine

@Suite struct CounterKeyTests {
    private struct Name: Hashable {
        var grant: [UInt8]
        var tool: [UInt8]?
        var counter: [UInt8]
        var session: [UInt8]?
        var seconds: Int64

        init(_ grant: String, _ tool: String?, _ counter: String, _ session: String? = nil, _ seconds: Int64 = 60) {
            self.grant = Array(grant.utf8)
            self.tool = tool.map { Array($0.utf8) }
            self.counter = Array(counter.utf8)
            self.session = session.map { Array($0.utf8) }
            self.seconds = seconds
        }
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private func baseKey(_ name: Name, prefix: String = "sluice") -> [UInt8] {
        CounterKey.baseKey(
            prefix: prefix,
            limit: StoreModel.limit(
                text(name.counter), max: 1, per: name.seconds, of: name.tool.map(text),
                scope: name.session == nil ? .grant : .session),
            identity: Identity.Parts(grant: name.grant, tool: "t", approved: false, session: name.session))
    }

    /// A key is printable ASCII that needs no escaping, with one pair of braces, around the grant alone; and it reads
    /// back as its parts.
    private func expectRoundTrip(_ name: Name) {
        let startMs = 1_700_000_040_000 / (name.seconds * 1000) * (name.seconds * 1000)
        let bytes = baseKey(name) + Array(String(startMs).utf8)
        expectQuickly(bytes.allSatisfy { $0 > 0x20 && $0 < 0x7f }, text(bytes))
        let braces = bytes.filter { $0 == UInt8(ascii: "{") || $0 == UInt8(ascii: "}") }
        expectQuickly(braces == Array("{}".utf8), text(bytes))
        guard let key = CounterKey(bytes, prefix: "sluice") else {
            Issue.record("\(text(bytes)) does not read back")
            return
        }
        let parts = key.grant.map { Array($0.utf8) } == name.grant && key.tool.map { Array($0.utf8) } == name.tool
        let rest =
            Array(key.counter.utf8) == name.counter
            && key.subject == (name.session.map { .session(text($0)) } ?? .grant)
        expectQuickly(parts && rest, "\(text(bytes)) reads back as \(key)")
        expectQuickly(key.window == .seconds(name.seconds) && key.windowStartMs == startMs, text(bytes))
    }

    @Test func reads() {
        #expect(
            text(baseKey(Name("alice-laptop", "opencode_run", "rate")))
                == "sluice:1:{alice-laptop}:opencode_run:rate:fixed_window:60s:")
        #expect(text(baseKey(Name("g", nil, "c", nil, 1))) == "sluice:1:{g}:all_tools:c:fixed_window:1s:")
        #expect(text(baseKey(Name("g", "all_tools", "c"))) == "sluice:1:{g}:all%5Ftools:c:fixed_window:60s:")
        #expect(text(baseKey(Name("é", "t", "c", "s"))) == "sluice:1:{%C3%A9}:t:c;session=s:fixed_window:60s:")
        #expect(text(CounterKey.grantPrefix(prefix: "p", grant: "a:b".utf8)) == "p:1:{a%3Ab}:")
        #expect(text(CounterKey.prefix("p")) == "p:1:{")
    }

    private static let nasty = [
        "a", "all_tools", "all%5Ftools", "%", "%25", "%2", "{", "}", "{}", "a}:b", ":", "a:b", ";", ";session=",
        "a;session=b", "session=", "fixed_window", "60s", " ", "\n", "\r\n", "\u{1}", "\u{7f}", "é", "e\u{301}",
        "\u{1F600}", "👩‍👩‍👧", "\u{301}", "\u{FEFF}", "*", "?", "[a]", "\\", "\"", "+", "~", "-._",
        String(repeating: "x", count: 256), String(repeating: "%", count: 256), String(repeating: "é", count: 128),
    ]

    /// Every nasty name in every place: all keys read back, and no two are alike.
    @Test func nastyNamesNeverCollide() {
        var names: Set<Name> = []
        for one in Self.nasty {
            for other in Self.nasty {
                names.insert(Name(one, other, "c"))
                names.insert(Name(one, nil, other))
                names.insert(Name("g", one, other))
                names.insert(Name("g", "t", one, other))
                names.insert(Name(one, "t", "c", other))
            }
        }
        for name in names { expectRoundTrip(name) }
        #expect(Set(names.map { baseKey($0) }).count == names.count)
        let keys = names.compactMap { CounterKey(baseKey($0) + [UInt8(ascii: "0")], prefix: "sluice") }
        #expect(Set(keys).count == names.count)
    }

    @Test func randomNamesNeverCollide() {
        let alphabet: [Unicode.Scalar] = ["a", ":", "{", "}", "%", ";", "=", "_", "2", "5", "é", "\u{301}", "😀", "\n"]
        var random = SeededRandom(seed: 11)
        var seen: [[UInt8]: Name] = [:]
        func word() -> String {
            var text = String.UnicodeScalarView()
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                text.append(alphabet.randomElement(using: &random) ?? "a")
            }
            return String(text)
        }
        for _ in 0..<20_000 {
            let name = Name(
                word(), Int.random(in: 0...3, using: &random) == 0 ? nil : word(), word(),
                Bool.random(using: &random) ? word() : nil, Int64.random(in: 1...3, using: &random))
            let other = seen.updateValue(name, forKey: baseKey(name)) ?? name
            expectQuickly(other == name, "\(other) and \(name) are alike")
            expectRoundTrip(name)
        }
    }

    @Test func aSessionCountsOnlyWhereTheLimitSaysSo() {
        let limit = StoreModel.limit(max: 1)
        let one = Identity.Parts(grant: [1], tool: "t", approved: false, session: [2], server: [3])
        let other = Identity.Parts(grant: [1], tool: "t", approved: false)
        #expect(
            CounterKey.baseKey(prefix: "p", limit: limit, identity: one)
                == CounterKey.baseKey(prefix: "p", limit: limit, identity: other))
    }

    /// Keys of other programs in the store are not taken for counters, and do no harm.
    @Test(arguments: [
        "", "sluice", "sluice:1:{", "sluice:1:{g}", "sluice:1:{g}:t:c:fixed_window:60s",
        "other:1:{g}:t:c:fixed_window:60s:0",
        "sluice:2:{g}:t:c:fixed_window:60s:0", "sluice:1:{g:t:c:fixed_window:60s:0", "sluice:1:{g}:t:c:gcra:60s:0",
        "sluice:1:{g}:t:c:fixed_window:60:0", "sluice:1:{g}:t:c:fixed_window:0s:0",
        "sluice:1:{g}:t:c:fixed_window:-1s:0",
        "sluice:1:{g}:t:c:fixed_window:+60s:0", "sluice:1:{g}:t:c:fixed_window:60s:-60000",
        "sluice:1:{g}:t:c:fixed_window:60s:+60000", "sluice:1:{g}:t:c:fixed_window:060s:0",
        "sluice:1:{g}:t:c:fixed_window:60s:x", "sluice:1:{g}:t:c:fixed_window:60s:0:0",
        "sluice:1:{%}:t:c:fixed_window:60s:0",
        "sluice:1:{%4}:t:c:fixed_window:60s:0", "sluice:1:{%+F}:t:c:fixed_window:60s:0",
        "sluice:1:{%41}:t:c:fixed_window:60s:0",
        "sluice:1:{%c3%a9}:t:c:fixed_window:60s:0", "sluice:1:{%FF}:t:c:fixed_window:60s:0",
        "sluice:1:{g}:t:;session=s:fixed_window:60s:0", "sluice:1:{g}:t:c;:fixed_window:60s:0",
        "sluice:1:{g}:t:c;other=s:fixed_window:60s:0", "sluice:1:{g}:t:c;session=a;session=b:fixed_window:60s:0",
        "sluice:1:{g}:t:c:fixed_window:9223372036854775807s:0", "sluice:1:{g}:t:c:fixed_window:60s:9223372036854775800",
        "sluice:1:{g}:t:c:fixed_window:60s:1", "sluice:1:{é}:t:c:fixed_window:60s:0",
        "sluice:1:{\u{301}g}:t:c:fixed_window:60s:0",
        "sluice:1:{g}:all_tool%73:c:fixed_window:60s:0",
    ])
    func foreignKeys(_ text: String) { #expect(CounterKey(text.utf8, prefix: "sluice") == nil) }

    @Test func bytesThatAreNoText() {
        #expect(CounterKey([0xFF, 0xFE], prefix: "sluice") == nil)
        #expect(
            CounterKey(Array("sluice:1:{".utf8) + [0xFF] + Array("}:t:c:fixed_window:60s:0".utf8), prefix: "sluice")
                == nil)
    }

    @Test func otherPrefixes() {
        let name = Name("g", "t", "c")
        #expect(CounterKey(baseKey(name, prefix: "a:b") + [48], prefix: "a:b")?.grant == "g")
        #expect(CounterKey(baseKey(name, prefix: "a:b") + [48], prefix: "a") == nil)
    }

    @Test func decimals() {
        for number in [0, 1, 9, 10, 99, 100, 1_700_000_040_000, Int64.max] {
            var bytes: [UInt8] = []
            appendDecimal(number, to: &bytes)
            #expect(text(bytes) == String(number))
        }
    }
}
