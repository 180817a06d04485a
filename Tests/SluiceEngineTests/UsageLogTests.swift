import Testing

@testable import SluiceEngine

/// The log compared with a plain list of every unit.
@Suite struct UsageLogTests {
    private let lengthMs: Int64 = 100

    /// Each unit by itself.
    private struct Plain {
        var units: [Int64] = []

        func used(_ nowMs: Int64, _ lengthMs: Int64) -> Int64 { Int64(units.count { $0 + lengthMs > nowMs }) }
    }

    @Test(arguments: UInt64(1)...40)
    func itCountsWhatAListCounts(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var (log, plain, nowMs) = (UsageLog(), Plain(), Int64(1_000))
        for _ in 0..<400 {
            nowMs += Int64.random(in: 0...9, using: &random)
            let ms = nowMs - Int64.random(in: 0...40, using: &random)
            let units = Int64.random(in: 1...4, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0...5:
                log.add(units, atMs: ms)
                plain.units += Array(repeating: ms, count: Int(units))
            case 6:
                // Only what was charged at that very time.
                let there = Int64(plain.units.count { $0 == ms })
                guard there > 0 else { continue }
                let removed = log.remove(units, atMs: ms)
                #expect(removed == min(units, there))
                for _ in 0..<removed { plain.units.remove(at: plain.units.firstIndex(of: ms) ?? 0) }
            case 7:
                let before = plain
                let raised = units * 3
                log.raise(to: raised, atMs: ms)
                for at in nowMs...nowMs + lengthMs {
                    let most = max(before.used(at, lengthMs), at < ms + lengthMs ? raised : 0)
                    #expect(log.used(nowMs: at, lengthMs: lengthMs) == most)
                }
                plain.units = log.steps.flatMap { Array(repeating: $0.ms, count: Int($0.units)) }
            case 8: log.trim(nowMs: nowMs, lengthMs: lengthMs)
            default: break
            }
            plain.units.removeAll { $0 + lengthMs <= nowMs }
            for at in [nowMs, nowMs + 30, nowMs + 99] {
                #expect(log.used(nowMs: at, lengthMs: lengthMs) == plain.used(at, lengthMs))
            }
            let used = plain.used(nowMs, lengthMs)
            let wanted = Int64.random(in: 0...used + 1, using: &random)
            let freeMs = log.freeMs(wanted, nowMs: nowMs, lengthMs: lengthMs)
            let expected = plain.units.sorted().dropFirst(Int(max(0, wanted - 1))).first.map { $0 + lengthMs }
            #expect(freeMs == (wanted == 0 ? nowMs : expected))
        }
    }

    /// A summary, and a log with fewer entries, free nothing sooner, and have the same total.
    @Test(arguments: UInt64(1)...40)
    func fewerStepsNeverCountLess(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var log = UsageLog()
        for _ in 0..<Int.random(in: 1...60, using: &random) {
            log.add(Int64.random(in: 1...9, using: &random), atMs: Int64.random(in: 0..<90, using: &random))
        }
        let (steps, exact) = log.summary()
        #expect(steps.count <= Batch.maxLogSteps && exact <= steps.count)
        #expect(exact == log.count || exact == Batch.exactLogSteps)
        var coarse = log
        coarse.coarsen(to: 16)
        #expect(coarse.count <= 16)
        for reported in [UsageLog(steps), coarse] {
            #expect(reported.total == log.total && reported.newestMs == log.newestMs)
            for at in Int64(0)..<200 {
                #expect(
                    reported.used(nowMs: at, lengthMs: lengthMs) >= log.used(nowMs: at, lengthMs: lengthMs))
            }
        }
        let exactUntilMs = (exact == steps.count ? 200 : steps[exact - 1].ms + lengthMs)
        for at in Int64(90)...exactUntilMs where exactUntilMs >= 90 {
            #expect(
                UsageLog(steps).used(nowMs: at, lengthMs: lengthMs) == log.used(nowMs: at, lengthMs: lengthMs))
        }
    }

    @Test func itIsBoundedAndSaturates() {
        var log = UsageLog()
        for ms in 0..<Int64(3_000) { log.add(1, atMs: ms) }
        #expect(log.count == EngineBounds.maxLogEntries && log.total == 3_000)
        log.add(Quota.maxExact, atMs: 3_000)
        log.add(Quota.maxExact, atMs: 3_001)
        #expect(log.total == Quota.maxExact)
        for ms in stride(from: Int64(10_000), to: 300_000, by: 1_000) {
            log.add(Quota.maxExact, atMs: ms)
            log.trim(nowMs: ms, lengthMs: lengthMs)
        }
        #expect(log.total == Quota.maxExact && log.count == 1)
    }

    @Test func whatLiesFarAheadCountsFromNowOn() {
        var log = UsageLog([UsageLog.Step(ms: 10, units: 2), UsageLog.Step(ms: 100_000, units: 3)])
        log.turnBack(toMs: 50_000)
        #expect(log.steps == [UsageLog.Step(ms: 10, units: 2), UsageLog.Step(ms: 100_000, units: 3)])
        log.turnBack(toMs: 20)
        #expect(log.steps == [UsageLog.Step(ms: 10, units: 2), UsageLog.Step(ms: 20, units: 3)])
    }
}
