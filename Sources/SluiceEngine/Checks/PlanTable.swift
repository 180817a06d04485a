import SluicePolicy

/// There is no room for another identity.
struct Full: Error {
    var cause: Busy
}

/// The plan of every identity seen lately, and the rules and counters that plans share. Bounded: see
/// `EngineBounds.maxPlans`.
struct PlanTable {
    private(set) var plans = ChunkedArray<Plan>()
    private(set) var counters = ChunkedArray<Counter>()
    private var rules: [Rules] = []
    private var planByIdentity = HashIndex()
    private var counterByBaseKey = HashIndex()
    /// What no check of a known identity needs. It is boxed, because the table is copied where a check only reads it.
    private var upkeep = CopyOnWriteBox(Upkeep())
    private var edition: Int32 = 0
    /// Changes whenever a row may get another identity's plan, or an identity another plan.
    private(set) var changes: Int64 = 0
    let keys: KeySpace
    let maxPlans: Int
    let grantParts: Int
    /// See `Limiter.identityBytes`.
    var maxBytes: Int
    /// Bytes of plans, counters and rules that are stored outside their rows.
    private var boxedBytes = 0

    private struct Upkeep {
        var templates = KeyTemplates()
        var rulesByRuling: [CallRuling: Int32] = [:]
        var freePlans = FreeRows()
        var freeCounters = FreeRows()
        var freeRules: [Int32] = []
        var grants = GrantTable()
        var sweepPosition = 0
        /// Picks rows to examine for an eviction.
        var random = SeededRandom(seed: 1)
        var longRows: [PlanID] = []
        /// How many references to a counter end by themselves: write-backs in flight, and plans that were replaced and
        /// that a batch still refers to. Few counters have any.
        var passing: [CounterID: Int32] = [:]
        /// Counters of the plan that is being made, which already refers to them.
        var held: [CounterID] = []
        var evicted: Int64 = 0
    }

    var grants: GrantTable {
        _read { yield upkeep.value.grants }
        _modify { yield &upkeep.value.grants }
    }

    /// Rows of plans with bytes stored outside them, in any order, and some rows that had such a plan before. When
    /// such bytes are needed, dropping other rows frees none.
    var longRows: [PlanID] {
        _read { yield upkeep.value.longRows }
        _modify { yield &upkeep.value.longRows }
    }

    /// Picks rows to examine for an eviction.
    var random: SeededRandom {
        _read { yield upkeep.value.random }
        _modify { yield &upkeep.value.random }
    }

    /// How many rows were evicted that held something, which the store has.
    var evicted: Int64 {
        get { upkeep.value.evicted }
        set { upkeep.value.evicted = newValue }
    }

    /// - Parameters:
    ///   - keys: what counters' keys begin with.
    ///   - maxBytes: a new identity is rejected if it would take the table beyond this.
    ///   - grantParts: a grant takes at most one part in this many.
    init(keys: KeySpace, maxPlans: Int, maxBytes: Int = .max, grantParts: Int = EngineBounds.grantParts) {
        precondition(maxPlans <= Int(Int32.max))
        self.keys = keys
        self.maxPlans = maxPlans
        self.grantParts = grantParts
        self.maxBytes = maxBytes
    }

    /// Bytes that it holds: see `HeldBytes`.
    var bytes: Int {
        rowBytes + rules.count * MemoryLayout<Rules>.stride + upkeep.value.templates.bytes + boxedBytes + grants.bytes
    }

    /// The part of those for rows, free ones included, and their indexes.
    var rowBytes: Int {
        plans.count * MemoryLayout<Plan>.stride + counters.count * MemoryLayout<Counter>.stride
            + (planByIdentity.slotCount + counterByBaseKey.slotCount) * MemoryLayout<UInt64>.stride
            + upkeep.value.freePlans.bytes + upkeep.value.freeCounters.bytes
            + longRows.capacity * MemoryLayout<PlanID>.stride
    }

    var hasFreePlan: Bool { upkeep.value.freePlans.count > 0 }
    var freeCounterCount: Int { upkeep.value.freeCounters.count }
    var planCount: Int { planByIdentity.count }
    var counterCount: Int { counterByBaseKey.count }
    var templateCount: Int { upkeep.value.templates.count }

    /// The plan of an identity, if the present policies made it.
    func find(_ identity: ByteString) -> PlanID? {
        guard let plan = plan(of: identity), self[plan].edition == edition else { return nil }
        return plan
    }

    private func plan(of identity: ByteString) -> PlanID? {
        planByIdentity.find(identity.hashValue) { plans[$0].name.isEqual(to: identity.bytes) }.map { PlanID($0) }
    }

    /// The plan that an identity most likely has; nil if it has none.
    func candidate(hash: Int) -> PlanID? { planByIdentity.find(hash) { _ in true }.map { PlanID($0) } }

    /// Whether a plan is that identity's, made by the present policies.
    func isPlan(_ plan: PlanID, of identity: ByteString) -> Bool {
        self[plan].name.isEqual(to: identity.bytes) && self[plan].edition == edition
    }

    /// The identity of a plan.
    func identity(ofPlan plan: PlanID) -> ByteString { ByteString(bytes: self[plan].name.bytes) }

    /// The policies have changed: every plan is rebuilt when its identity is next used.
    mutating func outdate() {
        edition &+= 1
        changes += 1
    }

    /// A plan is rebuilt when its identity is next used.
    mutating func outdate(_ plan: PlanID) {
        self[plan].edition = edition &- 1
        changes += 1
    }

    subscript(plan: PlanID) -> Plan {
        _read { yield plans[plan.row] }
        _modify { yield &plans[plan.row] }
    }

    subscript(counter: CounterID) -> Counter {
        _read { yield counters[counter.row] }
        _modify { yield &counters[counter.row] }
    }

    subscript(rulesOf plan: PlanID) -> Rules {
        _read { yield rules[Int(self[plan].rules)] }
    }

    /// The counter of a plan's limit.
    func counter(ofPlan plan: PlanID, _ index: Int) -> CounterID { self[plan].counters[index] }

    /// Moves the counters of a plan to the windows that contain `nowMs`.
    mutating func roll(countersOf plan: PlanID, at nowMs: Int64) {
        for index in 0..<self[plan].counters.count { self[self[plan].counters[index]].roll(at: nowMs) }
    }

    /// The total length of the base keys of a plan's counters.
    func baseKeyByteCount(ofPlan plan: PlanID) -> Int {
        (0..<self[plan].counters.count).reduce(0) { $0 + baseKeyByteCount(ofCounter: self[plan].counters[$1]) }
    }

    /// The counter with that base key, if a plan uses it.
    func counter(named baseKey: ByteString) -> CounterID? {
        counterByBaseKey.find(baseKey.hashValue) { counters[$0].baseKey == baseKey.bytes }.map { CounterID($0) }
    }

    /// All counters in use.
    var liveCounters: some Sequence<Counter> { counters.lazy.filter { $0.references > 0 } }

    /// Adds a new identity; fails if the table is full of rows that must stay.
    ///
    /// - Parameters:
    ///   - baseKeys: those of the counters of the ruling's limits, in their order.
    ///   - sharedEpoch: as in `makeRoom`.
    mutating func insert(
        _ identity: ByteString, _ ruling: CallRuling, baseKeys: [[UInt8]], sharedEpoch: Int16? = nil, nowMs: Int64,
        nowNs: Int64
    ) throws(Full) -> PlanID {
        let replaced = self.plan(of: identity)
        // Counters that it shares with an evicted row stay.
        if replaced == nil { upkeep.value.held = baseKeys.compactMap { counter(named: ByteString(bytes: $0)) } }
        for counter in upkeep.value.held { self[counter].references += 1 }
        defer {
            for counter in upkeep.value.held { release(counter: counter) }
            upkeep.value.held.removeAll(keepingCapacity: true)
        }
        if replaced == nil,
            let cause = makeRoom(for: identity, baseKeys: baseKeys, sharedEpoch: sharedEpoch, nowMs: nowMs)
        {
            throw Full(cause: cause)
        }
        let counters = zip(baseKeys, ruling.limits).map { counter(baseKey: $0, of: $1) }
        let plan = Plan(
            identity, rules: rules(ruling), counters: CounterList(counters), lastUsedNs: nowNs, edition: edition)
        changes += 1
        boxedBytes += plan.boxedBytes
        let id = PlanID(upkeep.value.freePlans.take() ?? plans.count)
        if id.row == plans.count {
            plans.append(plan)
        } else {
            let isListed = self[id].isListed
            self[id] = plan
            self[id].isListed = isListed
        }
        listIfLong(id)
        // Only now, so that counters of both plans are not freed in between.
        if let replaced { replace(replaced) }
        planByIdentity.insert(id.row, hash: identity.hashValue)
        joinGrant(id, identity)
        return id
    }

    private mutating func counter(baseKey: [UInt8], of limit: Limit) -> CounterID {
        if let counter = counter(named: ByteString(bytes: baseKey)) {
            self[counter].references += 1
            return counter
        }
        return insertCounter(baseKey: baseKey, window: limit.window, algorithm: limit.algorithm)
    }

    /// Adds a counter, whose base key no other has; the caller holds a reference to it.
    mutating func insertCounter(baseKey: [UInt8], window: Window, algorithm: Algorithm) -> CounterID {
        let parts = BaseKeyParts(baseKey, in: keys)
        var counter = Counter(
            parts, of: upkeep.value.templates.join(parts, window: window, algorithm: algorithm),
            changeSlot: DenialCache.slot(of: baseKey[...], in: keys))
        counter.references = 1
        boxedBytes += counter.boxedBytes
        let id = CounterID(upkeep.value.freeCounters.take() ?? counters.count)
        if id.row == counters.count { counters.append(counter) } else { self[id] = counter }
        counterByBaseKey.insert(id.row, hash: ByteString(bytes: baseKey).hashValue)
        return id
    }

    private mutating func rules(_ ruling: CallRuling) -> Int32 {
        if let index = upkeep.value.rulesByRuling[ruling] {
            rules[Int(index)].references += 1
            return index
        }
        var compiled = Rules(ruling)
        compiled.references = 1
        boxedBytes += compiled.bytes
        let index = upkeep.value.freeRules.popLast() ?? Int32(rules.count)
        if Int(index) == rules.count { rules.append(compiled) } else { rules[Int(index)] = compiled }
        upkeep.value.rulesByRuling[ruling] = index
        return index
    }

    /// Examines `count` plans in turn, and drops those unused for `idleNs` with nothing to lose: no batch refers to
    /// them, and no open window of theirs has usage. Rows that this leaves at the end are given back.
    mutating func sweep(_ count: Int, idleNs: Int64, nowMs: Int64, nowNs: Int64) {
        for _ in 0..<min(count, plans.count) {
            upkeep.value.sweepPosition = (upkeep.value.sweepPosition + 1) % plans.count
            let plan = PlanID(upkeep.value.sweepPosition)
            guard !self[plan].isFree, self[plan].pins == 0, nowNs - self[plan].lastUsedNs >= idleNs,
                isQuiet(plan, nowMs: nowMs)
            else { continue }
            forget(plan)
        }
        giveBack()
    }

    /// Frees the memory of rows at the end of the tables that nothing uses any more.
    private mutating func giveBack() {
        if upkeep.value.freePlans.giveBack(&plans) { longRows = longRows.filter { $0.row < plans.count } }
        _ = upkeep.value.freeCounters.giveBack(&counters)
        grants.giveBack()
    }

    /// Whether other plans use a plan's counter as well. A plan that is still being made does not count, because it
    /// may fail; nor do references that end by themselves.
    func isShared(_ counter: CounterID) -> Bool {
        let others =
            (upkeep.value.held.contains(counter) ? 1 : 0)
            + (upkeep.value.passing.isEmpty ? 0 : upkeep.value.passing[counter] ?? 0)
        return self[counter].references - others > 1 + self[counter].keepers
    }

    /// A write-back of a counter is sent, and holds a reference to it.
    mutating func beginWriteBack(_ counter: CounterID) {
        self[counter].references += 1
        upkeep.value.passing[counter, default: 0] += 1
    }

    mutating func endWriteBack(_ counter: CounterID) { endPassing(counter) }

    private mutating func endPassing(_ counter: CounterID) {
        upkeep.value.passing[counter] = upkeep.value.passing[counter].flatMap { $0 > 1 ? $0 - 1 : nil }
        release(counter: counter)
    }

    func isQuiet(_ plan: PlanID, nowMs: Int64) -> Bool {
        for index in 0..<self[plan].counters.count {
            let counter = self[plan].counters[index]
            // The journal and the like do not matter here: a counter that they refer to must not be freed while it
            // matters.
            if isShared(counter) { continue }
            let quota = self[rulesOf: plan].limits[index].quota
            guard self[counter].isQuiet(nowMs: nowMs, quota: quota) else { return false }
        }
        return true
    }

    private mutating func replace(_ plan: PlanID) {
        planByIdentity.remove(plan.row, hash: identity(ofPlan: plan).hashValue)
        leaveGrant(plan)
        self[plan].isReplaced = true
        for position in 0..<self[plan].counters.count {
            upkeep.value.passing[self[plan].counters[position], default: 0] += 1
        }
        if self[plan].pins == 0 { forget(plan) }
    }

    /// A batch no longer refers to the plan.
    mutating func unpin(_ plan: PlanID) {
        self[plan].pins -= 1
        if self[plan].isReplaced && self[plan].pins == 0 { forget(plan) }
    }

    mutating func forget(_ plan: PlanID) {
        changes += 1
        leaveGrant(plan)
        if !self[plan].isReplaced { planByIdentity.remove(plan.row, hash: identity(ofPlan: plan).hashValue) }
        for position in 0..<self[plan].counters.count {
            let counter = self[plan].counters[position]
            if self[plan].isReplaced { endPassing(counter) } else { release(counter: counter) }
        }
        release(rules: self[plan].rules)
        boxedBytes -= self[plan].boxedBytes
        let isListed = self[plan].isListed
        self[plan] = .free
        self[plan].isListed = isListed
        upkeep.value.freePlans.add(plan.row)
    }

    /// Updates the count of a log's bytes.
    mutating func countBytes(ofLog counter: CounterID) { boxedBytes += self[counter].countLogBytes() }

    /// Releases one reference to a counter.
    mutating func release(counter: CounterID) {
        self[counter].references -= 1
        guard self[counter].references == 0 else { return }
        let baseKey = ByteString(bytes: self[counter].baseKey)
        counterByBaseKey.remove(counter.row, hash: baseKey.hashValue)
        upkeep.value.templates.leave(self[counter].template)
        boxedBytes -= self[counter].boxedBytes
        self[counter] = Counter(BaseKeyParts(head: [], own: [], tail: []), of: .none, changeSlot: 0)
        upkeep.value.freeCounters.add(counter.row)
    }

    private mutating func release(rules index: Int32) {
        rules[Int(index)].references -= 1
        guard rules[Int(index)].references == 0 else { return }
        boxedBytes -= rules[Int(index)].bytes
        upkeep.value.rulesByRuling[rules[Int(index)].ruling] = nil
        upkeep.value.freeRules.append(index)
    }
}
