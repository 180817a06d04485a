import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// Keys of every scope, algorithm and window: what is written reads back, and no two are alike.
@Suite struct CounterKeyShapeTests {
    private struct Shape {
        var grant: String?
        var subject: CounterKey.Subject
        var container: Limit.Container
        var counter: String
        var algorithm: Algorithm
        var window: Window

        var baseKey: [UInt8] {
            CounterKey.baseKey(
                in: "sluice", grant: grant.map { Array($0.utf8) }, subject: subject,
                container: container, counter: counter, algorithm: algorithm, window: window)
        }

        /// Its parts by their bytes: Swift treats some different names as equal.
        var parts: [[UInt8]] {
            func bytes(_ text: String?) -> [UInt8] { text.map { [1] + Array($0.utf8) } ?? [] }
            let whose: [[UInt8]] =
                switch subject {
                case .grant: [[0]]
                case .session(let id): [[1], bytes(id)]
                case .server(let name): [[2], bytes(name)]
                case .attribute(let name, let value): [[3], bytes(name), bytes(value)]
                case .global: [[4]]
                case .throttle(let key): [[5], bytes(key)]
                }
            return [bytes(grant)] + Self.parts(container) + [bytes(counter), bytes(algorithm.name), bytes(window.name)]
                + whose
        }

        private static func parts(_ container: Limit.Container) -> [[UInt8]] {
            switch container {
            case .allTools: [[0]]
            case .tool(let name): [[1], Array(name.utf8)]
            case .pattern(let text): [[2], Array(text.utf8)]
            case .eachTool: [[3]]
            case .group(let name): [[4], Array(name.utf8)]
            case .server(let name, let container): [[5], Array(name.utf8)] + parts(container)
            }
        }
    }

    private static let words = [
        "a", "b", "=", "a=b", "s=a", "global=", "global", "a=a=b", "t=a", "v=a", ";", "a;b",
        "}", "{", "{a}", "}:", ":", "a:b", "%", "%3D", "=%3D", "!", ":!", "*", "%2A", "~", "~a", "ab", "aa",
        "!r", "!id", "0", "f60", "c", "b60", "é", "e\u{301}", "\u{301}", "day@Europe/Berlin",
    ]

    private static func window(of algorithm: Algorithm, _ random: inout SeededRandom) -> Window {
        let zone = Zone(name: random.one(of: ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])) ?? .utc
        return switch algorithm {
        case .concurrency: .endless
        case .tokenBucket, .slidingLog: .seconds(random.one(of: [1, 60, 86_400]))
        case .fixedWindow, .slidingWindow:
            random.one(of: [.seconds(1), .seconds(86_400), .calendar(random.one(of: [.day, .week, .month]), in: zone)])
        }
    }

    private static func shape(_ random: inout SeededRandom) -> Shape {
        let word = random.one(of: words)
        let subject: CounterKey.Subject = random.one(of: [
            .grant, .session(word), .server(word), .attribute(name: word, value: random.one(of: words)), .global,
            .throttle(word),
        ])
        let isShared = subject != .grant && (subject == .global || random.once(in: 2))
        let algorithm = random.one(of: Algorithm.allCases)
        return Shape(
            grant: isShared ? nil : random.one(of: words), subject: subject,
            container: container(&random), counter: random.one(of: words),
            algorithm: algorithm, window: window(of: algorithm, &random))
    }

    private static func container(_ random: inout SeededRandom) -> Limit.Container {
        let word = random.one(of: words + ["@a", "a/b", "*", "/"])
        let containers: [Limit.Container] = [
            .allTools, .tool(word), .tool(word + "*"), .tool("*" + word), .tool("@" + word), .tool("a/" + word),
            .pattern(word.replacing("*", with: "") + "*"), .pattern("*" + word.replacing("*", with: "")),
            .group(word), .pattern("*"),
        ]
        let container = random.one(of: containers)
        return random.once(in: 3) ? .server(random.one(of: words), container) : container
    }

    @Test func everyShapeReadsBackAndStandsAlone() {
        var random = SeededRandom(seed: 31)
        var seen: [[UInt8]: [[UInt8]]] = [:]
        for _ in 0..<20_000 {
            let shape = Self.shape(&random)
            var key = shape.baseKey
            var startMs: Int64 = 0
            if shape.algorithm.hasWindows {
                startMs = max(0, shape.window.startMs(at: Int64(random.next() % 2_000_000_000_000)))
                KeyText.append(startMs: startMs, of: shape.window, to: &key)
            }
            let text = String(decoding: key, as: UTF8.self)
            let other = seen.updateValue(shape.parts, forKey: shape.baseKey) ?? shape.parts
            expectQuickly(other == shape.parts, "two have \(text)")
            expectQuickly(key.allSatisfy { $0 > 0x20 && $0 < 0x7f }, text)
            let braces = key.filter { $0 == UInt8(ascii: "{") || $0 == UInt8(ascii: "}") }
            expectQuickly(braces == Array("{}".utf8), text)
            guard let read = CounterKey(key, in: "sluice") else {
                Issue.record("\(text) does not read back")
                continue
            }
            let back = Shape(
                grant: read.grant, subject: read.subject, container: read.container, counter: read.counter,
                algorithm: read.algorithm, window: read.window)
            expectQuickly(back.parts == shape.parts && read.windowStartMs == startMs && !read.isDenials, text)
            let denials = CounterKey(CounterKey.denials(of: key), in: "sluice")
            expectQuickly(denials?.isDenials == true && denials != read, text)
        }
        #expect(seen.count > 10_000)
    }

    /// All counters of a grant, its reservations and its ids have one hash tag, and no grant's tag is that of
    /// something that grants share.
    @Test func tags() {
        var tags: [[UInt8]: String?] = [:]
        var random = SeededRandom(seed: 32)
        for _ in 0..<20_000 {
            let shape = Self.shape(&random)
            let tag = Array(shape.baseKey.split(separator: UInt8(ascii: "}"))[0])
            let grant = tags.updateValue(shape.grant, forKey: tag) ?? shape.grant
            expectQuickly(
                grant.map { Array($0.utf8) } == shape.grant.map { Array($0.utf8) },
                "\(shape) shares its tag with \(String(describing: grant))")
            guard let grant = shape.grant else { continue }
            let prefix = KeySpace("sluice").grantPrefix(grant.utf8)
            expectQuickly(shape.baseKey.starts(with: prefix), "\(shape)")
        }
    }

    /// Reservation records and idempotency keys are not counters, and each has a key of its own.
    @Test func otherKeys() {
        var keys: Set<[UInt8]> = []
        var random = SeededRandom(seed: 33)
        var count = 0
        for grant in Self.words {
            let id = ReservationID(using: &random)
            keys.insert(KeySpace("sluice").reservation(id, grant: grant.utf8))
            count += 1
            for tool in Self.words {
                for id in Self.words {
                    let (grant, tool, id) = (Array(grant.utf8), Array(tool.utf8), Array(id.utf8))
                    keys.insert(KeySpace("sluice").idempotency(id, grant: grant, tool: tool))
                    count += 1
                }
            }
        }
        #expect(keys.count == count)
        for key in keys {
            let text = String(decoding: key, as: UTF8.self)
            expectQuickly(CounterKey(key, in: "sluice") == nil, text)
            expectQuickly(CounterKey(CounterKey.denials(of: key), in: "sluice") == nil, text)
        }
    }

    /// A check without the field that a limit counts by counts for its grant alone, even if grants share the counters.
    @Test(arguments: [Limit.Scope.session, .server, .attribute("team")], [true, false])
    func whatIsMissing(_ scope: Limit.Scope, acrossGrants: Bool) throws {
        let limit = limit(max: 5, scope: scope, acrossGrants: acrossGrants)
        func baseKey(_ grant: String, _ name: String?) -> [UInt8] {
            var identity = Identity.Parts(grant: Array(grant.utf8), tool: "t", approved: false)
            identity.session = name.map { Array($0.utf8) }
            identity.server = identity.session
            identity.attributes = name.map { [Array("team".utf8): Array($0.utf8)] } ?? [:]
            return CounterKey.baseKey(in: "sluice", limit: limit, identity: identity)
        }
        #expect(baseKey("g", nil) != baseKey("h", nil))
        #expect((baseKey("g", "x") == baseKey("h", "x")) == acrossGrants)
        #expect(baseKey("g", "x") != baseKey("g", "y") && baseKey("g", "x") != baseKey("g", nil))
        #expect(CounterKey(baseKey("g", nil) + [48], in: "sluice")?.grant == "g")
        #expect((CounterKey(baseKey("g", "x") + [48], in: "sluice")?.grant == nil) == acrossGrants)

        var rig = LimiterRig(policy(limit), usesStore: false)
        func remaining(_ grant: String, _ name: String?) -> Int64 {
            rig.decide(
                LimiterRig.Question(
                    grant: grant, session: name, server: name, attributes: name.map { ["team": $0] } ?? [:])
            ).remaining
        }
        #expect([remaining("g", nil), remaining("h", nil), remaining("g", nil)] == [4, 4, 3])
        #expect([remaining("g", "x"), remaining("h", "x")] == (acrossGrants ? [4, 3] : [4, 4]))
        #expect(remaining("g", "y") == 4)
    }

    /// The previous window's keys that a sliding window reads are those written in that window, whatever the calendar.
    @Test func windowsBefore() {
        var random = SeededRandom(seed: 34)
        for _ in 0..<300 {
            let window = Self.window(of: .slidingWindow, &random)
            var counter = Counter(baseKey: [1], window: window, algorithm: .slidingWindow)
            counter.roll(at: Int64(random.next() % 2_000_000_000_000))
            let before = counter.key
            counter.roll(at: counter.windowEndMs)
            expectQuickly(counter.previousKey() == before, window.name)
        }
    }
}
