import StoreModel
import SluicePolicy
import Support

@testable import SluiceEngine

/// Processes that follow one another.
extension LimiterRig {
    /// As the limiter's own methods, which are mutating for speed.
    var hasChanges: Bool {
        var limiter = limiter
        return limiter.hasChanges
    }
    var mustRecord: Bool {
        var limiter = limiter
        return limiter.mustRecord
    }

    /// Takes some of the changes to record, in one write.
    mutating func recordSome(atMost counterCount: Int) {
        limiter.takeRecords(into: &records, atMost: counterCount, now: now)
    }

    /// Takes all changes to record.
    mutating func record() {
        while limiter.hasChanges { limiter.takeRecords(into: &records, now: now) }
    }

    /// The process ends at once, and another one of the same replica begins with the records.
    ///
    /// - Parameters:
    ///   - policy: another one from now on.
    ///   - recording: whether the changes were recorded before.
    mutating func restart(_ policy: Policy? = nil, recording: Bool = true) {
        if recording { record() }
        if let policy { self.policy = policy }
        // Encodes and decodes, so that a loss in the encoding shows.
        var bytes: [UInt8] = []
        for record in records { record.append(to: &bytes) }
        records = StateRecord.all(in: bytes[...]) ?? []
        limiter = Limiter(
            configuration: limiter.configuration, policies: PolicySet(single: self.policy), now: now)
        restoration = limiter.restore(records, now: now)
        tick()
    }
}
