import SluicePolicy

/// Every identity that was seen lately, with its plan, and the counters that plans share. Bounded: see
/// `EngineBounds.maxPlans`.
struct PlanTable {
    private(set) var plans: [Plan] = []
    private(set) var counters: [Counter] = []
    private var planByIdentity: [ByteString: Int] = [:]
    private var counterByStem: [ByteString: Int] = [:]
    private var freePlans: [Int] = []
    private var freeCounters: [Int] = []
    private var sweepPosition = 0
    private var edition = 0
    private let maxPlans: Int

    init(maxPlans: Int) { self.maxPlans = maxPlans }

    var planCount: Int { planByIdentity.count }
    var counterCount: Int { counterByStem.count }

    /// The plan of an identity, if it was made by the present policies.
    func find(_ identity: ByteString) -> Int? {
        guard let index = planByIdentity[identity], plans[index].edition == edition else { return nil }
        return index
    }

    /// The policies have changed: every plan is made anew when its identity is asked for next.
    mutating func outdate() { edition += 1 }

    subscript(plan index: Int) -> Plan {
        _read { yield plans[index] }
        _modify { yield &plans[index] }
    }

    subscript(counter index: Int) -> Counter {
        _read { yield counters[index] }
        _modify { yield &counters[index] }
    }

    /// The counter of that name, if some plan uses it.
    func counter(named stem: ByteString) -> Int? { counterByStem[stem] }

    /// Every counter that some plan uses.
    var liveCounters: some Sequence<Counter> { counters.lazy.filter { $0.references > 0 } }

    /// Remembers a new identity; nil if the table is full of what must not be forgotten.
    mutating func insert(
        _ identity: ByteString, ruled: Decision?, limits: [(limit: Limit, stem: [UInt8])], rule: String, nowMs: Int64,
        nowNs: Int64
    ) -> Int? {
        let replaced = planByIdentity[identity]
        if replaced == nil && planCount >= maxPlans {
            sweep(EngineBounds.plansSweptPerInsertion, idleNs: 0, nowMs: nowMs, nowNs: nowNs)
            guard planCount < maxPlans else { return nil }
        }
        let references = limits.map { limit, stem in Plan.LimitRef(limit, counter: counter(stem: stem, of: limit)) }
        let plan = Plan(
            identity: identity, ruled: ruled, limits: references, rule: rule, lastUsedNs: nowNs, edition: edition)
        let index = freePlans.popLast() ?? plans.count
        if index == plans.count { plans.append(plan) } else { plans[index] = plan }
        planByIdentity[identity] = index
        // Only now: counters that both have must not be forgotten in between.
        if let replaced { replace(replaced) }
        return index
    }

    private mutating func counter(stem: [UInt8], of limit: Limit) -> Int {
        let name = ByteString(bytes: stem)
        if let index = counterByStem[name] {
            counters[index].references += 1
            return index
        }
        var counter = Counter(stem: stem, window: limit.window, algorithm: Terms.Algorithm(limit.algorithm))
        counter.references = 1
        let index = freeCounters.popLast() ?? counters.count
        if index == counters.count { counters.append(counter) } else { counters[index] = counter }
        counterByStem[name] = index
        return index
    }

    /// Looks at `count` plans, going round, and forgets those that nobody used for `idleNs` and that have nothing to
    /// lose: no batch names them and no open window of theirs holds a tally.
    mutating func sweep(_ count: Int, idleNs: Int64, nowMs: Int64, nowNs: Int64) {
        for _ in 0..<min(count, plans.count) {
            sweepPosition = (sweepPosition + 1) % plans.count
            let plan = plans[sweepPosition]
            guard !plan.isFree, plan.pins == 0, nowNs - plan.lastUsedNs >= idleNs,
                plan.limits.allSatisfy({
                    isKeptByOthers($0.counter) || counters[$0.counter].isQuiet(nowMs: nowMs, terms: $0.terms)
                })
            else { continue }
            forget(sweepPosition)
        }
    }

    private mutating func replace(_ index: Int) {
        plans[index].isReplaced = true
        if plans[index].pins == 0 { forget(index) }
    }

    /// A batch does not name the plan any more.
    mutating func unpin(_ index: Int) {
        plans[index].pins -= 1
        if plans[index].isReplaced && plans[index].pins == 0 { forget(index) }
    }

    private func isKeptByOthers(_ counter: Int) -> Bool { counters[counter].references > 1 }

    private mutating func forget(_ index: Int) {
        if !plans[index].isReplaced { planByIdentity[plans[index].identity] = nil }
        for limit in plans[index].limits {
            counters[limit.counter].references -= 1
            if counters[limit.counter].references == 0 {
                counterByStem[ByteString(bytes: Array(counters[limit.counter].stem))] = nil
                counters[limit.counter] = Counter(stem: [], window: .endless, algorithm: .fixedWindow)
                freeCounters.append(limit.counter)
            }
        }
        plans[index] = .free
        freePlans.append(index)
    }
}
