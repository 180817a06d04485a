import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

/// Which counters an operator gets, in which order, and where the reading goes on.
@Suite struct CounterInspectionTests {
    private let ten = limit("c", max: 10, of: "t")

    /// A replica that counts alone; each grant has used so much.
    private func rig(_ used: [(grant: String, used: Int)]) -> LimiterRig {
        var rig = LimiterRig(policy(ten), usesStore: false)
        for (grant, used) in used {
            for _ in 0..<used { _ = rig.decide(grant: grant) }
        }
        return rig
    }

    private func inspect(
        _ rig: LimiterRig, order: CounterOrder? = nil, isAtLimit: Bool = false, limit: Int, from start: Int = 0
    ) -> CounterInspection {
        var query = rig.limiter.counterQuery(grant: nil, tool: nil, limit: .max)
        (query.order, query.isAtLimit) = (order, isAtLimit)
        var inspection = CounterInspection(query, stored: nil, limit: limit, from: start)
        while !inspection.look(at: rig.limiter, atMost: 1, now: rig.now) {}
        return inspection
    }

    private func grants(_ inspection: CounterInspection, first count: Int = .max) -> [String?] {
        inspection.sorted(first: count).map(\.key.grant)
    }

    @Test func theFirstInAnOrderAreOfAll() {
        let rig = rig([("b", 2), ("a", 10), ("d", 7), ("c", 7)])
        #expect(grants(inspect(rig, order: .used, limit: 3), first: 3) == ["a", "c", "d"])
        #expect(grants(inspect(rig, order: .remaining, limit: 2), first: 2) == ["a", "c"])
        #expect(grants(inspect(rig, order: .grant, limit: 2), first: 2) == ["a", "b"])
        #expect(grants(inspect(rig, limit: 9)) == ["a", "b", "c", "d"])
    }

    /// However many there are, few are kept.
    @Test func anOrderKeepsFew() {
        let rig = rig((0..<500).map { ("g\($0)", $0 % 10 + 1) })
        let inspection = inspect(rig, order: .used, limit: 5)
        #expect(inspection.count < 2 * 5 + 64 && inspection.hasDropped && !inspection.isFull)
        let reports = inspection.sorted(first: 5)
        #expect(reports.allSatisfy { $0.localUsed == 10 && $0.remaining == 0 })
        #expect(reports.map(\.key.grant) == ["g109", "g119", "g129", "g139", "g149"])
    }

    @Test func thoseAtTheirLimitAreSelected() {
        let rig = rig([("a", 9), ("b", 10), ("c", 10), ("d", 1)])
        #expect(grants(inspect(rig, isAtLimit: true, limit: 9)) == ["b", "c"])
        #expect(grants(inspect(rig, isAtLimit: true, limit: 1)) == ["b"])
    }

    /// What was found first is reported, and the rest from the cursor on.
    @Test func theReadingGoesOnBehindTheLastThatIsReported() throws {
        let rig = rig([("d", 1), ("a", 1), ("c", 1), ("b", 1), ("e", 1)])
        let first = inspect(rig, limit: 3)
        let cursor = try #require(first.cursor(behind: 2))
        #expect(grants(first, first: 2) == ["a", "d"] && cursor.place == .table(2))
        guard case .table(let index) = cursor.place else { return }
        let rest = inspect(rig, limit: 9, from: index)
        #expect(grants(rest) == ["b", "c", "e"] && rest.cursor(behind: 3) == nil)
    }

    @Test func cursorsAreWords() {
        let places: [CounterCursor.Place] = [
            .table(0), .table(17), .store(.beginning), .store(StorePlace(page: .max, after: 0)),
            .store(StorePlace(page: 7, after: .max)),
        ]
        for place in places {
            let cursor = CounterCursor(partition: 255, place: place)
            #expect(CounterCursor("\(cursor)") == cursor)
        }
        for word in [
            "", "0", "0.", "0.x1", "0.t", "0.t-1", "-1.t1", "0.s", "0.s1.", "0.s1.x", "0.s1.1.1", "0.t1.1", "0.s-1",
            "0.s99999999999999999999", "a.t1",
        ] {
            #expect(CounterCursor(word) == nil, "\(word)")
        }
    }
}
