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

    private func baseKey(_ name: Name, in keys: KeySpace = "sluice") -> [UInt8] {
        CounterKey.baseKey(
            in: keys,
            limit: StoreModel.limit(
                text(name.counter), max: 1, per: name.seconds, of: name.tool.map(text),
                scope: name.session == nil ? .grant : .session),
            identity: Identity.Parts(grant: name.grant, tool: "t", approved: false, session: name.session))
    }

    /// A key is printable ASCII that needs no escaping, with one pair of braces, around the grant alone; and it reads
    /// back as its parts.
    private func expectRoundTrip(_ name: Name) {
        let startMs = 1_700_000_040_000 / (name.seconds * 1000) * (name.seconds * 1000)
        let bytes = CounterKey.key(baseKey(name), window: .seconds(name.seconds), startMs: startMs)
        expectQuickly(bytes.allSatisfy { $0 > 0x20 && $0 < 0x7f }, text(bytes))
        let braces = bytes.filter { $0 == UInt8(ascii: "{") || $0 == UInt8(ascii: "}") }
        expectQuickly(braces == Array("{}".utf8), text(bytes))
        guard let key = CounterKey(bytes, in: "sluice") else {
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
                == "sluice:2:{alice-laptop}:opencode_run:rate:f60:")
        #expect(text(baseKey(Name("g", "run", "run_rate"))) == "sluice:2:{g}:run:~_rate:f60:")
        #expect(text(baseKey(Name("g", "run", "run"))) == "sluice:2:{g}:run:~:f60:")
        #expect(text(baseKey(Name("g", nil, "c", nil, 1))) == "sluice:2:{g}:*:c:f1:")
        #expect(text(baseKey(Name("g", "*", "~"))) == "sluice:2:{g}:%2A:%7E:f60:")
        #expect(text(baseKey(Name("é", "t", "c", "s"))) == "sluice:2:{%C3%A9}:t:c;s=s:f60:")
        #expect(text(KeySpace("p").grantPrefix("a:b".utf8)) == "p:2:{a%3Ab}:")
        #expect(text(KeySpace("p").beginning) == "p:2:{")
    }

    /// In a cluster the partition's tag comes first, and the owner after it.
    @Test func readsInAPartition() throws {
        let keys = KeySpace(prefix: "sluice", tag: Array("p7".utf8))
        let key = baseKey(Name("alice", "run", "rate"), in: keys)
        #expect(text(key) == "sluice:2:{p7}:alice:run:rate:f60:")
        #expect(CounterKey(key + "0".utf8, in: keys)?.grant == "alice")
        #expect(CounterKey(key + "0".utf8, in: "sluice") == nil)
        #expect(CounterKey(baseKey(Name("p7", "alice", "run")) + "0".utf8, in: keys) == nil)
        #expect(CounterKey(key + "0".utf8, in: KeySpace(prefix: "sluice", tag: Array("p8".utf8))) == nil)
        #expect(text(keys.marker(ofReplica: 7)) == "sluice:2:{p7}:replica:0000000000000007")
        #expect(
            text(keys.replicas) == "sluice:2:{p7}:replicas" && text(keys.writtenBack) == "sluice:2:{p7}:written-back")
        #expect(keys.changeChannel == KeySpace("sluice").changeChannel)
        #expect(text(Array(try #require(keys.owner(of: key[...])))) == "alice")
        #expect(text(Array(try #require(keys.afterOwner(of: key[...])))) == "run:rate:f60:")
        #expect(keys.owner(of: Array("sluice:2:{p7}:alice".utf8)[...])?.elementsEqual("alice".utf8) == true)
        #expect(keys.afterOwner(of: Array("sluice:2:{p7}:alice".utf8)[...]) == nil)
    }

    private static let nasty = [
        "a", "all_tools", "all%5Ftools", "%", "%25", "%2", "{", "}", "{}", "a}:b", ":", "a:b", ";", ";s=",
        "a;s=b", "session=", "fixed_window", "60s", " ", "\n", "\r\n", "\u{1}", "\u{7f}", "é", "e\u{301}",
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
        let keys = names.compactMap { CounterKey(baseKey($0) + [UInt8(ascii: "0")], in: "sluice") }
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
            CounterKey.baseKey(in: "p", limit: limit, identity: one)
                == CounterKey.baseKey(in: "p", limit: limit, identity: other))
    }

    /// Keys of other programs in the store are not taken for counters, and do no harm.
    @Test(arguments: [
        "", "sluice", "sluice:2:{", "sluice:2:{g}", "sluice:2:{g}:t:c:f60", "sluice:2:{g}:t:c:f60:",
        "other:2:{g}:t:c:f60:0", "sluice:1:{g}:t:c:f60:0", "sluice:1:{g}:t:c:fixed_window:60s:0",
        "sluice:2:{g:t:c:f60:0", "sluice:2:g:t:c:f60:0", "sluice:2:{g}t:c:f60:0", "sluice:2:{g}:t:c:g60:0",
        "sluice:2:{g}:t:c:60:0", "sluice:2:{g}:t:c::0", "sluice:2:{g}:t:c:f:0", "sluice:2:{g}:t:c:f0:0",
        "sluice:2:{g}:t:c:f-1:0", "sluice:2:{g}:t:c:f+60:0", "sluice:2:{g}:t:c:f060:0", "sluice:2:{g}:t:c:f60s:0",
        "sluice:2:{g}:t:c:f60:-1", "sluice:2:{g}:t:c:f60:+1", "sluice:2:{g}:t:c:f60:01", "sluice:2:{g}:t:c:f60:A",
        "sluice:2:{g}:t:c:f60:x:0", "sluice:2:{g}:t:c:f60:~", "sluice:2:{g}:t:c:f60:0:0", "sluice:2:{g}:t:c:b60:0",
        "sluice:2:{g}:t:c:c60", "sluice:2:{g}:t:c:c:0", "sluice:2:{g}:t:c:fd:0", "sluice:2:{g}:t:c:fw@:0",
        "sluice:2:{g}:t:c:fd@Nowhere/Else:0", "sluice:2:{g}:t:c:fw@UTC:0", "sluice:2:{g}:t:c:fm:1",
        "sluice:2:{%}:t:c:f60:0", "sluice:2:{%4}:t:c:f60:0", "sluice:2:{%+F}:t:c:f60:0", "sluice:2:{%41}:t:c:f60:0",
        "sluice:2:{%c3%a9}:t:c:f60:0", "sluice:2:{%FF}:t:c:f60:0", "sluice:2:{g}:t:;s=s:f60:0",
        "sluice:2:{g}:t:c;:f60:0", "sluice:2:{g}:t:c;o=s:f60:0", "sluice:2:{g}:t:c;s=a;s=b:f60:0",
        "sluice:2:{g}:t:c;session=a:f60:0", "sluice:2:{g}:t:c:f9223372036854775807:0",
        "sluice:2:{g}:t:c:f60:1y2p0ij32e8e7", "sluice:2:{é}:t:c:f60:0", "sluice:2:{\u{301}g}:t:c:f60:0",
        // Only one spelling: a tool's name at the beginning of its counter's is abbreviated.
        "sluice:2:{g}:t:t:f60:0", "sluice:2:{g}:t:t_rate:f60:0", "sluice:2:{g}:*:~c:f60:0", "sluice:2:{g}:*:~:f60:0",
        "sluice:2:{g}:%74:c:f60:0", "sluice:2:{g}:%2a:c:f60:0", "sluice:2:{g}:t:%7e:f60:0", "sluice:2:{g}:t:c:f60:0:",
        "sluice:2:{g}:!r:00", "sluice:2:{g}:!id:t:c", "sluice:2:{g}:!id:t:b60", "sluice:2:{g}:!:c:f60:0",
        "sluice:2:{g}:t:c:f60:0:!:!",
    ])
    func foreignKeys(_ text: String) { #expect(CounterKey(text.utf8, in: "sluice") == nil) }

    @Test func bytesThatAreNoText() {
        #expect(CounterKey([0xFF, 0xFE], in: "sluice") == nil)
        #expect(
            CounterKey(Array("sluice:2:{".utf8) + [0xFF] + Array("}:t:c:f60:0".utf8), in: "sluice")
                == nil)
    }

    @Test func otherPrefixes() {
        let name = Name("g", "t", "c")
        #expect(CounterKey(baseKey(name, in: "a:b") + [48], in: "a:b")?.grant == "g")
        #expect(CounterKey(baseKey(name, in: "a:b") + [48], in: "a") == nil)
    }

    @Test func startsInBase36() {
        for number in [0, 1, 9, 10, 35, 36, 37, 1295, 1296, 1_700_000_040_000, Int64.max] {
            var bytes: [UInt8] = []
            KeyText.append(base36: number, to: &bytes)
            #expect(text(bytes) == String(number, radix: 36) && KeyText.number(base36: bytes[...]) == number)
            #expect(bytes.count <= LastStart.maxBytes)
        }
        for text in ["", "-1", "+1", "1y2p0ij32e8e8", "é", " 1"] {
            #expect(KeyText.number(base36: Array(text.utf8)[...]) == nil)
        }
    }
}
