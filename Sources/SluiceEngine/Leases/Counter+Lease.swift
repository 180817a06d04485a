/// The lease of a fixed window's counter: see `Lease`.
extension Counter {
    /// What may be spent of its block under any policy.
    var block: Int64 { rare?.value.lease.block ?? 0 }

    /// What may be spent of its block under the present policies.
    ///
    /// - Parameter edition: see `Leases.edition`.
    func block(edition: Int32) -> Int64 {
        guard let lease = rare?.value.lease, lease.edition == edition else { return 0 }
        return lease.block
    }

    /// The maximum that its block is charged under.
    var leaseMax: Int64 { rare?.value.lease.max ?? 0 }

    /// What checks took that were not answered from the block.
    mutating func noteDemand(_ units: Int64, max: Int64, nowNs: Int64) {
        changeRare { $0.lease.note(units, max: max, nowNs: nowNs) }
    }

    /// As `Lease.spend`.
    mutating func spendLease(_ units: Int64, max: Int64, isNoted: Bool, nowNs: Int64) -> Bool {
        rare?.value.lease.spend(units, max: max, isNoted: isNoted, nowNs: nowNs) ?? false
    }

    /// A block is needed.
    /// - Returns: whether none was needed before.
    mutating func wantLease() -> Bool {
        guard let lease = rare?.value.lease, !lease.isWanted, lease.asked == 0 else { return false }
        rare?.value.lease.isWanted = true
        return true
    }

    mutating func forgetWantedLease() { rare?.value.lease.isWanted = false }

    /// The block to ask for; 0 if none. Its window is open.
    ///
    /// - Parameter epoch: see `observe`.
    mutating func nextLease(epoch: Int16, replicas: Int64, nowNs: Int64) -> Int64 {
        rare?.value.lease.isWanted = false
        // What is left is known only once the store has reported it.
        guard isSeen, seenEpoch == epoch else { return 0 }
        let left = leaseMax - windowUsed
        let amount = rare?.value.lease.next(left: left, replicas: replicas, nowNs: nowNs) ?? 0
        if amount > 0 { rare?.value.lease.ask(amount) }
        return amount
    }

    /// The store has granted this much in the window that contains `cutMs`.
    ///
    /// - Returns: how much of that nobody may spend: see `Lease.forfeit`.
    mutating func grantLease(_ amount: Int64, cutMs: Int64, edition: Int32) -> Int64 {
        guard isLeased, place(ofWindowAt: cutMs) == .open else { return 0 }
        return rare?.value.lease.grant(amount, edition: edition) ?? 0
    }

    /// As `Lease.forfeit`.
    mutating func forfeitLease() { rare?.value.lease.forfeit() }

    mutating func endAskingLease(_ amount: Int64, cutMs: Int64) {
        guard isLeased, place(ofWindowAt: cutMs) == .open else { return }
        rare?.value.lease.endAsking(amount)
    }

    /// A part of the block is given back.
    mutating func returnLease(_ amount: Int64) {
        rare?.value.lease.takeBlock(amount)
        rare?.value.credit.add(amount)
    }

    /// As `Lease.review`.
    mutating func reviewLease(edition: Int32) -> Int64 { rare?.value.lease.review(edition: edition) ?? 0 }

    /// Whether its lease is not needed any more.
    var isLeaseOver: Bool { rare?.value.lease.isOver ?? true }

    /// It is no longer among the leases.
    mutating func endLease() {
        isLeased = false
        rare?.value.lease = Lease()
    }
}

extension PlanTable {
    /// As `Counter.block`, without a copy of the counter.
    @inline(__always)
    func block(ofCounter counter: CounterID, edition: Int32) -> Int64 {
        guard self[counter].rare?.value.lease.edition == edition else { return 0 }
        return self[counter].rare?.value.lease.block ?? 0
    }
}
