import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Shorthand for tests of counters with fixed windows of a minute.
extension Counter {
    init(baseKey: [UInt8], window: Window, algorithm: Algorithm) {
        let parts = BaseKeyParts(baseKey, in: "sluice")
        self.init(
            parts, of: KeyTemplate(parts, window: window, algorithm: algorithm),
            changeSlot: DenialCache.slot(of: baseKey[...], in: "sluice"))
    }

    init(baseKey: [UInt8]) { self.init(baseKey: baseKey, window: .seconds(60), algorithm: .fixedWindow) }

    mutating func observe(used: Int64, cutMs: Int64) {
        _ = observe(
            Usage(used: used), cutMs: cutMs, decidedMs: cutMs, sentAt: .never, epoch: 0, keepsShare: false,
            believesLess: true)
    }

    mutating func localRemaining(max: Int64, replicas: ReplicaView) -> Int64 {
        beginShare(1)
        return localRemaining(
            .fixedWindow(max: max, window: windowStartMs..<windowEndMs), replicas: replicas, nowMs: windowStartMs)
    }

    func isQuiet(nowMs: Int64) -> Bool { isQuiet(nowMs: nowMs, quota: nil) }

    mutating func markStored(_ amount: Int64, cutMs: Int64) { markStored(amount, quota: Self.anyQuota, cutMs: cutMs) }
    mutating func confirm(_ amount: Int64, cutMs: Int64) { confirm(amount, quota: Self.anyQuota, cutMs: cutMs) }
    /// Fixed windows do not use these parameters.
    private static let anyQuota = Quota.fixedWindow(max: 0, window: 0..<60_000)

    var sharedUsed: Int64 { shared(nil, nowMs: windowStartMs).used }
    var localShare: Int64 { shareEpoch == 0 ? -1 : windowed.localShare }
    /// Local admissions that are not known to be in the store's usage.
    var localUsed: Int64 {
        get { windowed.own }
        set { windowed.adjust(by: newValue - windowed.own) }
    }
}

extension Decision.LimitTrace {
    /// The numbers that the socket reports.
    struct Reported: Equatable {
        var rule: String
        var windowStartMs: Int64
        var used: Int64
        var max: Int64
    }

    var reported: Reported { Reported(rule: rule, windowStartMs: windowStartMs, used: used, max: max) }
}
