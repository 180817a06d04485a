internal import NIOCore
internal import SluiceEngine

/// Which master has which partition, as far as it is known, and which node to ask next, and when.
///
/// A value: events come in with the time, and it returns whom to ask. A node's answer may be older than what another
/// one said before. That costs a redirection, which corrects the one partition, and another question.
struct ClusterTopology {
    typealias HostPort = RedisAddress.HostPort

    /// What follows an answer, or its absence.
    enum Step: Equatable {
        /// Ask this node next.
        case ask(HostPort)
        /// The masters are known.
        case renewed
        /// No node answered: the reasons, in one line. What was known stays.
        case failed(String)
    }

    private enum Phase {
        /// Waits for its time. Becomes `asking`.
        case resting(dueNs: Int64)
        /// A node has been asked. Becomes `resting` when one has answered, or none.
        case asking(Round)
    }

    private struct Round {
        /// Those to ask if the one that was asked does not answer.
        var rest: ArraySlice<HostPort>
        var asked: HostPort
        var failures: [String] = []
        /// What a node answered that does not serve slots just now: it may be cut off from the others, so it is only
        /// used if no other node answers.
        var fallback: ClusterMap?
        /// Whether there was a hint at a change before it began, or since.
        var wasHinted: Bool
        var isOutdated = false
    }

    private let seeds: [HostPort]
    private let slots: [Int]
    /// For each partition.
    private var masters: [HostPort?]
    private(set) var nodes: [HostPort] = []
    /// Whether a node has answered yet.
    private(set) var isKnown = false
    private var phase = Phase.resting(dueNs: .min)
    private var wasHinted = false
    /// Before that no node is asked: hints come in numbers, from every partition, and as long as the trouble lasts.
    private var earliestNs = Int64.min
    private var backoff: Backoff
    private var random: SeededRandom
    /// Nodes to which connections were lost, or that did not answer, and that have not been reached since: they are asked
    /// last.
    private var lost: Set<HostPort> = []
    /// Which of the nodes is asked first the next time.
    private var turn: Int

    /// - Parameters:
    ///   - seeds: the nodes of the address; at least one.
    ///   - slots: those of the partitions.
    ///   - seed: of the pauses, and of which node is asked first: another one for each replica.
    init(seeds: [HostPort], slots: [Int], seed: UInt64) {
        self.seeds = seeds
        self.slots = slots
        masters = Array(repeating: nil, count: slots.count)
        backoff = Backoff(longestNs: EngineBounds.maxBackoffNs, seed: seed)
        random = SeededRandom(seed: seed)
        turn = Int(random.next() % UInt64(RedisBounds.maxClusterNodes))
    }

    /// nil if it is not known, or if no master has the slot.
    func master(ofPartition partition: Int) -> HostPort? { masters[partition] }

    var isAsking: Bool {
        if case .asking = phase { true } else { false }
    }

    /// When `tick` has something to do; nil while a node is asked.
    var nextTickNs: Int64? {
        if case .resting(let dueNs) = phase { dueNs } else { nil }
    }

    // MARK: - Events

    /// A master said that another one has the partition. nil: it did not say which.
    mutating func moved(_ partition: Int, to master: HostPort?) {
        if let master { masters[partition] = master }
        hint()
    }

    /// A connection to a node could not be opened, or broke.
    mutating func lost(_ node: HostPort) {
        if lost.count < RedisBounds.maxClusterNodes { lost.insert(node) }
        hint()
    }

    /// A connection to a node has opened.
    mutating func reached(_ node: HostPort) { lost.remove(node) }

    /// Something shows that the masters may be others.
    mutating func hint() {
        switch phase {
        case .resting(let dueNs):
            wasHinted = true
            phase = .resting(dueNs: min(dueNs, earliestNs))
        case .asking(var round):
            round.isOutdated = true
            phase = .asking(round)
        }
    }

    /// Time has passed.
    /// - Returns: the node to ask; nil: none.
    mutating func tick(nowNs: Int64) -> HostPort? {
        guard case .resting(let dueNs) = phase, nowNs >= dueNs else { return nil }
        var candidates = candidates()
        let first = candidates.removeFirst()
        phase = .asking(Round(rest: candidates, asked: first, wasHinted: wasHinted))
        wasHinted = false
        return first
    }

    /// The node that was asked answered.
    /// - Parameter isServing: whether it is in a part of the cluster that serves slots.
    mutating func answered(_ map: ClusterMap, isServing: Bool, nowNs: Int64) -> Step {
        guard case .asking(var round) = phase else { return .renewed }
        lost.remove(round.asked)
        guard isServing else {
            round.fallback = round.fallback ?? map
            round.failures.append("\(round.asked): its cluster_state is not ok")
            return goOn(round, nowNs: nowNs)
        }
        return use(map, round, nowNs: nowNs)
    }

    /// The node that was asked gave no answer, or none that could be used.
    mutating func failed(_ reason: String, nowNs: Int64) -> Step {
        guard case .asking(var round) = phase else { return .failed(reason) }
        if lost.count < RedisBounds.maxClusterNodes { lost.insert(round.asked) }
        round.failures.append("\(round.asked): \(reason)")
        return goOn(round, nowNs: nowNs)
    }

    // MARK: - Rounds

    /// Never empty.
    private mutating func candidates() -> ArraySlice<HostPort> {
        var candidates: [HostPort] = []
        if !nodes.isEmpty {
            turn = (turn + 1) % nodes.count
            let known = nodes[turn...] + nodes[..<turn]
            let sound = known.filter { !lost.contains($0) }
            candidates = Array((sound + known.filter(lost.contains)).prefix(RedisBounds.clusterNodesAsked))
        }
        return (candidates + seeds.filter { !candidates.contains($0) })[...]
    }

    private mutating func goOn(_ round: Round, nowNs: Int64) -> Step {
        var round = round
        if let next = round.rest.popFirst() {
            round.asked = next
            phase = .asking(round)
            return .ask(next)
        }
        if let fallback = round.fallback { return use(fallback, round, nowNs: nowNs) }
        rest(after: round, nowNs: nowNs)
        let shown = round.failures.prefix(RedisBounds.clusterFailuresShown).joined(separator: "; ")
        let others = round.failures.count - RedisBounds.clusterFailuresShown
        return .failed("no node of the cluster answers: \(shown)" + (others > 0 ? "; and \(others) others" : ""))
    }

    private mutating func use(_ map: ClusterMap, _ round: Round, nowNs: Int64) -> Step {
        masters = slots.map(map.master(ofSlot:))
        nodes = map.nodes
        isKnown = true
        lost.formIntersection(nodes)
        // Quiet again: a look without a hint, and none meanwhile.
        if !round.wasHinted && !round.isOutdated { backoff.reset() }
        rest(after: round, nowNs: nowNs)
        return .renewed
    }

    private mutating func rest(after round: Round, nowNs: Int64) {
        earliestNs = nowNs + backoff.nextPauseNs()
        let intervalNs = RedisBounds.clusterPollInterval.nanoseconds
        let pollNs = nowNs + intervalNs * 3 / 4 + Int64.random(in: 0...intervalNs / 2, using: &random)
        wasHinted = round.isOutdated
        phase = .resting(dueNs: round.isOutdated ? earliestNs : pollNs)
    }
}
