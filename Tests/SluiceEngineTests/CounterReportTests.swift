import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

@Suite struct CounterReportTests {
    private static let start = LimiterRig.startMs
    private let ten = limit(max: 10)

    private func reports(
        _ rig: LimiterRig, stored: Bool = false, grant: String? = nil, tool: String? = nil, limit: Int = .max,
        atMost: Int = .max
    ) -> [CounterReport] {
        let query = rig.limiter.counterQuery(grant: grant, tool: tool, limit: limit)
        return reports(rig, query, stored ? rig.store.stored(query) : nil, atMost: atMost)
    }

    private func reports(
        _ rig: LimiterRig, _ query: CounterQuery, _ stored: StoredCounters?, atMost: Int = .max
    ) -> [CounterReport] {
        var inspection = CounterInspection(query, stored: stored)
        while !inspection.look(at: rig.limiter, atMost: atMost, now: rig.now) {}
        return inspection.sorted()
    }

    /// Another replica's limiter over the same store.
    private func other(_ rig: LimiterRig, _ policy: Policy) -> LimiterRig {
        var other = LimiterRig(policy, replica: rig.replica + 1)
        other.store = rig.store
        other.now = rig.now
        other.limiter.ledger.acknowledgedSequence = 0
        return other
    }

    @Test func sharedCounters() throws {
        var rig = LimiterRig(policy(ten))
        #expect(reports(rig).isEmpty)
        #expect(rig.decide(cost: 4).allowed)
        rig.pass(ms: 1_000)
        for stored in [true, false] {
            let report = try #require(reports(rig, stored: stored).first)
            #expect(report.key.grant == "g" && report.key.tool == "t" && report.key.counter == "c")
            #expect(report.rule == "/tools/t/limits/c" && report.max == 10)
            #expect(report.sharedUsed == 4 && report.localUsed == 0 && report.localShare == -1)
            #expect(report.remaining == 6 && report.resetMs == 59_000)
        }
        rig.pass(ms: 59_000)
        #expect(reports(rig).isEmpty && reports(rig, stored: true).isEmpty)
    }

    /// The identity was seen, but no window was used yet: only the store's report is shown.
    @Test func aCounterWithoutAWindow() throws {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide(cost: 4).allowed)
        let query = rig.limiter.counterQuery(grant: nil, tool: nil, limit: .max)
        let stored = rig.store.stored(query)
        let other = LimiterRig(policy(ten))
        var limiter = other.limiter
        let key = try #require(stored.counters.first).key.bytes(in: "sluice")
        let baseKey = Array(key[...(try #require(key.lastIndex(of: UInt8(ascii: ":"))))])
        _ = limiter.table.insertCounter(baseKey: baseKey, window: .seconds(60), algorithm: .fixedWindow)
        var unknown = CounterInspection(query, stored: nil)
        let hasSeenAll = unknown.look(at: limiter, atMost: 9, now: rig.now)
        #expect(hasSeenAll && unknown.count == 0)
        var known = CounterInspection(query, stored: stored)
        _ = known.look(at: limiter, atMost: 9, now: rig.now)
        let report = try #require(known.sorted().first)
        #expect(report.sharedUsed == 4 && report.localUsed == 0)
    }

    /// What other replicas did since is reported as the store has it, for every algorithm, and as in `EXPLAIN`.
    @Test(arguments: [
        limit(max: 10), limit(max: 10, algorithm: .slidingWindow), limit(max: 10, algorithm: .tokenBucket, burst: 12),
        limit(max: 4, algorithm: .concurrency, holdMs: 90_000), limit(max: 10, mode: .shadow),
    ])
    func othersCounters(one: Limit) throws {
        let policy = policy(one)
        var rig = LimiterRig(policy)
        rig.pass(ms: 50_000)
        let first = rig.reserve(cost: 2)
        #expect(first.allowed)
        var other = other(rig, policy)
        for seconds: Int64 in [1, 12, 30] {
            // The next window of those that have any.
            other.pass(ms: seconds * 1_000)
            if seconds < 30 { #expect(other.reserve(cost: 3).allowed) }
            rig.store = other.store
            rig.now = other.now
            let found = try #require(reports(rig, stored: true).first)
            let look = try #require(
                rig.decide(LimiterRig.Question(isPeek: true, wantsTrace: true)).trace?.first)
            #expect(found.sharedUsed == look.used && found.remaining == max(0, look.left), "\(seconds) \(one)")
            #expect(found.resetMs == look.resetMs && found.max == look.max && found.denials == look.denials)
            other.store = rig.store
        }
        // What was given back elsewhere is given back here, too.
        let cancelled = other.settle(first.reservation ?? "", .cancel)
        #expect(cancelled != nil)
        rig.store = other.store
        let look = try #require(rig.decide(LimiterRig.Question(isPeek: true, wantsTrace: true)).trace?.first)
        let found = reports(rig, stored: true).first
        #expect(found.map(\.sharedUsed) ?? 0 == look.used && found.map(\.remaining) ?? look.left == max(0, look.left))
    }

    /// Slots that were all freed elsewhere are not reported, although this replica still remembers them.
    @Test func slotsThatWereFreedElsewhere() {
        let slots = policy(limit(max: 4, algorithm: .concurrency, holdMs: 90_000))
        var rig = LimiterRig(slots)
        let taken = (0..<4).map { _ in rig.reserve().reservation ?? "" }
        #expect(reports(rig, stored: true).map(\.sharedUsed) == [4])
        var other = other(rig, slots)
        for reservation in taken { _ = other.settle(reservation, .release) }
        rig.store = other.store
        #expect(reports(rig, stored: true).isEmpty)
    }

    /// The open window counts nothing yet, and some of the previous one still counts.
    @Test func aSlidingWindowThatHasJustBegun() throws {
        var rig = LimiterRig(policy(limit(max: 10, algorithm: .slidingWindow)))
        #expect(rig.decide(cost: 8).allowed)
        rig.pass(ms: 75_000)
        var other = other(rig, policy(limit(max: 10, algorithm: .slidingWindow)))
        let found = try #require(reports(other, stored: true).first)
        #expect(found.key.windowStartMs == LimiterRig.startMs + 60_000)
        #expect(found.sharedUsed == 6 && found.remaining == 4 && found.resetMs == 45_000)
        #expect(other.decide(isPeek: true).remaining == 4)
    }

    @Test func localCounters() throws {
        var rig = LimiterRig(policy(ten), replicas: 2)
        #expect(rig.decide(cost: 4).allowed)
        rig.close()
        #expect(rig.decide(cost: 2).allowed)
        let report = try #require(reports(rig).first)
        #expect(report.sharedUsed == 4 && report.localUsed == 2 && report.localShare == 3 && report.remaining == 1)
        // Another outage in the same window: half of 4, since the 2 were written back.
        rig.connect()
        #expect(rig.decide(isPeek: true).source == .shared)
        rig.close()
        #expect(rig.decide().remaining == 1)
        let later = try #require(reports(rig).first)
        #expect(later.sharedUsed == 6 && later.localUsed == 1 && later.remaining == 1)
    }

    /// While the store decides, only its usage counts.
    @Test func remainingIsTheStoresWhileItDecides() throws {
        var rig = LimiterRig(policy(ten), replicas: 2)
        #expect(rig.decide(cost: 4).allowed)
        rig.close()
        #expect(rig.decide(cost: 2).allowed)
        rig.connect()
        for stored in [true, false] {
            let report = try #require(reports(rig, stored: stored).first)
            #expect(report.sharedUsed == 6 && report.localUsed == 0 && report.remaining == 4)
        }
        #expect(rig.decide().remaining == 3)
    }

    @Test func withoutAStore() throws {
        var rig = LimiterRig(policy(ten), usesStore: false)
        #expect(rig.decide(cost: 3).allowed)
        let report = try #require(reports(rig).first)
        #expect(report.sharedUsed == -1 && report.localUsed == 3 && report.localShare == 10 && report.remaining == 7)
    }

    @Test func sortedAndFiltered() {
        let all = limit("all", max: 50, of: nil)
        let session = limit("s", max: 5, of: "u", scope: .session)
        var rig = LimiterRig(policy(ten, session, allTools: [all]))
        for grant in ["h", "g"] {
            _ = rig.decide(grant: grant)
            for name in ["z", "a"] { _ = rig.decide("u", grant: grant, session: name) }
        }
        let keys = reports(rig, stored: true).map {
            [$0.key.grant ?? "", $0.key.tool ?? "", $0.key.counter, $0.key.subject.words]
        }
        let ofOne = [["", "all", ""], ["t", "c", ""], ["u", "s", "session=a"], ["u", "s", "session=z"]]
        #expect(keys == ["g", "h"].flatMap { grant in ofOne.map { [grant] + $0 } })
        #expect(reports(rig, stored: true, grant: "h").count == 4 && reports(rig, grant: "h").count == 4)
        #expect(reports(rig, tool: "u").allSatisfy { $0.key.tool == "u" && $0.rule == "/tools/u/limits/s" })
        #expect(reports(rig, grant: "nobody").isEmpty)
    }

    /// Another replica has counted since this one last looked. A counter that the store left out, because no more were
    /// asked for, is not reported from this replica's memory.
    @Test func whatTheStoreDidNotReportIsLeftOut() throws {
        let bucket = limit("b", max: 10, of: "u", algorithm: .tokenBucket, burst: 10)
        var rig = LimiterRig(policy(ten, bucket))
        for grant in ["a", "b"] {
            _ = rig.decide(grant: grant)
            _ = rig.decide("u", grant: grant)
        }
        let query = rig.limiter.counterQuery(grant: nil, tool: nil, limit: 3)
        var stored = rig.store.stored(rig.limiter.counterQuery(grant: "a", tool: nil, limit: 3))
        #expect(stored.counters.count == 2)
        for index in stored.counters.indices where stored.counters[index].lastMs == 0 {
            stored.counters[index].usage.used = 7
        }
        let reported = reports(rig, query, stored)
        #expect(reported.map(\.key.grant) == ["a", "a"] && reported.map(\.key.counter) == ["c", "b"])
        #expect(reported.first?.sharedUsed == 7 && reported.first?.remaining == 3 && reported.last?.max == 10)
        // Without the store the limit applies, too.
        #expect(reports(rig, query, nil).count == 3)
        var cutOff = CounterInspection(query, stored: nil)
        let isDone = cutOff.look(at: rig.limiter, atMost: 9, now: rig.now)
        #expect(isDone && cutOff.isCutOff)
        stored.isWhole = false
        #expect(CounterInspection(query, stored: stored).isCutOff)
    }

    /// The report is the same however few counters are examined at a time.
    @Test func someAtATime() {
        var rig = LimiterRig(policy(ten, limit("s", max: 5, of: "u", scope: .session)))
        for number in 0..<40 { _ = rig.decide("u", grant: "g\(number % 4)", session: "s\(number)") }
        for stored in [true, false] {
            let all = reports(rig, stored: stored)
            #expect(all.count == 40 && reports(rig, stored: stored, atMost: 1) == all)
            #expect(reports(rig, stored: stored, atMost: 7) == all)
            #expect(reports(rig, stored: stored, limit: 11).count == 11)
            // A filter finds what there is, however much else there is.
            #expect(reports(rig, stored: stored, grant: "g1", limit: 11).count == 10)
        }
    }

    /// Names are distinguished by their bytes, and a tool named as the limits over all tools is none of those.
    @Test func filtersAreExact() {
        let names = ["t", "t:u", "T", "t ", "t%3A", "all_tools", "reservation", "t}:x", "*"]
        var rig = LimiterRig(
            policy(names.map { limit(max: 9, of: $0) }, allTools: [limit("all", max: 99, of: nil)]))
        for name in names { #expect(rig.decide(name, grant: name).allowed) }
        for stored in [true, false] {
            for name in names {
                let ofTool = reports(rig, stored: stored, tool: name)
                #expect(ofTool.count == 1 && ofTool[0].key.tool?.utf8.elementsEqual(name.utf8) == true, "\(name)")
                #expect(reports(rig, stored: stored, grant: name).count == 2, "\(name)")
                #expect(reports(rig, stored: stored, grant: name, tool: name).count == 1, "\(name)")
            }
            #expect(
                reports(rig, stored: stored, tool: "x").isEmpty && reports(rig, stored: stored, grant: "all").isEmpty)
        }
    }

    /// Two names that look alike are different: they are compared by their bytes, as in the store.
    @Test func namesThatLookAlike() {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide(grant: "\u{e9}").allowed && rig.decide(grant: "e\u{301}", cost: 2).allowed)
        for stored in [true, false] {
            #expect(Set(reports(rig, stored: stored).map(\.sharedUsed)) == [1, 2])
            #expect(reports(rig, stored: stored, grant: "\u{e9}").map(\.sharedUsed) == [1])
        }
    }

    /// Other keys under the prefix are not shown, and do no harm.
    @Test func foreignKeysInTheStore() {
        var rig = LimiterRig(policy(ten))
        _ = rig.decide()
        let gone = limit("gone", max: 1)
        rig.store.set(key(gone), .integer(3))
        for text in ["sluice:2:{g}:t:c:f9223372036854775807:0", "sluice:2:{g}:x", "sluice:2:{"] {
            rig.store.set(Array(text.utf8), .integer(1))
        }
        let found = reports(rig, stored: true)
        #expect(found.map(\.key.counter) == ["c", "gone"])
        // The policy no longer has this one.
        #expect(found.last?.max == -1 && found.last?.rule == "" && found.last?.remaining == -1)
        #expect(found.last?.sharedUsed == 3)
    }

    @Test func beginningsOfAQuery() {
        let rig = LimiterRig(policy(ten), usesStore: false)
        #expect(rig.limiter.counterQuery(grant: nil, tool: nil, limit: 1).beginning == Array("sluice:2:{".utf8))
        #expect(
            rig.limiter.counterQuery(grant: "a{b", tool: nil, limit: 1).beginning == Array("sluice:2:{a%7Bb}:".utf8))
    }
}
