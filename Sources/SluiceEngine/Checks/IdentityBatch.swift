/// The identities of some checks that arrived together.
///
/// With many identities, most of the cost of finding a plan is waiting for memory. The identities of a batch are
/// looked up together, in passes that do little else, so that the processor overlaps many of those waits.
///
/// A shell keeps one and refills it, so that known identities cost no allocation.
package struct IdentityBatch: Sendable {
    /// Storage of all identities ever held; the first `count` are in use.
    private var identities: [Identity] = []
    package private(set) var count = 0
    private var hashes: [Int] = []
    /// Each identity's plan at the lookup; nil if none was found.
    private var plans: [PlanID?] = []
    /// The table's `changes` at the lookup.
    private var changes: Int64 = -1
    /// Each identity's partition, and the `changes` of the table there at the lookup; empty if there is one partition.
    private var homes: [(partition: Int, changes: Int64)] = []

    package init() {}

    var isFull: Bool { count == EngineBounds.maxIdentitiesPerRun }

    package mutating func removeAll() {
        count = 0
        changes = -1
        homes.removeAll(keepingCapacity: true)
    }

    /// Adds an identity, which `fill` fills in.
    package mutating func append(_ fill: (inout Identity) -> Void) {
        precondition(!isFull, "a run is looked up and emptied when it is full")
        if count == identities.count {
            identities.append(Identity())
            hashes.append(0)
            plans.append(nil)
        }
        fill(&identities[count])
        count += 1
    }

    subscript(index: Int) -> Identity {
        _read { yield identities[index] }
    }

    /// The plan of an identity, if it was found and the table has not changed since.
    func plan(_ index: Int, in table: borrowing PlanTable) -> PlanID? {
        (homes.isEmpty ? changes : homes[index].changes) == table.changes ? plans[index] : nil
    }

    /// Looks up all plans, and moves their counters to the windows that contain `nowMs`.
    mutating func find(in table: inout PlanTable, nowMs: Int64) {
        for index in 0..<count { hashes[index] = identities[index].key.hashValue }
        for index in 0..<count { plans[index] = table.candidate(hash: hashes[index]) }
        for index in 0..<count {
            if let plan = plans[index], !table.isPlan(plan, of: identities[index].key) { plans[index] = nil }
        }
        for index in 0..<count {
            if let plan = plans[index] { table.roll(countersOf: plan, at: nowMs) }
        }
        changes = table.changes
    }

    // MARK: - In several partitions

    func home(_ index: Int) -> Int { homes[index].partition }

    /// Finds the partition of each identity. Then comes `findCandidate` for all of them, and `findPlan`.
    mutating func findHomes(_ map: PartitionMap) {
        homes.removeAll(keepingCapacity: true)
        for index in 0..<count {
            homes.append((map.partition(of: identities[index]), -1))
            hashes[index] = identities[index].key.hashValue
        }
    }

    mutating func findCandidate(_ index: Int, in table: borrowing PlanTable) {
        plans[index] = table.candidate(hash: hashes[index])
    }

    /// As `find`, of one identity.
    mutating func findPlan(_ index: Int, in table: inout PlanTable, nowMs: Int64) {
        homes[index].changes = table.changes
        guard let plan = plans[index] else { return }
        if table.isPlan(plan, of: identities[index].key) {
            table.roll(countersOf: plan, at: nowMs)
        } else {
            plans[index] = nil
        }
    }
}
