import StoreModel
import SluicePolicy
import Support

@testable import SluiceEngine

/// Processes that follow one another.
extension LimiterRig {
    /// As the limiter's own, which are mutating for the sake of speed.
    var hasChanges: Bool {
        var limiter = limiter
        return limiter.hasChanges
    }
    var mustRecord: Bool {
        var limiter = limiter
        return limiter.mustRecord
    }

    /// Takes some of what is to be recorded, in one write.
    mutating func recordSome(atMost counterCount: Int) {
        limiter.takeRecords(into: &records, atMost: counterCount, now: now)
    }

    /// Takes what is to be recorded.
    mutating func record() {
        while limiter.hasChanges { limiter.takeRecords(into: &records, now: now) }
    }

    /// The process ends at once, and another one of the same replica begins with what was recorded.
    ///
    /// - Parameters:
    ///   - policy: another one from now on.
    ///   - recording: whether what has changed was recorded before.
    mutating func restart(_ policy: Policy? = nil, recording: Bool = true) {
        if recording { record() }
        if let policy { self.policy = policy }
        // What bytes lose, is lost.
        var bytes: [UInt8] = []
        for record in records { record.append(to: &bytes) }
        records = StateRecord.all(in: bytes[...]) ?? []
        limiter = Limiter(
            configuration: limiter.configuration, policies: PolicySet(single: self.policy), now: now)
        restoration = limiter.restore(records, now: now)
        tick()
    }
}
