/// The rules of one identity, and its counters, which may be shared with others. It fits in two cache lines, because
/// with many identities each check fetches another plan from memory.
struct Plan {
    /// The identity.
    let name: SmallBytes<55>
    /// The counters of its rules' limits, in their order.
    var counters: CounterList
    var lastUsedNs: Int64
    /// Its first entry in the batch with that id.
    var batchID: Int64 = -1
    var firstEntry = EntryIndex.none
    var rules: Int32
    /// How many entries of pending batches refer to this plan: it must not be dropped before they are done.
    var pins: Int32 = 0
    /// The policies that it was made by: see `PlanTable.outdate`.
    var edition: Int32
    /// Whether the store could not charge one of its counters at the last attempt.
    var isFaulty = false
    /// Whether the store denied one of its checks lately, so that others may be denied from the cache: see
    /// `Limiter.denyFromCache`.
    var wasDenied = false
    /// Whether its row is in `PlanTable.longRows`, whatever plan the row has.
    var isListed = false
    /// Another plan has its identity now; it is freed when no batch refers to it any more.
    var isReplaced = false
    /// The row of its grant: see `GrantTable`. Below, the previous and next plan of the same grant, in a ring.
    var grant: Int32 = -1
    var previousOfGrant = PlanID.none
    var nextOfGrant = PlanID.none

    init(_ name: ByteString, rules: Int32, counters: CounterList, lastUsedNs: Int64, edition: Int32 = 0) {
        self.name = SmallBytes(name.bytes)
        self.rules = rules
        self.counters = counters
        self.lastUsedNs = lastUsedNs
        self.edition = edition
    }

    var isFree: Bool { rules < 0 }

    /// Bytes stored outside its row.
    var boxedBytes: Int { name.boxedBytes + counters.boxedBytes }

    /// A free row.
    static var free: Plan {
        Plan(ByteString(bytes: []), rules: -1, counters: CounterList([]), lastUsedNs: 0)
    }
}

/// The indices of one plan's counters. Most plans have one or two, which are stored in the plan itself.
struct CounterList {
    private var first = CounterID.none
    private var second = CounterID.none
    private var others: [CounterID] = []

    init(_ counters: [CounterID]) {
        if let one = counters.first { first = one }
        if counters.count > 1 { second = counters[1] }
        if counters.count > 2 { others = Array(counters.dropFirst(2)) }
    }

    subscript(index: Int) -> CounterID {
        switch index {
        case 0: first
        case 1: second
        default: others[index - 2]
        }
    }

    var boxedBytes: Int { others.isEmpty ? 0 : HeldBytes.array(others.count * MemoryLayout<CounterID>.stride) }

    var count: Int { first == .none ? 0 : second == .none ? 1 : 2 + others.count }
}
