import StoreModel
import SluicePolicy
import Support

@testable import SluiceEngine

/// The change feed, as far as a test delivers it.
extension LimiterRig {
    /// A limiter with an open change feed, some time after it was opened.
    static func listening(
        _ policy: Policy, replicas: Int = 1, replica: UInt64 = LimiterRig.replica
    ) -> LimiterRig {
        var rig = LimiterRig(policy, replicas: replicas, replica: replica)
        rig.listen()
        return rig
    }

    /// Opens the feed.
    mutating func listen() {
        for _ in 0..<1_000 where !limiter.hearsChanges {
            tick()
            exchange()
            if listening.last == .open {
                listening = []
                hear(.opened)
            } else {
                pass(ms: 20)
            }
        }
        precondition(limiter.hearsChanges)
        pass(ms: 1)
    }

    mutating func hear(_ event: ChangeFeedEvent) {
        limiter.linkChangeFeed(event, now: now)
        exchange()
    }

    /// Delivers what the store has published, as a store does at once; a test that wants it late calls it late.
    mutating func hearChanges() {
        for key in store.takePublished() { hear(.changed(key)) }
        pass(ns: 1)
    }
}
