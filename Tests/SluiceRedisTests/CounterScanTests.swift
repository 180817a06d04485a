import SluiceEngine
import SluiceRedis
import Support
import Testing
import SluicePolicy

@Suite struct CounterScanTests {
    private func query(
        grant: String? = nil, tool: String? = nil, prefix: String = "p", limit: Int = 100_000
    ) -> CounterQuery {
        CounterQuery(in: KeySpace(prefix: prefix), grant: grant, tool: tool, limit: limit)
    }

    /// The window of a minute that is open by Redis' clock; there are some seconds left of it, mostly.
    private func minute(_ redis: RedisProcess) throws -> Int64 {
        let parts = try redis.command("TIME").elements ?? []
        guard let seconds = Int64(parts[0].text ?? "") else { throw SupportError("TIME: \(parts)") }
        return seconds / 60 * 60_000
    }

    /// What windows of a day hold that is far from its end, whatever the time: those of a year's length.
    private let year: Int64 = 31_622_400_000

    private func key(_ grant: String, _ tool: String, _ counter: String = "c", startMs: Int64) -> String {
        "p:2:{\(grant)}:\(tool):\(counter):f31622400:\(String(startMs / year, radix: 36))"
    }

    private func openYear(_ redis: RedisProcess) throws -> Int64 { try minute(redis) / year * year }

    private func used(_ found: StoredCounters) -> [String: Int64] {
        found.counters.reduce(into: [:]) {
            $0[String(decoding: $1.key.bytes(in: "p"), as: UTF8.self)] = $1.usage.used
        }
    }

    @Test func readsTheCountersUnderAPrefixOnly() async throws {
        let redis = try await RedisProcess()
        let start = try openYear(redis)
        let (one, two) = (key("g", "t", startMs: start), key("h", "t", startMs: start))
        try redis.command([
            "MSET", one, "10", two, "-3", key("i", "t", startMs: start), "many", "q" + one.dropFirst(), "5",
            "x" + one, "6", key("g", "t", startMs: start - year), "7", key("g", "t", startMs: start + year), "8",
        ])
        try redis.command("LPUSH", key("j", "t", startMs: start), "1")
        let link = try await LinkHarness.make(redis.url)
        // The link itself need not be connected.
        let found = try await link.scan(query()).get()
        #expect(used(found) == [one: 10] && found.isWhole)
        #expect(try abs(found.timeMs - minute(redis)) < 600_000)
        #expect(try await link.scan(query(prefix: "none")).get().counters == [])
        #expect(try await link.scan(query(limit: 0)).get().counters == [])
    }

    @Test func readsEveryKindOfCounter() async throws {
        let redis = try await RedisProcess()
        let start = try openYear(redis)
        let fixed = key("g", "t", "f", startMs: start)
        func sliding(_ counter: String, _ startMs: Int64) -> String {
            "p:2:{g}:t:\(counter):s31622400:\(String(startMs / year, radix: 36))"
        }
        let bucket = "p:2:{g}:t:b:b60"
        let slots = "p:2:{g}:t:s:c"
        try redis.command(["MSET", fixed, "10", fixed + ":!", "2", bucket, "700 1800000000000 3"])
        try redis.command(["MSET", sliding("one", start), "4", sliding("one", start - year), "6"])
        try redis.command(["MSET", sliding("x", start - year), "5", sliding("y", start - 2 * year), "5"])
        // Nothing but what a shadow limit would have denied.
        try redis.command("SET", key("g", "t", "r", startMs: start) + ":!", "9")
        // What is nothing.
        try redis.command([
            "MSET", "p:2:{h}:t:b:b60", "-7 1800000000000", "p:2:{i}:t:b:b60", "7  8",
        ])
        try redis.command(["MSET", "p:2:{j}:t:b:b60", "1 2 3 4", "p:2:{k}:t:b:b60", "1"])
        for (key, score) in [
            (slots, "inf"), (slots, "9000000000000"), (slots, "8000000000000"), (slots, "1000"),
            ("p:2:{h}:t:s:c", "1000"),
        ] {
            try redis.command("ZADD", key, score, score)
        }
        try redis.command("HSET", "p:2:{k}:t:s:c", "a", "b")
        let link = try await LinkHarness.connected(to: redis)
        // A record and a memo, as the script writes them.
        var batch = Batch(sequence: 1)
        let idempotency = Batch.Idempotency(argumentsHash: "0123456789abcdef", countersHash: "0123456789abcdef")
        batch.add(
            [TestCharge(key: "q", max: 9)], reserve: "1",
            idempotency: (key: "p:2:{g}:!id:tool:1", idempotency: idempotency))
        #expect(try await link.run(batch).results == [1, 1])
        try redis.command("RENAME", recordKey("1"), "p:2:{g}:!r:1")
        let found = try await link.scan(query()).get()
        let counters = found.counters.sorted { $0.key.counter < $1.key.counter }
        func usage(_ used: Int64, _ change: (inout Usage) -> Void = { _ in }) -> Usage {
            var usage = Usage(used: used)
            change(&usage)
            return usage
        }
        let names = ["b", "f", "one", "r", "s", "x"]
        #expect(counters.map(\.key.counter) == names)
        #expect(counters.allSatisfy { $0.key.windowStartMs == ($0.key.algorithm.hasWindows ? start : 0) })
        #expect(
            counters.map(\.usage) == [
                usage(700), usage(10) { $0.denials = 2 }, usage(4) { $0.previous = 6 }, usage(0) { $0.denials = 9 },
                usage(3) {
                    $0.firstExpiryMs = 8_000_000_000_000
                    $0.lastExpiryMs = Quota.maxExact
                }, usage(0) { $0.previous = 5 },
            ])
        #expect(counters.map(\.lastMs) == [1_800_000_000_000, 0, 0, 0, 0, 0])
    }

    /// The other keys are as many as somebody lets them be: the few that match are found among them all, each once.
    @Test func findsTheFewAmongTheMany() async throws {
        let redis = try await RedisProcess()
        let start = try openYear(redis)
        let client = try redis.client()
        for first in stride(from: 0, to: 30_000, by: 5_000) {
            let words = (first..<first + 5_000).flatMap { [key("g\($0)", "t", startMs: start), "\($0)"] }
            _ = try client.command(["MSET"] + words)
        }
        let rare = (0..<5).map { key("g\($0 * 7_000)", "rare", startMs: start) }
        _ = try client.command(["MSET"] + rare.flatMap { [$0, "3"] } + ["p:2:{x}:y:rare:f60:0", "1"])
        let link = try await LinkHarness.connected(to: redis)
        let found = try await link.scan(query(tool: "rare", limit: 101)).get()
        #expect(used(found) == rare.reduce(into: [:]) { $0[$1] = 3 } && found.isWhole)
        #expect(try await used(link.scan(query(grant: "g7000", limit: 101)).get()).count == 2)
        #expect(try await used(link.scan(query(grant: "g7000", tool: "rare")).get()) == [rare[1]: 3])
        let all = try await link.scan(query()).get()
        #expect(all.counters.count == 30_005 && used(all)[key("g4321", "t", startMs: start)] == 4_321)
        #expect(try await link.scan(query(limit: 1_234)).get().counters.count == 1_234)
    }

    /// In pieces of any size everything is read once, also counters that have several keys in different pages.
    @Test(arguments: [1_200, 4_096])
    func goesOnWhereItEnded(limit: Int) async throws {
        let redis = try await RedisProcess()
        let start = try openYear(redis)
        let client = try redis.client()
        func sliding(_ grant: String, _ startMs: Int64) -> String {
            "p:2:{\(grant)}:t:s:s31622400:\(String(startMs / year, radix: 36))"
        }
        for first in stride(from: 0, to: 6_000, by: 1_000) {
            let words = (first..<first + 1_000).flatMap { index -> [String] in
                let (grant, number) = ("g\(index)", "\(index + 1)")
                return switch index % 4 {
                case 0: [key(grant, "t", startMs: start), number]
                case 1: [sliding(grant, start), number, sliding(grant, start - year), "7"]
                case 2: [sliding(grant, start - year), number]
                default: [key(grant, "t", startMs: start), number, key(grant, "t", startMs: start) + ":!", "3"]
                }
            }
            _ = try client.command(["MSET"] + words)
        }
        // Redis moves its keys to a larger table, one place a lookup. While it does, SCAN may return some twice.
        for _ in 0..<3 { _ = try client.command(["EXISTS"] + (0..<9_000).map { "none\($0)" }) }
        let link = try await LinkHarness.connected(to: redis)
        var grants: [String] = []
        var asked = query(limit: limit)
        var pieces = 0
        while true {
            let found = try await link.scan(asked).get()
            #expect(found.counters.count <= limit)
            grants += found.counters.compactMap(\.key.grant)
            pieces += 1
            guard let next = found.next else { break }
            #expect(next != asked.place)
            asked.place = next
        }
        #expect(grants.count == 6_000 && Set(grants).count == 6_000 && pieces > 1)
        // From any of them on, the rest.
        let some = try await link.scan(query(limit: 50)).get()
        var rest = query()
        rest.place = some.counters[9].place
        #expect(try await link.scan(rest).get().counters.count == 5_990)
    }

    @Test func readsManySlots() async throws {
        let redis = try await RedisProcess()
        let client = try redis.client()
        _ = try client.pipeline(
            (0..<1_500).map { ["ZADD", "p:2:{g\($0)}:t:s:c", "9000000000000", "m"] })
        let link = try await LinkHarness.make(redis.url)
        let all = try await link.scan(query()).get()
        #expect(used(all).count == 1_500 && all.counters.allSatisfy { $0.usage.used == 1 })
        #expect(try await link.scan(query(limit: 234)).get().counters.count == 234)
    }

    /// What is a pattern to `SCAN` is a name to us, and what is alike to the eye is another name.
    @Test func takesNamesLiterally() async throws {
        let redis = try await RedisProcess()
        let start = try openYear(redis)
        let odd = "a*b?[c-d]\\^"
        let encoded = "a%2Ab%3F%5Bc-d%5D%5C%5E"
        let (one, other) = (key("g", encoded, startMs: start), key("g", "aXb", startMs: start))
        let (composed, decomposed) = (key("g", "%C3%A9", startMs: start), key("g", "e%CC%81", startMs: start))
        try redis.command(["MSET", one, "1", other, "2", composed, "3", decomposed, "4"])
        let link = try await LinkHarness.make(redis.url)
        #expect(try await used(link.scan(query(tool: odd)).get()) == [one: 1])
        #expect(try await used(link.scan(query(tool: "a*b")).get()).isEmpty)
        #expect(try await used(link.scan(query(tool: "\u{e9}")).get()) == [composed: 3])
        #expect(try await used(link.scan(query(tool: "e\u{301}")).get()) == [decomposed: 4])
        try redis.command("SET", "a*[b]:2:{g}:t:c:f31622400:\(String(start / year, radix: 36))", "5")
        try redis.command("SET", "aXb:2:{g}:t:c:f31622400:\(String(start / year, radix: 36))", "6")
        #expect(try await link.scan(query(prefix: "a*[b]")).get().counters.map(\.usage.used) == [5])
    }

    /// A tool's counters are found in its server, too; a name with `*` is that of a pattern, and of a tool.
    @Test func findsTheCountersOfPatternsAndServers() async throws {
        let redis = try await RedisProcess()
        let start = try openYear(redis)
        let keys = [
            "git_*", "git_%2A", "hub>git_*", "git_a", "hub>git_a", "#git_a", "hub>#git_a", "xgit_a", "hub>*",
        ]
        .map { key("g", $0, startMs: start) }
        try redis.command(["MSET"] + keys.enumerated().flatMap { [$1, String($0 + 1)] })
        let link = try await LinkHarness.make(redis.url)
        let all = try await link.scan(query()).get()
        #expect(used(all).count == keys.count)
        for grant in ["g", nil] {
            #expect(
                try await used(link.scan(query(grant: grant, tool: "git_*")).get())
                    == [keys[0]: 1, keys[1]: 2, keys[2]: 3])
            #expect(try await used(link.scan(query(grant: grant, tool: "git_a")).get()) == [keys[3]: 4, keys[4]: 5])
        }
        let containers = Dictionary(
            uniqueKeysWithValues: all.counters.map { (Int($0.usage.used) - 1, $0.key.container) })
        #expect(containers[0] == .pattern("git_*") && containers[1] == .tool("git_*"))
        #expect(containers[2] == .server("hub", .pattern("git_*")) && containers[5] == .group("git_a"))
        #expect(containers[6] == .server("hub", .group("git_a")) && containers[8] == .server("hub", .allTools))
    }

    @Test func failsWithoutAServerAndWhenItIsStopped() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.make(redis.url, limits: .brief)
        redis.stop()
        guard case .failure(.unknown(let reason)) = try await link.scan(query()) else {
            throw SupportError("no failure")
        }
        #expect(reason.contains("50 ms"))
        try await redis.kill()
        let patient = try await LinkHarness.make(redis.url)
        guard case .failure(.unknown(let absence)) = try await patient.scan(query()) else {
            throw SupportError("no failure")
        }
        #expect(absence.hasPrefix("cannot connect"))
    }

    @Test func onlySomeRunAtOnce() async throws {
        let redis = try await RedisProcess()
        let link = try await LinkHarness.make(redis.url, limits: .brief)
        redis.stop()
        let results = try await link.scan(query(), times: RedisBounds.maxScans + 1)
        let denials = results.filter { if case .failure(.rejected) = $0 { true } else { false } }
        #expect(denials.count == 1)
    }
}
