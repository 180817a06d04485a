package import SluicePolicy

/// A limiter for each partition of the counters, and what is above them: which checks go where, those that several
/// partitions decide together, and sums for operators.
///
/// Each partition is a complete `Limiter` with its own batches, breaker, write-backs and restores. On one server there
/// is one, and every call is passed straight on. As with a `Limiter`, the shell asks after every event for
/// `takeCompletions`, `nextCommand`, `nextTickNs` and `takeNotices`; events and commands of a link name its partition.
/// Only partitions that something happened to are asked then.
package struct PartitionedLimiter {
    /// A command for the link of a partition.
    package struct PartitionCommand {
        package var partition: Int
        package var command: Limiter.LinkCommand
    }

    /// The bounds of its tables are those of all partitions together.
    package let configuration: LimiterConfiguration
    let map: PartitionMap
    private var first: Limiter
    /// All but the first.
    private var others: [Limiter]
    var routes: CheckRoutes
    /// For reservations that no gateway asked for. Seeded and predictable: not for secrets.
    var random: SeededRandom
    var crossChecks = CrossPartitionTable<CrossPartitionCheck>()
    var crossSettlements = CrossPartitionTable<CrossPartitionSettlement>()
    /// What the partitions' counts have too many or too few, because of checks that several decided.
    var correction = Statistics()
    private var touched: TouchedPartitions
    private var queues: MasterQueues
    private var notices: PartitionNotices
    /// Since when each of several partitions has not counted in the store; nil: it does.
    private(set) var unshared: [ClockReading?]
    /// How many of those there are.
    private var unsharedCount = 0
    private(set) var outages: PartitionEpisodes
    private(set) var dataLosses: PartitionEpisodes
    var finished: [Limiter.Completion] = []
    private var scratch: [Limiter.Completion] = []

    package init(configuration: LimiterConfiguration, policies: PolicySet, now: ClockReading) {
        self.configuration = configuration
        let parts = configuration.partitions
        map = PartitionMap(count: parts.count)
        // It looks at all limits of the policies, so it is made once for all partitions.
        let rulebook = Rulebook(policies)
        first = Limiter(configuration: parts[0], rulebook: rulebook, now: now)
        others = parts.dropFirst().map { Limiter(configuration: $0, rulebook: rulebook, now: now) }
        routes = CheckRoutes(rulebook, map: map)
        random = SeededRandom(seed: configuration.seed ^ 0x5EED)
        touched = TouchedPartitions(count: parts.count)
        queues = MasterQueues(
            partitions: parts.count, placeTTLNs: first.budget.storeWaitNs / EngineBounds.masterPlaceTTLParts)
        notices = PartitionNotices(count: parts.count)
        unshared = Array(repeating: nil, count: parts.count)
        outages = PartitionEpisodes(partitions: parts.count)
        dataLosses = outages
    }

    package var partitionCount: Int { map.count }
    private var isAlone: Bool { others.isEmpty }

    /// One partition, for tests and operators.
    package subscript(partition: Int) -> Limiter {
        _read {
            if partition == 0 { yield first } else { yield others[partition - 1] }
        }
        _modify {
            if partition == 0 { yield &first } else { yield &others[partition - 1] }
        }
    }

    /// The same for a change, after which the partition is asked what it wants.
    @inline(__always)
    mutating func change<Result>(_ partition: Int, _ body: (inout Limiter) -> Result) -> Result {
        if !isAlone { touched.touch(partition) }
        return inPlace(partition, body)
    }

    /// The same for a look at it: to read through the subscript copies the limiter, with a reference count for each of its
    /// tables.
    @inline(__always)
    mutating func inPlace<Result>(_ partition: Int, _ body: (inout Limiter) -> Result) -> Result {
        partition == 0 ? body(&first) : body(&others[partition - 1])
    }

    private mutating func changeAll(_ body: (inout Limiter) -> Void) {
        for partition in 0..<map.count { change(partition, body) }
    }

    // MARK: - Policies

    package var policies: PolicySet { first.policies }
    /// Called for each check, and so mutating: see `Limiter`.
    package var counted: IdentityFields { mutating get { first.counted } }

    package mutating func replacePolicies(_ policies: PolicySet) {
        let rulebook = Rulebook(policies)
        changeAll { $0.replace(rulebook) }
        routes = CheckRoutes(rulebook, map: map)
    }

    // MARK: - Checks

    package mutating func find(_ run: inout IdentityBatch, now: ClockReading) {
        if isAlone { first.find(&run, now: now) } else { findRouted(&run, now: now) }
    }

    /// See `Limiter.check`.
    package mutating func check(
        _ run: borrowing IdentityBatch, _ index: Int, cost: Int64, isPeek: Bool, wantsTrace: Bool,
        extras: CheckOptions?, ticket: Ticket, now: ClockReading
    ) -> Limiter.CheckOutcome {
        if isAlone {
            return first.check(
                run, index, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now
            )
        }
        return checkRouted(
            run, index, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now)
    }

    package mutating func check(
        _ identity: borrowing Identity, cost: Int64, isPeek: Bool, wantsTrace: Bool, extras: CheckOptions? = nil,
        ticket: Ticket, now: ClockReading
    ) -> Limiter.CheckOutcome {
        if isAlone {
            return first.check(
                identity, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now)
        }
        return checkRouted(
            identity, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace, extras: extras, ticket: ticket, now: now)
    }

    /// See `Limiter.settle`.
    package mutating func settle(
        grant: [UInt8], reservation: some Sequence<UInt8>, _ settlement: Batch.Settlement, ticket: Ticket,
        now: ClockReading
    ) -> Limiter.SettleOutcome {
        if isAlone {
            return first.settle(grant: grant, reservation: reservation, settlement, ticket: ticket, now: now)
        }
        guard let id = ReservationID(reservation) else { return .answered(false) }
        return settleRouted(grant: grant, id, settlement, ticket: ticket, now: now)
    }

    /// See `Limiter.clear`: all counters of a grant are in one partition.
    package mutating func clear(
        _ keys: [CounterKey], ofGrant grant: String, ticket: Ticket, now: ClockReading
    ) -> Limiter.ClearOutcome {
        change(map.partition(ofOwner: grant.utf8)) { $0.clear(keys, ticket: ticket, now: now) }
    }

    /// See `Limiter.override`: the limits that count within a grant are in one partition.
    package mutating func override(_ change: OverrideChange, ticket: Ticket, now: ClockReading) -> Limiter.OverrideStart
    {
        self.change(map.partition(ofOwner: change.grant.utf8)) { $0.override(change, ticket: ticket, now: now) }
    }

    package mutating func noteAnswered(_ count: Int, now: ClockReading) {
        first.noteAnswered(count, now: now)
        // The others have their durations to note, too.
        if !isAlone, count > 0 || routes.mayCross {
            for partition in touched.all where partition != 0 { self[partition].noteAnswered(0, now: now) }
        }
    }

    // MARK: - Events of the links

    /// See `Limiter.linkConnected`.
    ///
    /// - Parameter server: which of several the partition is at; nil if there is but one.
    package mutating func linkConnected(
        _ partition: Int, server: String? = nil, announcesChanges: Bool = true, now: ClockReading
    ) {
        linkMoved(partition, to: server)
        change(partition) { $0.linkConnected(announcesChanges: announcesChanges, now: now) }
    }

    /// From now on, the link's batches go to another server.
    package mutating func linkMoved(_ partition: Int, to server: String?) {
        if !isAlone { queues.moved(partition, to: server) }
    }

    package mutating func linkClosed(_ partition: Int, reason: String, now: ClockReading) {
        change(partition) { $0.linkClosed(reason: reason, now: now) }
    }

    package mutating func linkAnswered(
        _ partition: Int, sequence: Int64, _ result: Result<BatchReply, BatchFailure>, arrivedNs: Int64? = nil,
        now: ClockReading
    ) {
        change(partition) { $0.linkAnswered(sequence: sequence, result, arrivedNs: arrivedNs, now: now) }
    }

    package mutating func linkChangeFeed(_ partition: Int, _ event: ChangeFeedEvent, now: ClockReading) {
        change(partition) { $0.linkChangeFeed(event, now: now) }
    }

    package mutating func batchHeld(_ partition: Int, sequence: Int64) {
        change(partition) { $0.batchHeld(sequence: sequence) }
    }

    package mutating func batchLeft(_ partition: Int, sequence: Int64, now: ClockReading) {
        change(partition) { $0.batchLeft(sequence: sequence, now: now) }
    }

    // MARK: - What the shell asks after an event

    /// The next command for one of the links; nil if there is none. The shell asks until it is nil.
    package mutating func nextCommand(now: ClockReading) -> PartitionCommand? {
        if isAlone { return first.nextCommand(now: now).map { PartitionCommand(partition: 0, command: $0) } }
        while true {
            while let partition = touched.last {
                if let command = self[partition].nextCommand(now: now, sendsChecks: false) {
                    return PartitionCommand(partition: partition, command: command)
                }
                touched.removeLast()
                collect(partition, now: now)
                let (nextTickNs, wantsLook, sentNs, waits) = inPlace(partition) {
                    ($0.nextTickNs(), $0.wantsLook, $0.awaitedSinceNs, $0.maySendChecks)
                }
                touched.note(partition, nextTickNs: nextTickNs, wantsLook: wantsLook)
                queues.note(partition, sentNs: sentNs, waits: waits)
            }
            guard let partition = queues.takeNext(now: now) else { return nil }
            if let command = change(partition, { $0.nextCommand(now: now) }) {
                return PartitionCommand(partition: partition, command: command)
            }
        }
    }

    /// Takes what a partition has finished. A part of a check may lead to the next part of it, in any partition.
    private mutating func collect(_ partition: Int, now: ClockReading) {
        scratch.removeAll(keepingCapacity: true)
        var completions: [Limiter.Completion] = []
        swap(&completions, &scratch)
        let (news, outageCount, lossCount, isShared) = inPlace(partition) {
            $0.takeCompletions(into: &completions)
            return ($0.takeNotices(), $0.statistics.outages, $0.statistics.dataLosses, $0.isShared)
        }
        for completion in completions {
            if completion.ticket.isOfPart { finishPart(completion, now: now) } else { finished.append(completion) }
        }
        swap(&completions, &scratch)
        notices.add(news, of: partition, now: now)
        outages.note(outageCount, of: partition, now: now)
        dataLosses.note(lossCount, of: partition, now: now)
        if isShared {
            if unshared[partition] != nil { unsharedCount -= 1 }
            unshared[partition] = nil
        } else if unshared[partition] == nil {
            unsharedCount += 1
            unshared[partition] = now
        }
    }

    /// Called after `nextCommand` was nil.
    package mutating func takeCompletions(into finished: inout [Limiter.Completion]) {
        if isAlone { return first.takeCompletions(into: &finished) }
        finished.removeAll(keepingCapacity: true)
        swap(&finished, &self.finished)
    }

    package mutating func takeNotices() -> [Limiter.Notice] { isAlone ? first.takeNotices() : notices.take() }

    package mutating func nextTickNs() -> Int64 {
        isAlone ? first.nextTickNs() : min(touched.nextTickNs, queues.nextTickNs)
    }

    /// `isShared` for the shell, which asks after every event: neither copies the limiter, which a class holds, nor asks
    /// every partition. Called after `nextCommand` was nil.
    package var isSharedNow: Bool { mutating get { isAlone ? first.isShared : unsharedCount == 0 } }

    /// Whether a store seems overdue: see `Limiter.tick`.
    package var wantsLook: Bool { mutating get { isAlone ? first.wantsLook : touched.wantsLook } }

    package mutating func tick(now: ClockReading, lookedNs: Int64? = nil) {
        if isAlone { return first.tick(now: now, lookedNs: lookedNs) }
        for partition in touched.due(now: now) { change(partition) { $0.tick(now: now, lookedNs: lookedNs) } }
    }

    /// See `Limiter.wantsLeases`.
    package var wantsLeases: Bool {
        mutating get {
            if isAlone { return first.wantsLeases }
            for partition in touched.all where self[partition].wantsLeases { return true }
            return false
        }
    }

    /// See `Limiter.giveBackLeases`.
    package mutating func giveBackLeases(now: ClockReading) { changeAll { $0.giveBackLeases(now: now) } }

    package mutating func drain(now: ClockReading) {
        // What the first round answers may be parts of checks, which the next part is asked of then.
        for _ in 0..<(isAlone ? 1 : 3) {
            changeAll { $0.drain(now: now) }
            if !isAlone { for partition in 0..<map.count { collect(partition, now: now) } }
        }
    }
}

extension LimiterConfiguration {
    /// That of each partition: the bounds of the tables are divided among them.
    fileprivate var partitions: [LimiterConfiguration] {
        guard let partitionTags else { return [self] }
        let count = partitionTags.count
        return (0..<count).map { partition in
            var part = self
            part.keys = KeySpace(prefix: keys.prefix, tag: partitionTags[partition])
            part.place = PartitionPlace(index: partition, map: PartitionMap(count: count))
            part.seed = seed &+ UInt64(partition) &* 0x9E37_79B9_7F4A_7C15
            part.maxPlans = max(1, maxPlans / count)
            if maxTableBytes < .max { part.maxTableBytes = maxTableBytes / count }
            // A grant is in one partition: it may have the same part of all.
            part.grantParts = max(count > 1 ? 2 : 1, grantParts / count)
            return part
        }
    }
}
