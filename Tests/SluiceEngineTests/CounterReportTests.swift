import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

@Suite struct CounterReportTests {
    private static let start = LimiterRig.startMs
    private let ten = limit(max: 10)

    private func reports(_ rig: LimiterRig, stored: Bool = false, grant: String? = nil, tool: String? = nil)
        -> [CounterReport]
    {
        let found = stored ? rig.store.stored(prefix: rig.limiter.keyPrefix(grant: grant)) : nil
        return rig.limiter.counters(stored: found, grant: grant, tool: tool, now: rig.now)
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

    /// The identity was met, and no window was looked at yet: what the store tells is all that there is.
    @Test func aCounterWithoutAWindow() throws {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide(cost: 4).allowed)
        let stored = try #require(rig.store.stored(prefix: rig.limiter.keyPrefix(grant: nil)).first)
        let other = LimiterRig(policy(ten))
        var limiter = other.limiter
        let stem = Array(stored.key[...(try #require(stored.key.lastIndex(of: UInt8(ascii: ":"))))])
        _ = limiter.table.insertCounter(stem: stem, window: .seconds(60), algorithm: .fixedWindow)
        #expect(limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now).isEmpty)
        let report = try #require(
            limiter.counters(stored: [stored], most: 1, grant: nil, tool: nil, now: rig.now).first)
        #expect(report.sharedUsed == 4 && report.localUsed == 0)
    }

    @Test func localCounters() throws {
        var rig = LimiterRig(policy(ten), replicas: 2)
        #expect(rig.decide(cost: 4).allowed)
        rig.close()
        #expect(rig.decide(cost: 2).allowed)
        let report = try #require(reports(rig).first)
        #expect(report.sharedUsed == 4 && report.localUsed == 2 && report.localShare == 3 && report.remaining == 1)
        // Once more away, in the same window: half of 4, since the store was told of the 2.
        rig.connect()
        #expect(rig.decide(isPeek: true).source == .shared)
        rig.close()
        #expect(rig.decide().remaining == 1)
        let later = try #require(reports(rig).first)
        #expect(later.sharedUsed == 6 && later.localUsed == 1 && later.remaining == 1)
    }

    /// While the store decides, what it holds is what counts.
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

    /// Another replica has counted since this one last looked. What the store did not tell, because more was not asked for,
    /// is not told as this replica remembers it.
    @Test func whatTheStoreDidNotTellIsLeftOut() throws {
        let bucket = limit("b", max: 10, of: "u", algorithm: .tokenBucket(burst: 10))
        var rig = LimiterRig(policy(ten, bucket))
        for grant in ["a", "b"] {
            _ = rig.decide(grant: grant)
            _ = rig.decide("u", grant: grant)
        }
        var stored = rig.store.stored(prefix: rig.limiter.keyPrefix(grant: "a"))
        #expect(stored.count == 2)
        for index in stored.indices where stored[index].lastMs == 0 { stored[index].used = 7 }
        func told(most: Int) -> [CounterReport] {
            rig.limiter.counters(stored: stored, most: most, grant: nil, tool: nil, now: rig.now)
        }
        #expect(told(most: 3).map(\.key.grant) == ["a", "a", "b"], "no more than are looked at")
        let cutOff = told(most: 2)
        #expect(cutOff.map(\.key.grant) == ["a", "a"] && cutOff.map(\.key.counter) == ["c", "b"])
        #expect(cutOff.first?.sharedUsed == 7 && cutOff.first?.remaining == 3 && cutOff.last?.max == 10)
        // Without the store, too, only so many are looked at.
        #expect(rig.limiter.counters(stored: nil, most: 3, grant: nil, tool: nil, now: rig.now).count == 3)
    }

    /// Two names that look alike are two: they are told apart by their bytes, as the store does.
    @Test func namesThatLookAlike() {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide(grant: "\u{e9}").allowed && rig.decide(grant: "e\u{301}", cost: 2).allowed)
        for stored in [true, false] {
            #expect(Set(reports(rig, stored: stored).map(\.sharedUsed)) == [1, 2])
            #expect(reports(rig, stored: stored, grant: "\u{e9}").map(\.sharedUsed) == [1])
        }
    }

    /// What others have left under the prefix is not shown, and does no harm.
    @Test func foreignKeysInTheStore() {
        var rig = LimiterRig(policy(ten))
        _ = rig.decide()
        let gone = limit("gone", max: 1)
        rig.store.set(key(gone), .integer(3))
        for text in ["sluice:1:{g}:t:c:fixed_window:9223372036854775807s:0", "sluice:1:{g}:x", "sluice:1:{"] {
            rig.store.set(Array(text.utf8), .integer(1))
        }
        let found = reports(rig, stored: true)
        #expect(found.map(\.key.counter) == ["c", "gone"])
        // The policy no longer has this one.
        #expect(found.last?.max == -1 && found.last?.rule == "" && found.last?.remaining == -1)
        #expect(found.last?.sharedUsed == 3)
    }

    @Test func prefixesOfAQuery() {
        let rig = LimiterRig(policy(ten), usesStore: false)
        #expect(rig.limiter.keyPrefix(grant: nil) == Array("sluice:1:{".utf8))
        #expect(rig.limiter.keyPrefix(grant: "a{b") == Array("sluice:1:{a%7Bb}:".utf8))
    }
}
