import Foundation
@testable import sluice_load
import SluiceProtocol
import Testing

/// Small benchmarks of real processes: what is counted, not how fast.
@Suite struct BenchRunTests {
    private func run(
        _ contenders: [(name: String, target: BenchCell.Contender.Target)], grants: Int = 20,
        durationNs: Int64 = 100_000_000, _ change: (inout BenchCell) -> Void = { _ in }
    ) async throws -> BenchResult {
        let load = BenchCell.Load(connections: 2, pipeline: 4, grants: grants)
        var cell = BenchCell("x", contenders: contenders.map { BenchCell.Contender($0.name, $0.target, load) })
        change(&cell)
        var plan = BenchPlan()
        plan.rounds = 2
        plan.durationNs = durationNs
        plan.warmUpNs = 20_000_000
        return try await BenchRunner.run(cell, plan: plan)
    }

    /// That it ran, and all was counted right.
    private func expectClean(_ result: BenchResult) {
        #expect(result.counts.isClean, "\(result.counts)")
        #expect(result.counts.gaps.filter { !$0.contains("a day ended") } == [])
        for rounds in result.rounds {
            #expect(rounds.count == 2)
            #expect(rounds.allSatisfy { $0.checksPerSecond > 0 && $0.failures == 0 })
        }
    }

    @Test func contendersTakeTurnsAndAreCounted() async throws {
        let result = try await run([("direct", .direct), ("sluice", .sluice)]) { cell in
            cell.stage.sidecars = 2
            cell.stage.limits = 3
            cell.measures = [.init("m", .redisProcessor, .ratio(of: "sluice", to: "direct"))]
        }
        expectClean(result)
        #expect(result.rounds[1].allSatisfy { $0.sidecarsUs.count == 2 && $0.sidecarUs > 0 && ($0.redisUs ?? 0) > 0 })
        #expect(result.measured.count == 1 && result.measured[0].value != nil)
        let oracle = try #require(result.counts.oracle)
        #expect(oracle.isKept && oracle.answers > 0)
        let admitted = try #require(result.counts.admitted[.sluice])
        #expect(admitted.allowed > oracle.answers && admitted.denied == 0)
        let json = BenchReport.json([result], plan: BenchPlan(), machine: .current, commit: "abc")
        let redis = try #require(result.redisVersion)
        #expect(json.contains("\"redis\" : \"\(redis)\"") && json.contains("\"commit\" : \"abc\""))
        #expect(BenchReport.origin([result], machine: .current, commit: "abc").contains("(abc), Redis \(redis), "))
        #expect(json.contains("\"checks_per_second\"") && json.contains("\"right\" : true"))
    }

    /// Windows, sliding windows and buckets, and what reservations keep: Redis holds just what was admitted.
    @Test(arguments: [false, true]) func otherWaysOfCountingAreCounted(reserves: Bool) async throws {
        let result = try await run([("direct", .direct), ("sluice", .sluice)]) { cell in
            if reserves { cell.stage.reserves = true } else { cell.stage.algorithms = BenchCell.Algorithm.allCases }
        }
        expectClean(result)
        for owner in BenchCounts.Owner.charging {
            let admitted = try #require(result.counts.admitted[owner])
            #expect(admitted.allowed > 20 && admitted.denied == 0)
        }
    }

    /// More counters than a sidecar returns at once, and two sidecars that have not seen each other's counts.
    @Test func manyCountersOfTwoSidecarsAreJudged() async throws {
        let grants = ProtocolBounds.maxCounterRows + 2000
        let result = try await run([("sluice", .sluice)], grants: grants) { cell in
            cell.stage.sidecars = 2
            cell.contenders[0].isFilled = true
        }
        expectClean(result)
        let counters = try #require(result.counts.oracle?.counters)
        #expect(counters.origin == .redis && counters.agreeing > 0 && counters.differing == 0)
    }

    /// What is counted in a cluster is summed over its masters.
    @Test func clustersAreCounted() async throws {
        let contenders: [(name: String, target: BenchCell.Contender.Target)] = [
            ("sluice", .sluice), ("one", .sluice), ("three", .sluice),
        ]
        let result = try await run(contenders, durationNs: 1_000_000_000) { cell in
            cell.stage.redis = .tcp
            cell.stage.clusters = [.init(masters: 1, buckets: 8), .init(masters: 3, buckets: 8)]
            cell.contenders[1].cluster = 0
            cell.contenders[2].cluster = 1
        }
        expectClean(result)
        #expect(result.rounds.map { $0[0].serversUs.count } == [1, 1, 3])
        #expect(result.rounds.allSatisfy { $0.allSatisfy { $0.sidecarsUs.count == 1 && $0.sidecarUs > 0 } })
    }

    @Test func denialsOverTCPAreCounted() async throws {
        let result = try await run([("direct", .direct), ("sluice", .sluice)], grants: 2) { cell in
            cell.stage.isMostlyDenied = true
            cell.stage.redis = .tcp
        }
        expectClean(result)
        for owner in BenchCounts.Owner.charging {
            let admitted = try #require(result.counts.admitted[owner])
            #expect(admitted.allowed >= 20 && admitted.denied > 0)
        }
    }

    @Test func pingsAndLocalAnswersAreMeasured() async throws {
        let result = try await run([("PING", .pingSluice), ("sluice", .sluice)]) { $0.stage.redis = .none }
        expectClean(result)
        #expect(result.rounds[1].allSatisfy { $0.redisUs == nil && Array($0.bySource.keys) == [.local] })
        let redis = try await run([("PING", .pingRedis)])
        expectClean(redis)
        #expect(redis.counts.admitted.isEmpty && redis.counts.oracle == nil)
    }

    @Test func anOpenLoopGoesAtAShareOfThePeak() async throws {
        let result = try await run([("direct", .direct)]) { cell in
            cell.rate = BenchCell.Rate(share: 0.1, peakOf: "direct")
            cell.contenders[0].isFilled = true
        }
        expectClean(result)
        #expect(try #require(result.ratePerSecond) > 0)
    }

    @Test func memoryIsWeighed() async throws {
        let result = try await run([]) { cell in
            cell.stage.redis = .none
            cell.memory = BenchCell.Memory(from: 50)
        }
        #expect(result.counts.isClean && result.measured.count == 2)
        #expect(try #require(result.counts.admitted[.sluice]).allowed >= 250)
        #expect(try #require(result.measured[0].value).median > 1)
    }

    @Test func processesAreMetered() {
        let own = ProcessMeter([getpid()])
        #expect(own.processorNs()[0] > 0)
        #expect((own.residentBytes()[0] ?? 0) > 1_000_000)
        // No process has this id.
        #expect(ProcessMeter([0x7fff_ffff]).residentBytes() == [nil])
    }
}
