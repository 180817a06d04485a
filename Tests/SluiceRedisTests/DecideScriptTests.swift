import SluiceEngine
import SluiceRedis
import Support
import Testing

/// What `decide.lua` promises over a real server, beyond the contract of every store: what lies in the keys and for how
/// long, what others may have left there, and the store's own clock.
@Suite struct DecideScriptTests {
    private static let trillion: Int64 = 1_000_000_000_000
    /// A day in 2096: a floor that the store's clock does not reach.
    private static let dayMs: Int64 = 3_999_974_400_000
    private static let day = dayMs..<dayMs + 86_400_000

    private let redis: RedisProcess
    private let link: LinkHarness

    init() async throws {
        redis = try await RedisProcess()
        link = try await LinkHarness.connected(to: redis)
    }

    /// - Parameter minTimeMs: what time it is, or by the store's clock.
    private func run(
        _ sequence: Int64, minTimeMs: Int64 = 0, _ fill: (inout Batch) -> Void
    ) async throws -> BatchReply {
        var batch = Batch(sequence: sequence, minTimeMs: minTimeMs)
        fill(&batch)
        let reply = try await link.run(batch)
        #expect(reply.status == .ran)
        return reply
    }

    private func expiry(_ key: String) throws -> Int64? {
        try redis.command(expiryCommand(key)).integer.map(Int64.init)
    }

    private func idempotency(_ arguments: String = "a", counters: String = "c") -> Batch.Idempotency {
        func padded(_ text: String) -> String { text + String(repeating: "0", count: 16 - text.count) }
        return Batch.Idempotency(argumentsHash: padded(arguments), countersHash: padded(counters))
    }

    @Test func allAlgorithmsAreDecidedTogether() async throws {
        func charges(_ bucketMax: Int64) -> [TestCharge] {
            [
                TestCharge(key: "f", max: 5, window: Self.day),
                .sliding("s", before: "s0", max: 6, window: Self.day),
                .bucket("b", max: 10, burst: bucketMax, lengthMs: 1_000),
                .slots("c", max: 3, holdMs: 9_000),
            ]
        }
        let reply = try await run(1, minTimeMs: Self.dayMs) {
            $0.add(cost: 2, charges(4), reserve: "a1")
            // The bucket has no room: nothing is taken from any.
            $0.add(cost: 2, charges(3), reserve: "a2")
            $0.add(cost: 2, charges(4), reserve: "a3")
            // Now the fixed window has none.
            $0.add(cost: 2, charges(100), reserve: "a4")
            $0.add(cost: 1, count: 0, charges(100))
        }
        let until = Self.dayMs + 9_000
        #expect(
            reply.results == [
                1, 2, 2, 0, 2_000, 1, until, until, 0, 2, 2, 0, 2_000, 1, until, until, 1, 4, 4, 0, 4_000, 2, until,
                until,
                0, 4, 4, 0, 4_000, 2, until, until, 1, 4, 4, 0, 4_000, 2, until, until,
            ])
        #expect(try redis.command("MGET", "f", "s", "b").elements?.map(\.text) == ["4", "4", "4000 \(Self.dayMs)"])
        #expect(
            try redis.command("ZRANGE", "c", "0", "-1").elements?.compactMap(\.text)
                == [reservationID("a1"), reservationID("a3")])
        #expect(try redis.command("EXISTS", recordKey("a2"), recordKey("a4")) == .integer(0))
        #expect(try expiry("f") == Self.day.upperBound + 60_000)
        #expect(try expiry("s") == Self.day.upperBound + 86_400_000 + 60_000)
        #expect(try expiry("b") == Self.dayMs + 1_000 + 60_000)
        #expect(try expiry("c") == until + 60_000)
        #expect(try expiry(recordKey("a1")) == Self.day.upperBound + 86_400_000 + Self.settleSlackMs)
    }

    @Test func windowsHoldFromTheirFirstMillisecondToTheirLast() async throws {
        let charges = [
            TestCharge(key: "f", max: 9, window: Self.day), .sliding("s", before: "s0", max: 9, window: Self.day),
        ]
        let floors = [Self.day.lowerBound - 1, Self.day.lowerBound, Self.day.upperBound - 1, Self.day.upperBound]
        var results: [[Int64]] = []
        for (index, minTimeMs) in floors.enumerated() {
            results.append(try await run(Int64(index + 1), minTimeMs: minTimeMs) { $0.add(charges) }.results)
        }
        #expect(results == [[-1], [1, 1, 1, 0], [1, 2, 2, 0], [-1]])
    }

    @Test func withoutAFloorItIsTheStoresTime() async throws {
        let reply = try await run(1) { $0.add([.bucket("b", max: 1, burst: 5, lengthMs: 1_000)]) }
        #expect(reply.results == [1, 1_000])
        #expect(try redis.command("GET", "b") == .string("1000 \(reply.timeMs)"))
        #expect(try expiry("b") == reply.timeMs + 1_000 + 60_000)
    }

    /// How much longer records live than what they charged, but for slots.
    private static let settleSlackMs: Int64 = 600_000

    @Test func recordsLiveLongerThanWhatTheyCharged() async throws {
        let hold = TestCharge.slots("c", max: 9, holdMs: 700)
        let bucket = TestCharge.bucket("b", max: 10, burst: 50, lengthMs: 1_000)
        let blocked = TestCharge(key: "never", max: 0, window: Self.day).shadow
        let stuck = TestCharge.bucket("stuck", max: 0, burst: 50, lengthMs: 1_000)
        _ = try await run(1, minTimeMs: Self.dayMs) {
            $0.add([hold], reserve: "a")
            $0.add(cost: 20, [hold, bucket], reserve: "b")
            $0.add([TestCharge(key: "f", max: 9, window: Self.day), hold], reserve: "c")
            // A shadow limit without room takes nothing, and the reservation is one all the same.
            $0.add([blocked], reserve: "d")
            $0.add([stuck], reserve: "e")
        }
        #expect(try expiry(recordKey("a")) == Self.dayMs + 700)
        #expect(try expiry(recordKey("b")) == Self.dayMs + 2_000 + Self.settleSlackMs)
        #expect(try expiry(recordKey("c")) == Self.day.upperBound + Self.settleSlackMs)
        #expect(try expiry(recordKey("d")) == Self.day.upperBound + Self.settleSlackMs)
        #expect(try expiry(recordKey("e")) == Self.dayMs + 1_000 + Self.settleSlackMs)
        let reply = try await run(2, minTimeMs: Self.dayMs) {
            $0.settle(.release, "c")
            $0.settle(.commit(cost: 3), "d")
            $0.settle(.commit(cost: 3), "d")
        }
        #expect(reply.results == [1, 1, 0])
        // What is kept after a part was settled keeps its time.
        #expect(try expiry(recordKey("c")) == Self.day.upperBound + Self.settleSlackMs)
        #expect(try redis.command("EXISTS", recordKey("d"), "never") == .integer(0))
    }

    @Test func memosLiveTenMinutes() async throws {
        let reply = try await run(1) { batch in
            for _ in 0..<2 {
                batch.add(
                    [TestCharge(key: "a", max: 9)], reserve: "abc", idempotency: (key: "id", idempotency: idempotency())
                )
            }
            batch.add([TestCharge(key: "a", max: 9)], idempotency: (key: "id", idempotency: idempotency("other")))
            batch.add(
                [TestCharge(key: "a", max: 9)], reserve: "d",
                idempotency: (key: "id", idempotency: idempotency(counters: "other")))
            batch.add([TestCharge(key: "none", max: 0)], idempotency: (key: "denied", idempotency: idempotency()))
        }
        #expect(reply.results == [1, 1, -3, reply.timeMs, 1, 1, -4, -3, reply.timeMs, 0, 0, 0])
        #expect(reply.words == [reservationID("abc"), reservationID("abc")])
        let life = try #require(try redis.command("PTTL", "id").integer)
        #expect(life > 0 && life <= 600_000)
        #expect(try redis.command("EXISTS", "denied") == .integer(0))
    }

    /// What lies under a record's or a memo's key, made by a line of Lua.
    @Test(arguments: [
        "redis.call('LPUSH', KEYS[1], 'x')", "redis.call('SET', KEYS[1], '')", "redis.call('SET', KEYS[1], 'text')",
        "redis.call('SET', KEYS[1], '\\220')", "redis.call('SET', KEYS[1], cmsgpack.pack(7))",
        "redis.call('SET', KEYS[1], cmsgpack.pack({1}))", "redis.call('SET', KEYS[1], cmsgpack.pack({1, 2, 3}))",
        "redis.call('SET', KEYS[1], cmsgpack.pack({1, 2, {{9, 'k', 1, 1}}}))",
        "redis.call('SET', KEYS[1], cmsgpack.pack({1, 2, {{0, 'k', 'x', 1}}}))",
        "redis.call('SET', KEYS[1], cmsgpack.pack({1, 2, {{0, 5, 1, 1}}}))",
        "redis.call('SET', KEYS[1], cmsgpack.pack({-5, 2, {{0, 'k', 1, 1}}}))",
        "redis.call('SET', KEYS[1], cmsgpack.pack({'a', 'c', 1.5, ''}))",
        "redis.call('SET', KEYS[1], cmsgpack.pack({'a', 'c', 1, 'short'}))",
        "redis.call('SET', KEYS[1], cmsgpack.pack({'a', 'c', 1, '', 'x'}))",
    ])
    func whatIsNoRecordAndNoAnswerIsAFault(_ spoil: String) async throws {
        for key in [recordKey("a"), "id"] { try redis.command("EVAL", spoil, "1", key) }
        let reply = try await run(1) {
            $0.settle(.cancel, "a")
            $0.add([TestCharge(key: "f", max: 9)], idempotency: (key: "id", idempotency: idempotency()))
            $0.add([TestCharge(key: "f", max: 9)], idempotency: (key: "good", idempotency: idempotency()))
        }
        #expect(reply.results == [-2, -2, 1, 1])
        #expect(reply.words.count == 2)
    }

    @Test func aSlotIsOnlyForAReservation() async throws {
        let slots = TestCharge.slots("c", max: 9, holdMs: 1_000)
        let reply = try await run(1) {
            $0.add([slots, TestCharge(key: "f", max: 9)])
            $0.add(count: 0, [slots])
        }
        #expect(reply.results == [-2, 1, 0, 0, 0])
        #expect(try redis.command("EXISTS", "c", "f") == .integer(0))
    }

    @Test func oddScoresAreNoSlots() async throws {
        for (index, score) in ["inf", "9007199254740994", "1e300", "\(Self.dayMs + 1).5"].enumerated() {
            try redis.command("ZADD", "c\(index)", score, "odd")
            let reply = try await run(Int64(index + 1), minTimeMs: Self.dayMs) {
                $0.add(count: 0, [.slots("c\(index)", max: 9, holdMs: 5)])
                $0.add([.slots("c\(index)", max: 9, holdMs: 5), TestCharge(key: "f", max: 9)], reserve: "a")
            }
            #expect(reply.results == [-2, -2])
            #expect(try redis.command("ZSCORE", "c\(index)", "odd") != .null)
        }
        #expect(try redis.command("EXISTS", "f") == .integer(0))
        // Those of before now have expired, whatever they are.
        for score in ["-inf", "-5", "12.5"] { try redis.command("ZADD", "c", score, "m\(score)") }
        let reply = try await run(9, minTimeMs: Self.dayMs) {
            $0.add(count: 0, [.slots("c", max: 9, holdMs: 5)])
            $0.add([.slots("c", max: 9, holdMs: 5)], reserve: "b")
        }
        #expect(reply.results == [1, 0, 0, 0, 1, 1, Self.dayMs + 5, Self.dayMs + 5])
    }

    @Test func largeNumbersStayExact() async throws {
        let trillion = Self.trillion
        // 10^12 and 9,007 are nearly 2^53 together.
        let bucket = TestCharge.bucket("b", max: trillion, burst: trillion, lengthMs: 9_007)
        let sliding = TestCharge.sliding(
            "s", before: "s0", max: trillion, window: Self.dayMs..<Self.dayMs + 9_007)
        try redis.command("SET", "s0", "\(trillion)")
        let reply = try await run(1, minTimeMs: Self.dayMs + 9_006) {
            $0.add(cost: trillion - 1, count: 3, [bucket], reserve: "a")
            $0.add(cost: 1, count: 3, [bucket])
            // A millisecond of the window before still counts: 10^12 / 9,007, rounded up.
            $0.add(cost: trillion - 111_024_758, [sliding])
            $0.add(cost: trillion - 111_024_759, [sliding], reserve: "b")
            $0.add(cost: 1, [sliding])
        }
        let full = trillion * 9_007
        #expect(
            reply.results == [
                1, full - 9_007, 1, full, 0, 0, trillion, 1, trillion - 111_024_759, trillion, 0,
                trillion - 111_024_759,
                trillion,
            ])
        #expect(try redis.command("GET", "b") == .string("\(full) \(Self.dayMs + 9_006)"))
        // A commit may go above the maximum.
        let settled = try await run(2, minTimeMs: Self.dayMs + 9_006) {
            $0.settle(.commit(cost: trillion), "a")
            $0.settle(.commit(cost: trillion), "b")
        }
        #expect(settled.results == [1, 1])
        #expect(try redis.command("GET", "b") == .string("\(full + 9_007) \(Self.dayMs + 9_006)"))
        #expect(try redis.command("GET", "s") == .string("\(trillion)"))
    }

    /// What was counted is not cut off; how often a shadow limit would have denied is.
    @Test func denialsAloneSaturate() async throws {
        let charge = TestCharge(key: "f", max: Self.trillion, window: Self.day)
        _ = try await run(1, minTimeMs: Self.dayMs) { $0.add([charge], reserve: "a") }
        try redis.command("SET", "f", "9007199254740990")
        try redis.command("SET", "f2:!", "9007199254740991")
        let reply = try await run(2, minTimeMs: Self.dayMs) {
            $0.settle(.commit(cost: Self.trillion), "a")
            $0.add(count: 5, [TestCharge(key: "f2", max: 0, window: Self.day).shadow])
        }
        #expect(reply.results == [-5, 5, 0, 9_007_199_254_740_992])
        #expect(
            try redis.command("MGET", "f", "f2:!").elements?.map(\.text)
                == ["9007199254740990", "9007199254740992"])
    }

    @Test func whatIsNoUsageIsAFaultAndChargesNothing() async throws {
        for text in ["007", "+1", " 1", "1 ", "-0", "1e3", "0x10", "99999999999999999999", "-99999999999999999", "1\n"]
        {
            try redis.command("SET", "odd", text)
            var batch = Batch(sequence: Int64(try redis.command("INCR", "n").integer ?? 0))
            batch.add([TestCharge(key: "f", max: 9), .sliding("odd", before: "s0", max: 9)])
            batch.add([.sliding("s", before: "odd", max: 9)])
            batch.add([.bucket("odd", max: 9, burst: 9, lengthMs: 9)])
            batch.add([.sliding("x", before: "s0", max: 99), TestCharge(key: "y", max: 99).shadow])
            let results = try await link.run(batch).results
            #expect(results.prefix(4) == [-2, -2, -2, 1], "\(text.debugDescription)")
        }
        #expect(try redis.command("EXISTS", "f", "s") == .integer(0))
    }

    @Test func bothScriptsAreBroughtAlongUnnoticed() async throws {
        try redis.command("SCRIPT", "FLUSH")
        let batches = (1...Int64(6)).map { number in
            var batch = Batch(sequence: number)
            let charge = TestCharge(key: "a", max: 9)
            if number % 2 == 0 { batch.add(charge) } else { batch.add([charge], reserve: "\(number)") }
            return batch
        }
        link.call { link in batches.forEach(link.send) }
        for sequence in 1...Int64(6) {
            guard case .answered(sequence, .success(let reply)) = try await link.next() else {
                throw SupportError("batch \(sequence) is not next")
            }
            #expect(reply.status == .ran && reply.results == [1, sequence])
        }
        #expect(try redis.command("EXISTS", recordKey("1"), recordKey("3"), recordKey("5")) == .integer(3))
    }
}
