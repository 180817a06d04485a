/// What one identity is held to: the rules for it, and the counters that are its own or shared with others. Kept within
/// two lines of the processor's cache, since with many identities each check fetches another one from memory.
struct Plan {
    /// The identity.
    let name: SmallBytes<55>
    /// Of its rules' limits, in their order.
    var counters: CounterList
    var lastUsedNs: Int64
    /// Its first entry in the batch of that id.
    var batchID: Int64 = -1
    var firstEntry: Int32 = -1
    var rules: Int32
    /// How many entries of pending batches name this plan: it must not be forgotten before they are done.
    var pins: Int32 = 0
    /// Which policies it was made by: see `PlanTable.outdate`.
    var edition: Int32
    /// Whether the store could not charge one of its counters when it was last asked.
    var isFaulty = false
    /// Whether the store refused one of its checks lately, so that it may be known to refuse others: see
    /// `Limiter.denyFromCache`.
    var wasRefused = false
    /// Whether its row is among `PlanTable.longRows`, whatever plan it has.
    var isListed = false
    /// Another plan has its identity now; it goes when no batch names it any more.
    var isReplaced = false
    /// The row of its grant: see `GrantTable`. Beside it those of the same grant before and after it, in a ring.
    var grant: Int32 = -1
    var previousOfGrant: Int32 = -1
    var nextOfGrant: Int32 = -1

    init(_ name: ByteString, rules: Int32, counters: CounterList, lastUsedNs: Int64, edition: Int32 = 0) {
        self.name = SmallBytes(name.bytes)
        self.rules = rules
        self.counters = counters
        self.lastUsedNs = lastUsedNs
        self.edition = edition
    }

    var isFree: Bool { rules < 0 }

    /// What of it lies apart from its row.
    var boxedBytes: Int { name.boxedBytes + counters.boxedBytes }

    /// The place of one that was forgotten.
    static var free: Plan {
        Plan(ByteString(bytes: []), rules: -1, counters: CounterList([]), lastUsedNs: 0)
    }
}

/// Where the counters of one plan are. Most plans have one or two, which lie in the plan itself.
struct CounterList {
    private var first: Int32 = -1
    private var second: Int32 = -1
    private var others: [Int32] = []

    init(_ counters: [Int]) {
        precondition(counters.count <= Int(Int32.max))
        if let one = counters.first { first = Int32(one) }
        if counters.count > 1 { second = Int32(counters[1]) }
        if counters.count > 2 { others = counters.dropFirst(2).map { Int32($0) } }
    }

    subscript(index: Int) -> Int {
        switch index {
        case 0: Int(first)
        case 1: Int(second)
        default: Int(others[index - 2])
        }
    }

    var boxedBytes: Int { others.isEmpty ? 0 : HeldBytes.apart(others.count * MemoryLayout<Int32>.stride) }

    var count: Int { first < 0 ? 0 : second < 0 ? 1 : 2 + others.count }
}
