/// How much of the table of plans each grant takes, and which of its rows are its own: one grant never takes more than a
/// part, and when it is at that, its own rows make room.
///
/// The rows of a grant are a ring by the links that lie in them. A grant's name is not kept again: the row from which its
/// ring is entered has it.
struct GrantTable {
    struct Grant {
        /// The row from which its ring is entered; -1 where there is none.
        var first: Int32 = -1
        var planCount: Int32 = 0
        /// What its rows take, with their counters in full: those that it shares with others, too.
        var bytes = 0
    }

    private var grants = ChunkedArray<Grant>()
    private var index = HashIndex()
    private var free: [Int32] = []

    /// How many grants have rows.
    var count: Int { index.count }

    /// What it takes in memory: see `HeldBytes`.
    var bytes: Int {
        grants.count * MemoryLayout<Grant>.stride + index.slotCount * MemoryLayout<UInt64>.stride
            + free.capacity * MemoryLayout<Int32>.stride
    }

    subscript(row: Int) -> Grant {
        _read { yield grants[row] }
        _modify { yield &grants[row] }
    }

    /// - Parameter isOwned: whether the plan of that row is of the grant that is looked for.
    func find(hash: Int, where isOwned: (Int) -> Bool) -> Int? {
        index.find(hash) { isOwned(Int(grants[$0].first)) }
    }

    /// A grant that had no rows has its first one.
    mutating func insert(hash: Int) -> Int {
        let row = free.popLast().map { Int($0) } ?? grants.count
        if row == grants.count { grants.append(Grant()) } else { grants[row] = Grant() }
        index.insert(row, hash: hash)
        return row
    }

    /// Its last row has gone.
    mutating func remove(_ row: Int, hash: Int) {
        index.remove(row, hash: hash)
        grants[row] = Grant()
        free.append(Int32(row))
    }
}

/// Whose rows are whose.
extension PlanTable {
    /// What tells grants apart: see `Identity.owner`.
    private static func hash(ofOwner owner: ArraySlice<UInt8>) -> Int { ByteString(bytes: Array(owner)).hashValue }

    /// The row of the grant of an identity; nil if it has no plans.
    func grant(of identity: ByteString) -> Int? {
        let owner = Identity.owner(ofKey: identity.bytes)
        return grants.find(hash: Self.hash(ofOwner: owner)) {
            Identity.owner(ofKey: plans[$0].name.bytes) == owner
        }
    }

    /// What a plan takes in memory, with its counters.
    private func bytes(ofPlan plan: Int) -> Int {
        MemoryLayout<Plan>.stride + plans[plan].counters.count * MemoryLayout<Counter>.stride
            + boxedBytes(ofPlan: plan)
    }

    /// What of that lies apart from rows.
    func boxedBytes(ofPlan plan: Int) -> Int {
        var bytes = plans[plan].boxedBytes
        for index in 0..<plans[plan].counters.count { bytes += counters[plans[plan].counters[index]].boxedBytes }
        return bytes
    }

    /// A new row is its grant's.
    mutating func joinGrant(_ plan: Int, _ identity: ByteString) {
        let owner = Identity.owner(ofKey: identity.bytes)
        let row = grant(of: identity) ?? grants.insert(hash: Self.hash(ofOwner: owner))
        self[plan: plan].grant = Int32(row)
        let first = grants[row].first
        if first < 0 {
            grants[row].first = Int32(plan)
            self[plan: plan].previousOfGrant = Int32(plan)
            self[plan: plan].nextOfGrant = Int32(plan)
        } else {
            // Before the one that is looked at next: behind all others.
            let last = plans[Int(first)].previousOfGrant
            self[plan: plan].previousOfGrant = last
            self[plan: plan].nextOfGrant = first
            self[plan: Int(last)].nextOfGrant = Int32(plan)
            self[plan: Int(first)].previousOfGrant = Int32(plan)
        }
        grants[row].planCount += 1
        grants[row].bytes += bytes(ofPlan: plan)
    }

    /// A row is its grant's no more; its counters are still there.
    mutating func leaveGrant(_ plan: Int) {
        let row = Int(plans[plan].grant)
        guard row >= 0 else { return }
        let (previous, next) = (plans[plan].previousOfGrant, plans[plan].nextOfGrant)
        grants[row].planCount -= 1
        grants[row].bytes -= bytes(ofPlan: plan)
        if grants[row].planCount == 0 {
            grants.remove(row, hash: Self.hash(ofOwner: Identity.owner(ofKey: plans[plan].name.bytes)))
        } else {
            if grants[row].first == Int32(plan) { grants[row].first = next }
            self[plan: Int(previous)].nextOfGrant = next
            self[plan: Int(next)].previousOfGrant = previous
        }
        self[plan: plan].grant = -1
    }
}
