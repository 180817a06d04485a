/// Makes room for a new identity: drops rows that are no longer needed, or else evicts the least recently used of
/// those that may go.
///
/// As in Redis, the ages of a few rows are compared, not of all: a check only stores its time, and no list is kept in
/// order.
extension PlanTable {
    /// Whether a plan may be dropped.
    private enum Tenure {
        /// Nothing would be lost.
        case over
        /// The store has everything in it, and reports it again.
        case shared
        /// It holds something that is nowhere else, or a batch refers to it.
        case kept
    }

    /// - Parameter sharedEpoch: as in `makeRoom`.
    private func tenure(of plan: PlanID, sharedEpoch: Int16?, nowMs: Int64) -> Tenure {
        guard !self[plan].isFree, self[plan].pins == 0 else { return .kept }
        if isQuiet(plan, nowMs: nowMs) { return .over }
        guard let sharedEpoch else { return .kept }
        for index in 0..<self[plan].counters.count {
            let counter = self[plan].counters[index]
            if isShared(counter) { continue }
            if self[counter].isStored(epoch: sharedEpoch, nowMs: nowMs) { continue }
            let quota = self[rulesOf: plan].limits[index].quota
            if !self[counter].isQuiet(nowMs: nowMs, quota: quota) { return .kept }
        }
        return .shared
    }

    /// Drops what it can of some rows: all that are over or, if there are none, the oldest that is shared.
    ///
    /// - Returns: whether any was dropped.
    private mutating func makeRoom(
        among rows: some Sequence<PlanID>, sharedEpoch: Int16?, nowMs: Int64
    ) -> Bool {
        var oldest: PlanID?
        var found = false
        for plan in rows {
            switch tenure(of: plan, sharedEpoch: sharedEpoch, nowMs: nowMs) {
            case .over:
                forget(plan)
                found = true
            case .shared:
                if self[plan].lastUsedNs < oldest.map({ self[$0].lastUsedNs }) ?? .max { oldest = plan }
            case .kept: break
            }
        }
        guard !found, let oldest else { return found }
        forget(oldest)
        evicted += 1
        return true
    }

    /// Examines some rows of a grant, in turn.
    private mutating func makeRoom(inGrant grant: Int, sharedEpoch: Int16?, nowMs: Int64) -> Bool {
        var rows: [PlanID] = []
        for _ in 0..<min(EngineBounds.plansSweptPerInsertion, Int(grants[grant].planCount)) {
            guard let plan = grants[grant].first else { break }
            rows.append(plan)
            grants[grant].first = self[plan].nextOfGrant
        }
        return makeRoom(among: rows, sharedEpoch: sharedEpoch, nowMs: nowMs)
    }

    /// Examines some rows of any grant: if there are many, random ones.
    private mutating func makeRoomAnywhere(sharedEpoch: Int16?, nowMs: Int64) -> Bool {
        let count = EngineBounds.plansSweptPerInsertion
        let rows =
            plans.count <= count
            ? plans.indices.map { PlanID($0) }
            : (0..<count).map { _ in PlanID(Int.random(in: 0..<plans.count, using: &random)) }
        return makeRoom(among: rows, sharedEpoch: sharedEpoch, nowMs: nowMs)
    }

    /// The same for rows with bytes stored outside them.
    private mutating func makeRoomAmongLongRows(sharedEpoch: Int16?, nowMs: Int64) -> Bool {
        var rows: [PlanID] = []
        for _ in 0..<EngineBounds.plansSweptPerInsertion where !longRows.isEmpty {
            let place = Int.random(in: 0..<longRows.count, using: &random)
            let plan = longRows[place]
            if !self[plan].isFree && boxedBytes(ofPlan: plan) > 0 {
                rows.append(plan)
            } else {
                longRows.swapAt(place, longRows.count - 1)
                longRows.removeLast()
                self[plan].isListed = false
            }
        }
        return makeRoom(among: rows, sharedEpoch: sharedEpoch, nowMs: nowMs)
    }

    /// Adds a plan's row to `longRows`, if it has bytes stored outside it.
    mutating func listIfLong(_ plan: PlanID) {
        guard !self[plan].isListed, boxedBytes(ofPlan: plan) > 0 else { return }
        self[plan].isListed = true
        longRows.append(plan)
    }

    /// Makes room for an identity that the table does not have.
    ///
    /// - Parameters:
    ///   - baseKeys: those of its counters.
    ///   - sharedEpoch: the epoch in which counters must have been seen to be evicted, while the store counts; nil in
    ///     an outage.
    /// - Returns: why there is no room; nil if there is.
    mutating func makeRoom(
        for identity: ByteString, baseKeys: [[UInt8]], sharedEpoch: Int16?, nowMs: Int64
    ) -> Busy? {
        let isThrottle = identity.bytes.first == Identity.throttleForm
        let needed = growth(for: identity, baseKeys: baseKeys)
        let parts = isThrottle ? EngineBounds.throttleParts : grantParts
        let (mostPlans, mostBytes) = (max(1, maxPlans / parts), maxBytes / parts)
        var rounds = 0
        // The loop ends with the grant's last row: a grant without rows may use all the room there is.
        while let grant = grant(of: identity),
            grants[grant].planCount >= mostPlans || grants[grant].bytes + needed > mostBytes
        {
            rounds += 1
            guard rounds <= EngineBounds.evictionRounds,
                makeRoom(inGrant: grant, sharedEpoch: sharedEpoch, nowMs: nowMs)
            else { return isThrottle ? .throttle : .grant }
        }
        let before = bytes
        rounds = 0
        while let lack = lack(for: identity, baseKeys: baseKeys, before: before) {
            rounds += 1
            guard rounds <= EngineBounds.evictionRounds,
                lack == .boxedBytes
                    ? makeRoomAmongLongRows(sharedEpoch: sharedEpoch, nowMs: nowMs)
                    : makeRoomAnywhere(sharedEpoch: sharedEpoch, nowMs: nowMs)
            else { return lack == .plans ? .table : .memory }
        }
        return nil
    }

    private enum Lack { case plans, rowBytes, boxedBytes }

    /// What is lacking for another identity; nil if there is room.
    ///
    /// - Parameter before: the table's bytes before rows were dropped for this identity. It may use what they freed,
    ///   however full the table is.
    private func lack(for identity: ByteString, baseKeys: [[UInt8]], before: Int) -> Lack? {
        if planCount >= maxPlans { return .plans }
        guard maxBytes < .max else { return nil }
        let newRows =
            (hasFreePlan ? 0 : MemoryLayout<Plan>.stride)
            + max(0, baseKeys.count - freeCounterCount) * MemoryLayout<Counter>.stride
        if newRows > 0 && rowBytes + newRows > maxBytes - maxBytes / EngineBounds.boxedParts { return .rowBytes }
        let after =
            bytes + newRows + SmallBytes<55>.boxedBytes(of: identity.bytes.count)
            + baseKeys.reduce(0) { $0 + SmallBytes<39>.boxedBytes(of: $1.count) }
        guard after > maxBytes && after >= before else { return nil }
        // A row's memory is only reused for rows.
        return newRows > 0 && longRows.isEmpty ? .rowBytes : .boxedBytes
    }

    /// Bytes of an identity with its counters. Counters that others use, too, count in full: that is little beside the
    /// table.
    private func growth(for identity: ByteString, baseKeys: [[UInt8]]) -> Int {
        baseKeys.reduce(MemoryLayout<Plan>.stride + SmallBytes<55>.boxedBytes(of: identity.bytes.count)) {
            $0 + MemoryLayout<Counter>.stride + SmallBytes<39>.boxedBytes(of: $1.count)
        }
    }
}

extension Counter {
    /// Whether the store has everything in it, so that it can be evicted while the store counts: there is nothing to
    /// write back, restore or record, and no local reservation may change it.
    func isStored(epoch: Int16, nowMs: Int64) -> Bool {
        guard !isJournalled, !isDirty, !hasLocalAdmissions(nowMs: nowMs) else { return false }
        // `writeBacks` drops expired entries of a log, so it runs on a copy.
        var asked = self
        guard asked.writeBacks(nowMs: nowMs, epoch: epoch).isEmpty else { return false }
        return !isUnconfirmed(nowMs: nowMs)
    }
}
