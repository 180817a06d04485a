/// What one counter holds of its algorithm: the usage that the store reported, local admissions, and in an outage this
/// replica's share. `Counter` adds what all algorithms have in common, and calls it.
///
/// An algorithm whose windows have keys of their own gets the place of a window, open or before; all others have one
/// window, which is always open.
protocol LocalUsage: Sendable {
    // MARK: Reports of the store

    /// - Parameter decidedMs: the time at which the store decided.
    mutating func observe(_ usage: Usage, decidedMs: Int64)
    /// Reads what `Usage` does not hold of the same report. `numbers` begin with it.
    mutating func observe(_ numbers: ArraySlice<Int64>)
    /// `amount` of local admissions turned out to be in the usage that the store reports.
    mutating func markStored(_ amount: Int64, _ quota: Quota, _ place: Counter.Place)
    /// `amount` of local admissions is in the store from now on. What may still be admitted here stays the same.
    ///
    /// - Returns: whether the open window's `sharedUsage` has it.
    mutating func confirm(_ amount: Int64, _ quota: Quota, _ place: Counter.Place) -> Bool
    /// Opens another window.
    ///
    /// - Parameter isNext: whether it follows the one that was open.
    mutating func turn(isNext: Bool)

    // MARK: During an outage

    /// Takes a share of what the last reported usage left.
    mutating func beginShare()
    /// Takes from the share what checks ask the store for; a negative amount returns it.
    mutating func takeShare(_ amount: Int64, _ quota: Quota, _ place: Counter.Place?, cutMs: Int64, nowMs: Int64)
    /// What may still be admitted locally.
    mutating func left(_ quota: Quota, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64) -> Int64
    /// Charges a local admission; `left` was called just before.
    mutating func admit(
        _ quota: Quota, cost: Int64, reservation: ReservationID?, nowMs: Int64
    ) -> BucketUsage.ChargeReceipt?
    /// Adds to a local admission, or takes back some of it.
    ///
    /// - Parameter place: the place of the window in which it was charged; nil if that no longer counts: then nothing is
    ///   taken back, and more is charged now.
    mutating func adjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64)
    /// Whether `adjust` can count this much.
    func canAdjust(by cost: Int64, of item: LocalReservations.Item, _ place: Counter.Place?, nowMs: Int64) -> Bool
    mutating func release(_ reservation: ReservationID)
    /// How long until a check that does not fit locally could, ms.
    func retryAfterMs(
        _ quota: Quota, cost: Int64, replicas: borrowing ReplicaView, hash: UInt64, nowMs: Int64
    ) -> Int64

    // MARK: Combined usage

    /// All usage known here, as if the store had reported it at `nowMs`.
    func combinedUsage(_ quota: Quota, nowMs: Int64) -> Usage
    /// The usage that the store reported, as it is at `nowMs`.
    ///
    /// - Parameter cost: that of a check that it is reported to; 0: to none.
    func sharedUsage(_ quota: Quota?, cost: Int64, nowMs: Int64) -> Usage
    /// Until then, ms since the epoch, `sharedUsage` is exactly what the store has; after that it may be more.
    var exactUntilMs: Int64 { get }
    /// The local admissions that count at `nowMs`, in units of cost; for concurrency, in slots.
    func locallyUsed(_ quota: Quota?, nowMs: Int64) -> Int64
    /// Whether it has anything worth showing to an operator, beside what the store reported.
    var isTouched: Bool { get }
    /// Whether nothing of it counts that would decide what may be admitted in an outage. With windows that have keys of
    /// their own, `Counter` compares their times as well.
    func isQuiet(_ quota: Quota?, nowMs: Int64) -> Bool

    // MARK: Write-backs

    /// Keeps `amount` of the local admissions from being written back for now; if negative, releases it.
    mutating func markUnconfirmed(_ amount: Int64, _ place: Counter.Place?, cutMs: Int64)
    func isUnconfirmed(nowMs: Int64) -> Bool
    /// Whether it has local admissions that still count and are not known to be in the store's usage.
    func hasLocalAdmissions(nowMs: Int64) -> Bool
    /// The next write-backs and restores, in the order in which they are sent; amounts may be 0. Nothing is given back in
    /// a batch with restores: one that came after that would undo it.
    mutating func writeBacks(restores: Bool, atMost: Int64, windowStartMs: Int64, nowMs: Int64) -> [WriteBack]
    /// The quota that a write-back is charged with, which passes whatever the usage is; nil if that of its window does.
    func quota(of writeBack: WriteBack) -> Quota?
    /// The store has answered a write-back or restore.
    ///
    /// - Parameters:
    ///   - amount: how much of the local admissions it wrote back.
    ///   - numbers: the usage in the reply; nil: its answer never came, but it turned out to have run.
    /// - Returns: whether the open window's `sharedUsage` has it.
    mutating func wroteBack(
        _ amount: Int64, of writeBack: WriteBack, _ numbers: ArraySlice<Int64>?, _ place: Counter.Place,
        decidedMs: Int64
    ) -> Bool
    /// The limit as last checked here; nil if the algorithm does not keep it.
    var quota: Quota? { get }
    mutating func updateQuota(_ quota: Quota)

    // MARK: Refunds

    /// Gives back up to this much cost of what counts.
    ///
    /// - Parameter isShared: there is a store, which may have what is given back, and has to hear of it.
    mutating func refund(_ cost: Int64, _ quota: Quota, isShared: Bool, nowMs: Int64)
    /// Gives back what a window before the open one still counts; only where there is no store.
    mutating func clearBefore()
    /// Keeps what was given back from being sent for now: a batch in flight may have done that. A negative amount ends
    /// it.
    mutating func holdRefund(_ amount: Int64)
    /// The store has given back this much cost.
    ///
    /// - Parameter isReported: whether the usage that it reported last shows that.
    mutating func gaveBack(_ cost: Int64, _ quota: Quota, isReported: Bool)
    /// The store has given back an amount that was written back; `numbers` as in `wroteBack`.
    mutating func wroteBackRefund(_ amount: Int64, _ numbers: ArraySlice<Int64>?, decidedMs: Int64)
    /// What was given back and the store does not have yet.
    var credit: Int64 { get }
    mutating func restoreCredit(_ amount: Int64)

    // MARK: A restart

    /// What a restart must not lose; nil if nothing is kept.
    func state(hasShare: Bool) -> CounterState.Usage?
    /// Takes over what an earlier process knew.
    ///
    /// - Returns: whether it has begun a share.
    mutating func restore(_ state: CounterState.Usage) -> Bool
    /// When nothing of it counts any more, ms since the epoch; nil: when its windows are over.
    var countsUntilMs: Int64? { get }

    // MARK: Logs

    /// As `markStored`, by time of admission.
    mutating func markStored(_ steps: [UsageLog.Step])
    /// As `confirm`, by time of admission.
    ///
    /// - Parameter chargedMs: the latest time at which the store charged it.
    mutating func confirm(_ steps: [UsageLog.Step], chargedMs: Int64)
    /// The store charged what was spent of the share at another time.
    mutating func moveShare(_ amount: Int64, fromMs: Int64, toMs: Int64)
    /// Bytes that it holds beside its own.
    var bytes: Int { get }
    /// `bytes` as last counted by the table.
    var countedBytes: Int { get set }
}

/// What is the same for most algorithms.
extension LocalUsage {
    /// Its own bytes.
    var size: Int { MemoryLayout<Self>.size }
    mutating func observe(_ numbers: ArraySlice<Int64>) {}
    mutating func markStored(_ amount: Int64, _ quota: Quota, _ place: Counter.Place) {}
    mutating func confirm(_ amount: Int64, _ quota: Quota, _ place: Counter.Place) -> Bool { false }
    mutating func turn(isNext: Bool) {}
    mutating func release(_ reservation: ReservationID) {}
    var exactUntilMs: Int64 { .max }
    func quota(of writeBack: WriteBack) -> Quota? { nil }
    var quota: Quota? { nil }
    mutating func updateQuota(_ quota: Quota) {}
    var countsUntilMs: Int64? { nil }
    mutating func refund(_ cost: Int64, _ quota: Quota, isShared: Bool, nowMs: Int64) {}
    mutating func clearBefore() {}
    mutating func holdRefund(_ amount: Int64) {}
    mutating func gaveBack(_ cost: Int64, _ quota: Quota, isReported: Bool) {}
    mutating func wroteBackRefund(_ amount: Int64, _ numbers: ArraySlice<Int64>?, decidedMs: Int64) {}
    var credit: Int64 { 0 }
    mutating func restoreCredit(_ amount: Int64) {}
    mutating func markStored(_ steps: [UsageLog.Step]) {}
    mutating func confirm(_ steps: [UsageLog.Step], chargedMs: Int64) {}
    mutating func moveShare(_ amount: Int64, fromMs: Int64, toMs: Int64) {}
    var bytes: Int { 0 }
    var countedBytes: Int {
        get { 0 }
        set {}
    }
}

/// The saved form of a `LocalUsage`.
protocol SavedUsage: Sendable, Equatable {
    /// Whether its numbers may be true.
    var isPlausible: Bool { get }
    /// Whether it has no information.
    var isVoid: Bool { get }
    /// Whether it has anything to write back.
    var isUnsent: Bool { get }
    func append(to writer: inout RecordWriter)
}
