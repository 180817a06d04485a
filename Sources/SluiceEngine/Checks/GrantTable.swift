/// How much of the plan table each grant takes, and which rows are its own. A grant takes at most one part of the
/// table; when it reaches that, its own rows are evicted.
///
/// A grant's rows form a ring, linked within the rows. The grant's name is not stored again: the ring's first row has
/// it.
struct GrantTable {
    struct Grant {
        /// The first row of its ring; nil if it has none.
        var first: PlanID?
        var planCount: Int32 = 0
        /// Bytes of its rows and their counters; counters that it shares with other grants count in full.
        var bytes = 0
    }

    private var grants = ChunkedArray<Grant>()
    private var index = HashIndex()
    private var free = FreeRows()

    /// The number of grants with rows.
    var count: Int { index.count }

    /// Bytes that it holds: see `HeldBytes`.
    var bytes: Int {
        grants.count * MemoryLayout<Grant>.stride + index.slotCount * MemoryLayout<UInt64>.stride
            + free.bytes
    }

    subscript(row: Int) -> Grant {
        _read { yield grants[row] }
        _modify { yield &grants[row] }
    }

    /// - Parameter isOwned: whether the plan of that row belongs to the grant.
    func find(hash: Int, where isOwned: (PlanID) -> Bool) -> Int? {
        index.find(hash) { grants[$0].first.map(isOwned) ?? false }
    }

    /// Adds a grant with its first row.
    mutating func insert(hash: Int) -> Int {
        let row = free.take() ?? grants.count
        if row == grants.count { grants.append(Grant()) } else { grants[row] = Grant() }
        index.insert(row, hash: hash)
        return row
    }

    /// Removes a grant without rows.
    mutating func remove(_ row: Int, hash: Int) {
        index.remove(row, hash: hash)
        grants[row] = Grant()
        free.add(row)
    }

    /// See `PlanTable.giveBack`.
    mutating func giveBack() { _ = free.giveBack(&grants) }
}

/// The rows of each grant.
extension PlanTable {
    /// Identifies a grant: see `Identity.owner`.
    private static func hash(ofOwner owner: ArraySlice<UInt8>) -> Int { ByteString(bytes: Array(owner)).hashValue }

    /// The row of an identity's grant; nil if it has no plans.
    func grant(of identity: ByteString) -> Int? {
        let owner = Identity.owner(ofKey: identity.bytes)
        return grants.find(hash: Self.hash(ofOwner: owner)) {
            Identity.owner(ofKey: self[$0].name.bytes) == owner
        }
    }

    /// The rows of a grant.
    func plans(ofGrant grant: String) -> [PlanID] {
        let owner = Array(grant.utf8)[...]
        let row = grants.find(hash: Self.hash(ofOwner: owner)) {
            Identity.owner(ofKey: self[$0].name.bytes) == owner
        }
        guard let row, let first = grants[row].first else { return [] }
        var plans = [first]
        var next = self[first].nextOfGrant
        while next != first {
            plans.append(next)
            next = self[next].nextOfGrant
        }
        return plans
    }

    /// Bytes of a plan and its counters.
    private func bytes(ofPlan plan: PlanID) -> Int {
        MemoryLayout<Plan>.stride + self[plan].counters.count * MemoryLayout<Counter>.stride
            + boxedBytes(ofPlan: plan)
    }

    /// The part of those that is stored outside rows.
    func boxedBytes(ofPlan plan: PlanID) -> Int {
        var bytes = self[plan].boxedBytes
        for index in 0..<self[plan].counters.count { bytes += self[self[plan].counters[index]].boxedBytes }
        return bytes
    }

    /// Adds a new row to its grant.
    mutating func joinGrant(_ plan: PlanID, _ identity: ByteString) {
        let owner = Identity.owner(ofKey: identity.bytes)
        let row = grant(of: identity) ?? grants.insert(hash: Self.hash(ofOwner: owner))
        self[plan].grant = Int32(row)
        if let first = grants[row].first {
            // Inserts before the row that is examined next, so that the new row comes last.
            let last = self[first].previousOfGrant
            self[plan].previousOfGrant = last
            self[plan].nextOfGrant = first
            self[last].nextOfGrant = plan
            self[first].previousOfGrant = plan
        } else {
            grants[row].first = plan
            self[plan].previousOfGrant = plan
            self[plan].nextOfGrant = plan
        }
        grants[row].planCount += 1
        grants[row].bytes += bytes(ofPlan: plan)
    }

    /// Removes a row from its grant; its counters still exist.
    mutating func leaveGrant(_ plan: PlanID) {
        let row = Int(self[plan].grant)
        guard row >= 0 else { return }
        let (previous, next) = (self[plan].previousOfGrant, self[plan].nextOfGrant)
        grants[row].planCount -= 1
        grants[row].bytes -= bytes(ofPlan: plan)
        if grants[row].planCount == 0 {
            grants.remove(row, hash: Self.hash(ofOwner: Identity.owner(ofKey: self[plan].name.bytes)))
        } else {
            if grants[row].first == plan { grants[row].first = next }
            self[previous].nextOfGrant = next
            self[next].previousOfGrant = previous
        }
        self[plan].grant = -1
    }
}
