import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Replicas over several masters, of which some fail while the others go on, and limits that grants of all partitions
/// share. In virtual time; everything follows from the seed, by a stream of its own.
struct PartitionSimulation {
    enum Event {
        case check(replica: Int)
        case tick(replica: Int, dueNs: Int64)
        case arrives(Batch, replica: Int, partition: Int, connection: Int)
        case answers(Int64, Result<BatchReply, BatchFailure>, replica: Int, partition: Int, connection: Int)
        case connects(replica: Int, partition: Int, connection: Int)
        case hears(ChangeFeedEvent, replica: Int, partition: Int)
        case begins(Int)
        case ends(Int)
        case settles(UInt64)
    }

    /// A check, and what became of it.
    private struct Asked {
        var replica: Int
        var question: CheckQuestion
        var atNs: Int64
        var decision: Decision?
        /// Its final cost, if it was admitted.
        var cost: Int64 = 0
        var settlement: Batch.Settlement?
        var isSettled = false
    }

    /// An admission's window of one limit: which counter, and when it began.
    private struct WindowKey: Hashable {
        var grant: String?
        var startMs: Int64
    }

    let seed: UInt64
    let scenario: PartitionScenario
    private(set) var nowNs: Int64 = 0
    private(set) var checks = 0
    private(set) var admittedAcross = 0
    var random: SeededRandom
    var events = EventQueue<Event>()
    var replicas: [PartitionedLimiter] = []
    var stores: [ModelStore]
    /// The master of each partition, and all that it ever had.
    var masters: [Int]
    var pastMasters: [Set<Int>]
    /// Where each replica's link of each partition sends its batches.
    private var linkedMasters: [[Int]]
    /// The connection of each replica's link of each partition; 0: none.
    var connections: [[Int]]
    private var lastConnection = 0
    var feeds: [[Bool]]
    private var ticksNs: [Int64]
    var heldBack: [Int: [Event]] = [:]
    private var asked: [UInt64: Asked] = [:]
    private var lastTicket: UInt64 = 0
    private var settling: [UInt64: UInt64] = [:]
    /// Units of checks that waited for a store, and were then answered without it.
    private var unconfirmedUnits: Int64 = 0
    /// Units admitted of the limits `own` and `shared`.
    private var admitted: [WindowKey: Int64] = [:]
    private static let startMs: Int64 = 1_700_000_000_000
    private let isVerbose: Bool

    init(seed: UInt64, isVerbose: Bool = false) {
        self.seed = seed
        self.isVerbose = isVerbose
        random = SeededRandom(seed: seed ^ 0x70A2_7171_0A5)
        scenario = PartitionScenario(&random)
        stores = (0..<scenario.partitions).map { _ in
            var store = ModelStore(clockMs: Self.startMs)
            store.isPartition = true
            return store
        }
        let masterCount = scenario.masters
        masters = (0..<scenario.partitions).map { $0 % masterCount }
        pastMasters = masters.map { [$0] }
        linkedMasters = Array(repeating: masters, count: scenario.replicas)
        connections = Array(repeating: Array(repeating: 0, count: scenario.partitions), count: scenario.replicas)
        feeds = Array(repeating: Array(repeating: false, count: scenario.partitions), count: scenario.replicas)
        ticksNs = Array(repeating: .max, count: scenario.replicas)
        for replica in 0..<scenario.replicas {
            var configuration = LimiterConfiguration(
                keys: "sluice", budgetMs: PartitionScenario.budgetMs,
                replicas: ReplicaView(own: UInt64(replica + 1), assumed: scenario.replicas), usesStore: true,
                seed: random.next())
            configuration.partitionTags = PartitionTags(count: scenario.partitions)
            replicas.append(
                PartitionedLimiter(
                    configuration: configuration, policies: PolicySet(single: scenario.policy), now: reading))
        }
    }

    var reading: ClockReading {
        ClockReading(monotonicNs: 1_000_000_000 + nowNs, wallMs: Self.startMs + nowNs / 1_000_000)
    }

    func say(_ text: @autoclosure () -> String) {
        if isVerbose { print("\(nowNs / 1_000) us: \(text())") }
    }

    private func fail(_ text: String) -> SimulationFailure { SimulationFailure(description: "partitions: \(text)") }

    // MARK: - The run

    mutating func run() throws {
        for (index, episode) in scenario.episodes.enumerated() {
            events.push(.begins(index), atNs: episode.startNs)
            events.push(.ends(index), atNs: episode.endNs)
        }
        for replica in replicas.indices {
            pump(replica)
            // Every replica knows the others before anything is asked.
            events.push(.check(replica: replica), atNs: 25_000_000 + Int64(replica) * 1_000_000)
        }
        while let (atNs, event) = events.pop(), atNs <= PartitionScenario.endNs {
            nowNs = atNs
            for index in stores.indices { stores[index].clockMs = Self.startMs + nowNs / 1_000_000 }
            try handle(event)
        }
        try judgeTheEnd()
    }

    private mutating func handle(_ event: Event) throws {
        switch event {
        case .check(let replica): try check(replica)
        case .tick(let replica, let dueNs):
            guard ticksNs[replica] == dueNs else { return }
            ticksNs[replica] = .max
            replicas[replica].tick(now: reading)
            pump(replica)
        case .arrives(let batch, let replica, let partition, let connection):
            arrives(event, batch, replica, partition, connection)
        case .answers(let sequence, let result, let replica, let partition, let connection):
            guard connections[replica][partition] == connection else { return }
            replicas[replica].linkAnswered(partition, sequence: sequence, result, now: reading)
            pump(replica)
        case .connects(let replica, let partition, let connection):
            guard connections[replica][partition] == connection else { return }
            if isReachable(partition, from: replica) {
                linkedMasters[replica][partition] = master(of: partition)
                replicas[replica].linkConnected(partition, server: "m\(master(of: partition))", now: reading)
            } else {
                close(replica, partition, "refused")
            }
            pump(replica)
        case .hears(let event, let replica, let partition):
            guard feeds[replica][partition] else { return }
            replicas[replica].linkChangeFeed(partition, event, now: reading)
            pump(replica)
        case .begins(let index): begin(index)
        case .ends(let index): end(index)
        case .settles(let ticket): settle(ticket)
        }
        try collect()
    }

    mutating func delay() -> Int64 { Int64.random(in: 100_000...700_000, using: &random) }

    // MARK: - Links

    /// What fails in a run, and when; nil if nothing does.
    static func run(_ simulation: inout PartitionSimulation) -> (text: String, atNs: Int64)? {
        do {
            try simulation.run()
            return nil
        } catch {
            return ("\(error)", simulation.nowNs)
        }
    }

    /// Does what a replica wants.
    mutating func pump(_ replica: Int) {
        while let next = replicas[replica].nextCommand(now: reading) {
            let partition = next.partition
            switch next.command {
            case .connect:
                lastConnection += 1
                connections[replica][partition] = lastConnection
                events.push(
                    .connects(replica: replica, partition: partition, connection: lastConnection), atNs: nowNs + delay()
                )
            case .disconnect: connections[replica][partition] = 0
            case .listening(let command): listen(command, replica, partition)
            case .send(let batch):
                let connection = connections[replica][partition]
                // One after the other: nothing overtakes on a connection.
                events.push(
                    .arrives(batch, replica: replica, partition: partition, connection: connection),
                    atNs: nowNs + 300_000)
            }
        }
        let nextNs = replicas[replica].nextTickNs() - 1_000_000_000
        if nextNs < ticksNs[replica] {
            ticksNs[replica] = nextNs
            events.push(.tick(replica: replica, dueNs: nextNs), atNs: max(nowNs, nextNs) + 20_000)
        }
    }

    private mutating func listen(_ command: ChangeFeedCommand, _ replica: Int, _ partition: Int) {
        guard scenario.hearsChanges else { return }
        switch command {
        case .open:
            feeds[replica][partition] = true
            events.push(.hears(.opened, replica: replica, partition: partition), atNs: nowNs + 400_000)
        case .probe:
            if isReachable(partition, from: replica), !isPaused(master(of: partition)) {
                events.push(.hears(.alive, replica: replica, partition: partition), atNs: nowNs + 400_000)
            }
        case .close: feeds[replica][partition] = false
        }
    }

    private mutating func arrives(
        _ event: Event, _ batch: Batch, _ replica: Int, _ partition: Int, _ connection: Int
    ) {
        let master = master(of: partition)
        // A batch that was under way when its connection broke may still arrive.
        if connections[replica][partition] != connection, !random.once(in: 2) { return }
        if !isReachable(partition, from: replica) { return }
        if connections[replica][partition] == connection, linkedMasters[replica][partition] != master {
            linkedMasters[replica][partition] = master
            replicas[replica].linkMoved(partition, to: "m\(master)")
            events.push(event, atNs: nowNs + 600_000)
            return
        }
        if isPaused(master) || hangs(partition) {
            heldBack[master, default: []].append(event)
            return
        }
        let result =
            refuses(master) && random.once(in: 2)
            ? .failure(.rejected("no room")) : stores[partition].run(batch, replica: UInt64(replica + 1))
        for key in stores[partition].takePublished() {
            for other in replicas.indices {
                events.push(.hears(.changed(key), replica: other, partition: partition), atNs: nowNs + 300_000)
            }
        }
        events.push(
            .answers(batch.sequence, result, replica: replica, partition: partition, connection: connection),
            atNs: nowNs + 300_000)
    }

    // MARK: - Gateways

    private mutating func check(_ replica: Int) throws {
        if nowNs < PartitionScenario.healedNs + 1_000_000_000 {
            events.push(
                .check(replica: replica), atNs: nowNs + Int64.random(in: 1...scenario.pauseNs * 2, using: &random))
        }
        for _ in 0..<Int.random(in: 1...(scenario.hasBursts && random.once(in: 4) ? 40 : 3), using: &random) {
            var question = CheckQuestion(grant: "g\(random.next() % UInt64(scenario.grants))")
            question.cost = random.once(in: 4) ? 2 : 1
            question.isPeek = random.once(in: 10)
            question.reserves = !question.isPeek && random.once(in: 4)
            lastTicket += 1
            let ticket = lastTicket
            checks += 1
            asked[ticket] = Asked(replica: replica, question: question, atNs: nowNs)
            let options =
                question.reserves
                ? CheckOptions(reservation: ReservationID(using: &random), id: nil, argumentsHash: 0) : nil
            let outcome = replicas[replica].check(
                question.identity(replicas[replica].counted), cost: question.cost, isPeek: question.isPeek,
                wantsTrace: random.once(in: 8), extras: options, ticket: Ticket(rawValue: ticket), now: reading)
            switch outcome {
            case .answered(let decision): try decided(ticket, decision, hasWaited: false)
            case .waiting: break
            default: throw fail("\(question): \(outcome)")
            }
        }
        pump(replica)
    }

    private mutating func collect() throws {
        for replica in replicas.indices {
            var finished: [Limiter.Completion] = []
            replicas[replica].takeCompletions(into: &finished)
            for completion in finished {
                let ticket = completion.ticket.rawValue
                if let reservation = settling.removeValue(forKey: ticket) {
                    settled(reservation, completion.answer)
                } else if case .decision(let decision) = completion.answer {
                    try decided(ticket, decision, hasWaited: true)
                } else {
                    throw fail("check \(ticket) was answered \(completion.answer)")
                }
            }
        }
    }

    private mutating func decided(_ ticket: UInt64, _ decision: Decision, hasWaited: Bool) throws {
        guard var check = asked[ticket], check.decision == nil else { throw fail("check \(ticket) was answered twice") }
        check.decision = decision
        // The count of a batch whose answer never came may stay off by its checks.
        if hasWaited, decision.source == .local, !check.question.isPeek { unconfirmedUnits += check.question.cost }
        say(
            "check \(ticket) of \(check.question.grant) for \(check.question.cost): \(decision.verdict) \(decision.source)"
        )
        guard nowNs - check.atNs <= PartitionScenario.budgetMs * 1_000_000 else {
            throw fail("check \(ticket) was answered after \((nowNs - check.atNs) / 1_000) us")
        }
        if nowNs > PartitionScenario.healedNs, decision.source == .local {
            throw fail("all is well, and check \(ticket) is decided locally")
        }
        if hasWaited, decision.source == .local, isCalm(check.question) {
            throw fail("nothing has happened to the partitions of check \(ticket), and it is decided locally")
        }
        if decision.allowed && !check.question.isPeek {
            check.cost = check.question.cost
            try count(check)
            if check.question.reserves {
                check.settlement = random.once(in: 2) ? .cancel : .commit(cost: 1)
                events.push(.settles(ticket), atNs: nowNs + Int64.random(in: 1...300_000_000, using: &random))
            }
        }
        asked[ticket] = check
    }

    private mutating func settle(_ ticket: UInt64) {
        guard let check = asked[ticket], let settlement = check.settlement, !check.isSettled,
            let id = check.decision?.reservation
        else { return }
        lastTicket += 1
        // A reservation that only this replica knows is settled here.
        let replica =
            check.decision?.source == .shared && random.once(in: 3)
            ? Int(random.next() % UInt64(replicas.count))
            : check.replica
        let outcome = replicas[replica].settle(
            grant: Array(check.question.grant.utf8), reservation: Array(id.utf8), settlement,
            ticket: Ticket(rawValue: lastTicket), now: reading)
        switch outcome {
        case .waiting: settling[lastTicket] = ticket
        case .answered(let done): settled(ticket, .settled(done))
        case .notSettled(let fault): settled(ticket, .notSettled(fault))
        case .overloaded, .storeUnavailable: settled(ticket, .storeUnavailable)
        }
        pump(replica)
    }

    private mutating func settled(_ ticket: UInt64, _ answer: Limiter.Completion.Answer) {
        guard let settlement = asked[ticket]?.settlement else { return }
        say("reservation of \(ticket): \(settlement) \(answer)")
        switch answer {
        case .settled:
            asked[ticket]?.isSettled = true
            if case .commit(let cost) = settlement { asked[ticket]?.cost = cost } else { asked[ticket]?.cost = 0 }
        default: events.push(.settles(ticket), atNs: nowNs + 200_000_000)
        }
    }

    // MARK: - Judgement

    /// Windows without reservations in them: what was given back may be admitted again.
    private mutating func count(_ check: Asked) throws {
        let lengthMs = PartitionScenario.shortSeconds * 1000
        let storeMs = Self.startMs + nowNs / 1_000_000
        let startMs = storeMs - storeMs % lengthMs
        // An answer that was under way when its window ended belongs to the one before.
        guard storeMs - startMs > PartitionScenario.budgetMs else { return }
        if check.question.reserves { return }
        for (grant, limit) in [(check.question.grant as String?, scenario.own), (nil, scenario.shared)] {
            let key = WindowKey(grant: grant, startMs: startMs)
            admitted[key, default: 0] += check.cost
            let units = admitted[key] ?? 0
            let partition = replicas[0].map.partition(ofOwner: (grant ?? "global=").utf8)
            let bound = isUndisturbed(partition, from: startMs) ? limit.max : limit.max * 2
            guard units <= bound else {
                throw fail("\(units) of \(bound) admitted: \(grant ?? "all grants"), window \(startMs)")
            }
        }
        if replicas[0].map.partition(ofOwner: check.question.grant.utf8)
            != replicas[0].map.partition(ofOwner: "global=".utf8)
        {
            admittedAcross += 1
        }
    }

    /// Whether nothing has happened to a partition's master since the window before this one began, nor for so long that
    /// it may still be recovering.
    private func isUndisturbed(_ partition: Int, from startMs: Int64) -> Bool {
        let startNs = (startMs - Self.startMs) * 1_000_000 - PartitionScenario.shortSeconds * 1_000_000_000
        let recoveryNs = PartitionScenario.healedNs - PartitionScenario.calmNs
        return startNs > 0
            && scenario.episodes.allSatisfy {
                !$0.disturbs(partition, at: pastMasters[partition]) || $0.startNs > nowNs
                    || $0.endNs + recoveryNs < startNs
            }
    }

    /// Whether nothing has happened yet to the partitions of a check: neither to its grant's nor to that of what all share.
    private func isCalm(_ question: CheckQuestion) -> Bool {
        [question.grant, "global="].allSatisfy { owner in
            let partition = replicas[0].map.partition(ofOwner: owner.utf8)
            return scenario.episodes.allSatisfy {
                $0.startNs > nowNs || !$0.disturbs(partition, at: pastMasters[partition])
            }
        }
    }

    private mutating func judgeTheEnd() throws {
        for (ticket, check) in asked where check.decision == nil {
            if check.atNs < PartitionScenario.endNs - 100_000_000 { throw fail("check \(ticket) was never answered") }
        }
        for (index, replica) in replicas.enumerated() {
            guard replica.isShared, replica.journalCount == 0 else {
                throw fail("replica \(index): \(replica.storeState), \(replica.journalCount) to write back")
            }
        }
        guard !scenario.losesData else { return }
        try judgeSum(of: scenario.wide, grant: nil)
        for grant in Set(asked.values.map(\.question.grant)) { try judgeSum(of: scenario.wideOwn, grant: grant) }
    }

    /// What was admitted is what a counter that is never full has: that of a grant, or the one that all share.
    private func judgeSum(of limit: Limit, grant: String?) throws {
        let checks = asked.values.filter { grant == nil || $0.question.grant == grant }
        let open = checks.filter { $0.decision == nil || $0.settlement != nil && !$0.isSettled }
        let sum = checks.reduce(Int64(0)) { $0 + $1.cost }
        let slack = unconfirmedUnits + open.reduce(Int64(0)) { $0 + $1.question.cost }
        let partition = replicas[0].map.partition(ofOwner: (grant ?? "global=").utf8)
        let identity = Identity.Parts(grant: Array((grant ?? "g").utf8), tool: "t", approved: false)
        let baseKey = CounterKey.baseKey(
            in: replicas[0][partition].configuration.keys, limit: limit, identity: identity)
        let stored = stores[partition].usage(
            of: CounterKey.key(
                baseKey, window: limit.window, startMs: limit.window.startMs(at: stores[partition].clockMs)))
        guard abs(stored - sum) <= slack else {
            throw fail("\(stored) are stored, \(sum) were admitted, \(slack) are open: \(grant ?? "all grants")")
        }
    }
}
