import SluiceEngine
import SluiceRedis
import Support
import Testing

/// What `charge.lua` promises, over a real server. Each test has a server of its own, so that keys never meet.
@Suite struct ChargeScriptTests {
    private let redis: RedisProcess
    private let link: LinkHarness

    init() async throws {
        redis = try await RedisProcess()
        link = try await LinkHarness.connected(to: redis)
    }

    private func run(_ sequence: Int64, _ fill: (inout Batch) -> Void) async throws -> BatchReply {
        var batch = Batch(sequence: sequence)
        fill(&batch)
        let reply = try await link.run(batch)
        #expect(reply.status == .ran)
        return reply
    }

    @Test func refusesWithoutCharging() async throws {
        let reply = try await run(1) {
            $0.add(cost: 3, TestCharge(key: "a", max: 5))
            $0.add(cost: 3, TestCharge(key: "a", max: 5))
            $0.add(cost: 2, TestCharge(key: "a", max: 5))
            $0.add(TestCharge(key: "blocked", max: 0))
        }
        // The third sees what the first charged, and nothing of the second.
        #expect(reply.results == [1, 3, 0, 3, 1, 5, 0, 0])
        #expect(try redis.command("GET", "a") == .string("5"))
    }

    @Test func severalLimitsAreAllOrNothing() async throws {
        try redis.command("SET", "narrow", "4")
        let reply = try await run(1) {
            $0.add(cost: 2, TestCharge(key: "wide", max: 100), TestCharge(key: "narrow", max: 5))
            $0.add(cost: 1, TestCharge(key: "wide", max: 100), TestCharge(key: "narrow", max: 5))
            $0.add(cost: 1, TestCharge(key: "narrow", max: 5), TestCharge(key: "wide", max: 100))
        }
        #expect(reply.results == [0, 0, 4, 1, 1, 5, 0, 5, 1])
        #expect(try redis.command("MGET", "wide", "narrow") == .array([.string("1"), .string("5")]))
    }

    @Test func countsAreAdmittedInPart() async throws {
        let reply = try await run(1) {
            // Room for three of cost 3 (floor of 10 / 3), then for one of cost 1.
            $0.add(cost: 3, count: 5, TestCharge(key: "a", max: 10))
            $0.add(cost: 1, count: 5, TestCharge(key: "a", max: 10))
            // The smallest room of its limits counts.
            $0.add(cost: 2, count: 4, TestCharge(key: "b", max: 100), TestCharge(key: "c", max: 5))
        }
        #expect(reply.results == [3, 9, 1, 10, 2, 4, 4])
        #expect(try redis.command("MGET", "a", "b", "c") == .array([.string("10"), .string("4"), .string("4")]))
    }

    @Test func aUsageAboveTheMaximumAdmitsNothing() async throws {
        try redis.command("SET", "a", "50")
        let reply = try await run(1) { $0.add(cost: 1, count: 3, TestCharge(key: "a", max: 10)) }
        #expect(reply.results == [0, 50])
    }

    @Test func aWindowThatDoesNotHoldNowChargesNothing() async throws {
        let reply = try await run(1) {
            $0.add(TestCharge(key: "past", max: 9, window: 1000..<2000))
            $0.add(TestCharge(key: "future", max: 9, window: 4_000_000_000_000..<4_000_000_060_000))
            $0.add(TestCharge(key: "now", max: 9), TestCharge(key: "past", max: 9, window: 1000..<2000))
            $0.add(count: 0, TestCharge(key: "past", max: 9, window: 1000..<2000))
            $0.add(TestCharge(key: "now", max: 9))
        }
        #expect(reply.results == [-1, -1, -1, -1, 1, 1])
        #expect(try redis.command("EXISTS", "past", "future") == .integer(0))
    }

    @Test func windowsAreCutByTheStoresClock() async throws {
        guard case .array(let time) = try redis.command("TIME"), let seconds = time[0].text.flatMap({ Int64($0) })
        else { throw SupportError("no TIME") }
        let reply = try await run(1) { $0.add(TestCharge(key: "a", max: 1)) }
        #expect(reply.timeMs >= seconds * 1000)
        #expect(reply.timeMs < seconds * 1000 + 600_000)
    }

    @Test func theFloorIsTheLeastThatNowCanBe() async throws {
        let future: Range<Int64> = 4_000_000_000_000..<4_000_000_060_000
        var batch = Batch(sequence: 1, minTimeMs: future.lowerBound)
        batch.add(TestCharge(key: "next", max: 9, window: future))
        batch.add(TestCharge(key: "old", max: 9, window: 1_577_836_800_000..<future.lowerBound))
        let reply = try await link.run(batch)
        #expect(reply.results == [1, 1, -1])
        // It still returns its own clock.
        #expect(reply.timeMs < future.lowerBound)
        // An end is exclusive.
        batch.sequence = 2
        batch.minTimeMs = future.upperBound
        #expect(try await link.run(batch).results == [-1, -1])
    }

    @Test(arguments: [
        ["LPUSH", "wrong", "x"], ["SET", "wrong", "many"], ["SET", "wrong", "1.5"], ["SET", "wrong", ""],
    ])
    func aFaultHurtsItsOwnEntryOnly(_ spoil: [String]) async throws {
        try redis.command(spoil)
        let reply = try await run(1) {
            $0.add(TestCharge(key: "a", max: 9))
            $0.add(cost: 2, count: 2, TestCharge(key: "b", max: 9), TestCharge(key: "wrong", max: 9))
            $0.add(TestCharge(key: "wrong", max: 9), TestCharge(key: "c", max: 9))
            $0.add(count: 0, TestCharge(key: "b", max: 9), TestCharge(key: "wrong", max: 9))
            $0.add(TestCharge(key: "b", max: 9))
        }
        #expect(reply.results == [1, 1, -2, -2, -2, 1, 1])
        #expect(reply.words.count == 3)
        for fault in reply.words {
            #expect(fault.hasPrefix("WRONGTYPE ") || fault.hasPrefix("ERR value is not an integer"))
        }
        // What had been charged was taken back, and what was created to charge it expires.
        #expect(try redis.command("GET", "b") == .string("1"))
        #expect(try redis.command("EXISTS", "c") == .integer(0))
        guard case .integer(let expiry) = try redis.command(expiryCommand("b")) else { throw SupportError("no time") }
        #expect(expiry == Int(longWindow.upperBound) + 60_000)
    }

    @Test func anOverflowIsAFault() async throws {
        try redis.command("SET", "full", "9223372036854775807")
        let reply = try await run(1) {
            $0.add(TestCharge(key: "full", max: 9))
            $0.add(TestCharge(key: "a", max: 9))
        }
        #expect(reply.results == [-2, 1, 1])
        #expect(try redis.command("GET", "full") == .string("9223372036854775807"))
    }

    @Test func aPeekChargesNothing() async throws {
        try redis.command("SET", "a", "3")
        let reply = try await run(1) {
            $0.add(cost: 2, count: 0, TestCharge(key: "a", max: 5))
            $0.add(cost: 3, count: 0, TestCharge(key: "a", max: 5))
            $0.add(cost: 1, count: 0, TestCharge(key: "new", max: 5), TestCharge(key: "a", max: 3))
        }
        #expect(reply.results == [1, 3, 0, 3, 0, 0, 3])
        #expect(try redis.command("GET", "a") == .string("3"))
        #expect(try redis.command("EXISTS", "new") == .integer(0))
    }

    @Test func keysExpireSixtySecondsAfterTheirWindow() async throws {
        _ = try await run(1) { $0.add(TestCharge(key: "a", max: 9)) }
        let expiry = RedisAnswer.integer(Int(longWindow.upperBound) + 60_000)
        #expect(try redis.command(expiryCommand("a")) == expiry)
        _ = try await run(2) { $0.add(TestCharge(key: "a", max: 9)) }
        #expect(try redis.command(expiryCommand("a")) == expiry)
    }

    @Test func aMissingTimeToLiveIsRepairedWhenLookedFor() async throws {
        _ = try await run(1) { $0.add(TestCharge(key: "a", max: 9)) }
        try redis.command("PERSIST", "a")
        _ = try await run(2) { $0.add(TestCharge(key: "a", max: 9)) }
        #expect(try redis.command("PTTL", "a") == .integer(-1))
        _ = try await run(3) { $0.add(TestCharge(key: "a", max: 9, verifies: true)) }
        #expect(try redis.command(expiryCommand("a")) == .integer(Int(longWindow.upperBound) + 60_000))
        #expect(try redis.command("GET", "a") == .string("3"))
    }

    @Test func aReplayedSequenceIsSuperseded() async throws {
        var batch = Batch(sequence: 5)
        batch.add(TestCharge(key: "a", max: 9))
        #expect(try await link.run(batch).previousSequence == 0)
        let again = try await link.run(batch)
        #expect(again.status == .outOfOrder && again.previousSequence == 5 && again.results.isEmpty)
        batch.sequence = 4
        #expect(try await link.run(batch).status == .outOfOrder)
        #expect(try redis.command("GET", "a") == .string("1"))
        batch.sequence = 6
        batch.acknowledgedSequence = 5
        let next = try await link.run(batch)
        #expect(next.status == .ran && next.previousSequence == 5 && next.results == [1, 2])
    }

    @Test func aForgottenMarkerChargesNothing() async throws {
        var batch = Batch(sequence: 5)
        batch.add(TestCharge(key: "a", max: 9))
        _ = try await link.run(batch)
        try redis.command("FLUSHALL")
        batch.sequence = 6
        batch.acknowledgedSequence = 5
        let reply = try await link.run(batch)
        #expect(reply.status == .forgot && reply.previousSequence == 0 && reply.results.isEmpty)
        #expect(try redis.command("EXISTS", "a") == .integer(0))
        // Batches continue after the acknowledgement, and no lost batch counts as run.
        batch.sequence = 7
        batch.acknowledgedSequence = 6
        batch.forgotSinceMs = reply.forgotSinceMs
        let next = try await link.run(batch)
        #expect(next.status == .ran && next.previousSequence == 0 && next.results == [1, 1])
    }

    @Test func aDataLossIsReportedUntilItIsKnown() async throws {
        var batch = Batch(sequence: 6, acknowledged: 5)
        batch.add(TestCharge(key: "a", max: 9))
        // Two that were on their way at once, and one more for which both answers were lost.
        var sinceMs: Set<Int64> = []
        for sequence in 6...Int64(8) {
            batch.sequence = sequence
            let reply = try await link.run(batch)
            #expect(reply.status == .forgot)
            sinceMs.insert(reply.forgotSinceMs)
        }
        #expect(sinceMs.count == 1)
        #expect(try redis.command("EXISTS", "a") == .integer(0))
        // The answer to the first of them is enough, though it did not name the last.
        batch.sequence = 9
        batch.acknowledgedSequence = 6
        batch.forgotSinceMs = sinceMs.first ?? 0
        #expect(try await link.run(batch).results == [1, 1])
        batch.sequence = 10
        #expect(try await link.run(batch).results == [1, 2])
    }

    @Test func aReplicaThatCountsFromOneAgainIsNotLockedOut() async throws {
        var batch = Batch(sequence: 100, acknowledged: 99)
        batch.add(TestCharge(key: "a", max: 9))
        #expect(try await link.run(batch).status == .forgot)
        batch.sequence = 1
        batch.acknowledgedSequence = 0
        let reply = try await link.run(batch)
        #expect(reply.status == .forgot)
        batch.sequence = 2
        batch.acknowledgedSequence = 1
        batch.forgotSinceMs = reply.forgotSinceMs
        #expect(try await link.run(batch).results == [1, 1])
    }

    @Test func theMarkerBelongsToTheReplicaAndExpires() async throws {
        var batch = Batch(sequence: 5)
        batch.add(TestCharge(key: "a", max: 9))
        _ = try await link.run(batch)
        let other = try await LinkHarness.connected(to: redis, replica: 0xfedc_ba98_7654_3210)
        batch.sequence = 1
        #expect(try await other.run(batch).results == [1, 2])
        #expect(try redis.command("GET", "sluice:2:replica:0000000000000007") == .string("5"))
        #expect(try redis.command("GET", "sluice:2:replica:fedcba9876543210") == .string("1"))
        guard case .integer(let life) = try redis.command("PTTL", "sluice:2:replica:0000000000000007") else {
            throw SupportError("no PTTL")
        }
        #expect(life > 3_000_000 && life <= 3_600_000)
    }

    @Test func aHeartbeatRenewsTheMarker() async throws {
        let marker = "sluice:2:replica:0000000000000007"
        _ = try await run(1) { $0.add(TestCharge(key: "a", max: 9)) }
        try redis.command("PERSIST", marker)
        _ = try await run(2) { $0.add(TestCharge(key: "a", max: 9)) }
        #expect(try redis.command("PTTL", marker) == .integer(-1))
        _ = try await run(3) { $0.add([.slots("c", max: 5, holdMs: 6)], reserve: "a") }
        #expect(try redis.command("PTTL", marker).integer.map { $0 > 3_000_000 } == true)
    }

    @Test func whatIsNotSimplyAdmittedIsDecidedInItsPlace() async throws {
        try redis.command("SET", "full", "5")
        try redis.command("SET", "odd", "x")
        let reply = try await run(1) {
            for _ in 0..<2 {
                $0.add(TestCharge(key: "a", max: 9))
                $0.add(cost: 2, count: 2, TestCharge(key: "b", max: 9), TestCharge(key: "full", max: 7))
                $0.add(TestCharge(key: "a", max: 9), TestCharge(key: "odd", max: 9))
                $0.add(TestCharge(key: "a", max: 9))
                $0.add(cost: 9, TestCharge(key: "a", max: 9))
                $0.add(count: 0, TestCharge(key: "a", max: 9))
                $0.add(TestCharge(key: "past", max: 9, window: 1000..<2000))
                $0.add(cost: 3, TestCharge(key: "a", max: 9), TestCharge(key: "c", max: 9))
            }
        }
        #expect(
            reply.results == [
                1, 1, 1, 2, 7, -2, 1, 2, 0, 2, 1, 2, -1, 1, 5, 3,
                1, 6, 0, 2, 7, -2, 1, 7, 0, 7, 1, 7, -1, 0, 7, 3,
            ])
        #expect(try redis.command("MGET", "a", "b", "c").elements?.map(\.text) == ["7", "2", "3"])
    }

    @Test func largeNumbersStayExact() async throws {
        let trillion: Int64 = 1_000_000_000_000
        try redis.command("SET", "near", "9007199254740989")
        let reply = try await run(1) {
            $0.add(cost: trillion, TestCharge(key: "a", max: trillion))
            $0.add(cost: 1, TestCharge(key: "a", max: trillion))
            $0.add(cost: trillion - 1, count: 1_000, TestCharge(key: "b", max: trillion))
            $0.add(cost: 1, count: 2, TestCharge(key: "near", max: trillion))
            $0.add(cost: 1, count: 0, TestCharge(key: "near", max: trillion))
            $0.add(cost: 1, TestCharge(key: "c", max: trillion))
        }
        #expect(
            reply.results == [
                1, trillion, 0, trillion, 1, trillion - 1, 0, 9_007_199_254_740_989, 0, 9_007_199_254_740_989, 1, 1,
            ])
        #expect(
            try redis.command("MGET", "a", "b", "near")
                == .array([.string("1000000000000"), .string("999999999999"), .string("9007199254740989")]))
    }

    @Test func whatManyChecksWouldCostTogetherIsNeverTooMuch() async throws {
        let trillion: Int64 = 1_000_000_000_000
        let reply = try await run(1) {
            // 6.5 * 10^16 together, which Lua's numbers do not hold exactly.
            $0.add(cost: trillion - 1, count: 65_535, TestCharge(key: "a", max: trillion))
            $0.add(cost: 499_999_999_999, count: 65_535, TestCharge(key: "b", max: trillion))
        }
        #expect(reply.results == [1, trillion - 1, 2, trillion - 2])
        #expect(try redis.command("MGET", "a", "b").elements?.map(\.text) == ["999999999999", "999999999998"])
    }

    @Test func manyThousandsOfKeysFitOneBatch() async throws {
        let reply = try await run(1) { batch in
            for i in 0..<20_000 { batch.add(TestCharge(key: "k\(i % 10_000)", max: 1)) }
        }
        #expect(reply.results.count == 40_000)
        #expect(reply.results.prefix(20_000).allSatisfy { $0 == 1 })
        #expect(reply.results.suffix(20_000).enumerated().allSatisfy { $1 == ($0 % 2 == 0 ? 0 : 1) })
        #expect(try redis.command("DBSIZE") == .integer(10_001))
    }

    @Test func anEmptyBatchAnswersToo() async throws {
        let reply = try await run(1) { _ in }
        #expect(reply.results.isEmpty && reply.timeMs > longWindow.lowerBound)
    }
}
