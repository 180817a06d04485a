import Testing

@testable import sluicectl

@Suite struct ReplayTimelineTests {
    @Test func stretchesBecomeLongerAsTimeGoesOn() {
        var timeline = ReplayTimeline()
        #expect(timeline.firstMs == -1 && timeline.stretches.isEmpty)
        timeline.count(atMs: 7_300, isNewlyDenied: false)
        timeline.count(atMs: 7_900, isNewlyDenied: true)
        timeline.count(atMs: 9_000, isNewlyDenied: false)
        #expect(timeline.firstMs == 7_000 && timeline.lengthMs == 1_000)
        #expect(timeline.stretches.map(\.calls) == [2, 0, 1] && timeline.stretches.map(\.newlyDenied) == [1, 0, 0])
        // Five seconds a stretch: 5 to 10, 10 to 15, ..., 125 to 130.
        timeline.count(atMs: 127_000, isNewlyDenied: true)
        #expect(timeline.firstMs == 5_000 && timeline.lengthMs == 5_000)
        #expect(timeline.stretches.count == 25)
        #expect(timeline.stretches[0] == .init(calls: 3, newlyDenied: 1))
        #expect(timeline.stretches[1...23].allSatisfy { $0 == .init() })
        #expect(timeline.stretches[24] == .init(calls: 1, newlyDenied: 1))
        timeline.count(atMs: 129_999, isNewlyDenied: false)
        #expect(timeline.stretches[24] == .init(calls: 2, newlyDenied: 1))
    }

    @Test func aYearHasFewStretchesAndLosesNothing() {
        var timeline = ReplayTimeline()
        let firstMs: Int64 = 1_790_000_123_456
        for hour in 0..<8_760 { timeline.count(atMs: firstMs + Int64(hour) * 3_600_000, isNewlyDenied: hour % 3 == 0) }
        #expect((20...ReplayTimeline.maxStretches).contains(timeline.stretches.count))
        #expect(timeline.stretches.reduce(0) { $0 + $1.calls } == 8_760)
        #expect(timeline.stretches.reduce(0) { $0 + $1.newlyDenied } == 2_920)
        #expect(timeline.firstMs <= firstMs && timeline.firstMs % timeline.lengthMs == 0)
    }
}
