import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct WindowClockTests {
    private func at(_ monotonicMs: Int64, wallMs: Int64) -> ClockReading {
        ClockReading(monotonicNs: monotonicMs * 1_000_000, wallMs: wallMs)
    }

    @Test func withoutAStoreItIsTheWallClock() {
        var clock = WindowClock(now: at(10, wallMs: 1_000))
        #expect(clock.nowMs(at(10, wallMs: 1_000)) == 1_000)
        #expect(clock.nowMs(at(60, wallMs: 1_050)) == 1_050)
        // A step forward is followed; after a step back the clock goes on by the monotonic time.
        clock.observeWall(now: at(70, wallMs: 9_000))
        #expect(clock.nowMs(at(70, wallMs: 9_000)) == 9_000)
        #expect(clock.nowMs(at(170, wallMs: 2_000)) == 9_100)
    }

    /// A step that was not observed while it lasted opens no window twice either.
    @Test func whatWasGivenOutStays() {
        var clock = WindowClock(now: at(0, wallMs: 1_000))
        #expect(clock.nowMs(at(10, wallMs: 61_000)) == 61_000)
        clock.observeWall(now: at(10, wallMs: 61_000))
        #expect(clock.nowMs(at(20, wallMs: 1_020)) == 61_010)
    }

    @Test func theStoresClockTakesOver() {
        var clock = WindowClock(now: at(0, wallMs: 1_000_000))
        clock.observeStore(timeMs: 5_000, now: at(100, wallMs: 1_000_100))
        #expect(clock.nowMs(at(100, wallMs: 1_000_100)) == 5_000)
        #expect(clock.nowMs(at(350, wallMs: 1)) == 5_250)
        #expect(clock.highestStoreMs == 5_000)
        clock.observeWall(now: at(400, wallMs: 1_000_400))
        #expect(clock.nowMs(at(400, wallMs: 1_000_400)) == 5_300)
    }

    /// A delayed answer reports an old time: the time given out since stays.
    @Test func aLateAnswerDoesNotTurnItBack() {
        var clock = WindowClock(now: at(0, wallMs: 0))
        clock.observeStore(timeMs: 5_000, now: at(0, wallMs: 0))
        #expect(clock.nowMs(at(900, wallMs: 0)) == 5_900)
        clock.observeStore(timeMs: 5_100, now: at(900, wallMs: 0))
        #expect(clock.nowMs(at(900, wallMs: 0)) == 5_900)
        #expect(clock.highestStoreMs == 5_100)
        // It stands still until the reported time has caught up.
        #expect(clock.nowMs(at(1_000, wallMs: 0)) == 5_900)
        #expect(clock.nowMs(at(1_800, wallMs: 0)) == 6_000)
    }

    @Test func aStoreThatIsBehindIsFollowedOnlyWhenItSaysSo() {
        var clock = WindowClock(now: at(0, wallMs: 0))
        clock.observeStore(timeMs: 5_000, now: at(0, wallMs: 0))
        clock.observeStore(timeMs: 1_000, now: at(500, wallMs: 0))
        #expect(clock.nowMs(at(500, wallMs: 0)) == 5_500)
        #expect(clock.highestStoreMs == 5_000)
        clock.followStore()
        #expect(clock.nowMs(at(500, wallMs: 0)) == 5_000)
        #expect(clock.nowMs(at(600, wallMs: 0)) == 5_100)
    }

    /// However late answers come, it never goes back, and never ahead of the store.
    @Test func monotoneUnderAnyDelay() {
        var random = SeededRandom(seed: 5)
        for _ in 0..<200 {
            let start = ClockReading(monotonicNs: 0, wallMs: Int64.random(in: 0...10_000_000, using: &random))
            var clock = WindowClock(now: start)
            let offset = Int64.random(in: 1_000_000...2_000_000, using: &random)
            clock.observeStore(timeMs: offset, now: start)
            var now = start
            var last: Int64 = 0
            for _ in 0..<200 {
                now.monotonicNs += Int64.random(in: 0...300_000_000, using: &random)
                now.wallMs = Int64.random(in: 0...10_000_000, using: &random)
                let trueMs = offset + now.monotonicNs / 1_000_000
                if Bool.random(using: &random) {
                    clock.observeStore(timeMs: trueMs - Int64.random(in: 0...1_000, using: &random), now: now)
                }
                let reported = clock.nowMs(now)
                expectQuickly(reported >= last && reported <= trueMs, "\(reported) after \(last), and it is \(trueMs)")
                last = reported
            }
        }
    }
}
