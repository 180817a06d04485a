import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Some limiters, one model store, and a network between them that does its worst, in virtual time.
///
/// Everything follows from the seed: the same seed, the same run.
struct Simulation {
    final class Replica {
        var limiter: Limiter
        /// Its number in the store; a new one after a crash.
        var id: UInt64
        var connection: Int?
        var subscription: Int?
        var wallSkewMs: Int64
        /// How much too fast its monotonic clock runs, parts in a million.
        let drift: Int64
        var tickNs = Int64.max
        /// Cut off from the store until then, even if others are not.
        var isCutOffUntilNs: Int64 = 0
        /// Only with a state folder.
        var disk: Disk?

        init(limiter: Limiter, id: UInt64, wallSkewMs: Int64, drift: Int64) {
            self.limiter = limiter
            self.id = id
            self.wallSkewMs = wallSkewMs
            self.drift = drift
        }
    }

    struct Connection {
        var replica: Int
        /// Its number in the store.
        var id: UInt64
        /// The replica receives from it.
        var isOpen = true
        /// The store receives from it.
        var isWhole = true
        /// How many batches in flight at the break still arrive, and how much later.
        var survivors = 0
        var lateNs: Int64 = 0
        /// Nothing overtakes on the way there or back.
        var lastUpNs: Int64 = 0
        var lastDownNs: Int64 = 0
        var onTheirWay = 0
        /// A batch that the next one overtakes.
        var heldBack: Batch?
        /// The sequences without an answer, in the order of sending; and the answers that have to wait for an earlier
        /// one.
        var awaited: [Int64] = []
        var ready: [Int64: Result<BatchReply, BatchFailure>] = [:]
        /// Batches that are sent again, after all others, with the script itself.
        var broughtAlong: Set<Int64> = []
    }

    enum Event {
        case checks(replica: Int)
        case account(replica: Int)
        case commit(SimulationAccounts.Excess)
        case clear(replica: Int)
        case override(replica: Int)
        case drop
        case tick(replica: Int, dueNs: Int64)
        /// `isInside`: it has reached the store's machine, so it runs even if the connection breaks.
        indirect case arrive(connection: Int, batch: Batch, isInside: Bool)
        indirect case answer(connection: Int, sequence: Int64, result: Result<BatchReply, BatchFailure>)
        /// The store does not have the script: only the link sees that, and sends the script along.
        indirect case noScript(connection: Int, batch: Batch)
        case opened(connection: Int)
        case closed(connection: Int, reason: String)
        indirect case fault(SimulationScenario.Fault)
        indirect case settle(replica: Int, Settling)
        indirect case listening(Listening)
        case writing(Writing)
    }

    /// The copy of the store that another server has.
    struct Copy {
        var atNs: Int64
        var store: ModelStore
    }

    static let startMs: Int64 = 1_700_000_000_000
    static let connectLimitNs: Int64 = 2_000_000_000

    let seed: UInt64
    let scenario: SimulationScenario
    /// Prints every event.
    let isVerbose: Bool
    var random: SeededRandom
    var nowNs: Int64 = 0
    var events = EventQueue<Event>()
    var store: ModelStore
    var storeStepMs: Int64 = 0
    var replicas: [Replica] = []
    var connections: [Connection] = []
    var subscriptions: [Subscription] = []
    var history = StoreHistory()
    var oracle: SimulationOracle
    /// This is a part of a run, not a whole one.
    let isReduced: Bool
    var ledger = SimulationLedger()
    var logs = SimulationLogs()
    /// Checks with an id, by their id.
    var asked: [String: CheckQuestion] = [:]
    var openSettlings: [UInt64: OpenSettling] = [:]
    /// The policy in force.
    var policy: Policy { didSet { limitsOfTools = [:] } }
    private var limitsOfTools: [String: [Limit]] = [:]
    /// Counters with a write-back.
    var settledKeys = ByteTable<Bool>()
    /// The highest maximum by which each counter was charged: a reload may have lowered it.
    var highestMaxima = ByteTable<Int64>()
    /// A copy of the store, and when the store is replaced by it.
    var copies: [Copy] = []
    /// Whether some replica was restarted.
    var hadRestarts: Bool { coverage.counts[.restart] != nil || coverage.counts[.crash] != nil }
    /// Whether there was a data loss that some replica cannot have noticed.
    var isUnnoticed = false
    var coverage = SimulationCoverage()
    var bounds = SimulationBounds()
    /// nil for most seeds.
    var accounts: SimulationAccounts?
    /// What checks asked for lately of leased counters.
    var leases = SimulationLeases()
    /// nil for most seeds.
    var overrides: SimulationOverrides?
    /// nil for most seeds.
    var drops: SimulationDrops?
    /// What was settled for good.
    var settledForGood: Set<String> = []
    var lastTicket: UInt64 = 0
    var checks = 0
    private var finished: [Limiter.Completion] = []
    /// What each replica had to write back when the last check was asked.
    var unwrittenAtEnd: [Set<[UInt8]>]?

    /// - Parameters:
    ///   - without: episodes of the seed's scenario that are left out, to find which ones matter.
    ///   - endNs: the latest end.
    init(seed: UInt64, isVerbose: Bool = false, without: Set<Int> = [], endNs: Int64 = .max) {
        self.seed = seed
        self.isVerbose = isVerbose
        random = SeededRandom(seed: seed)
        var scenario = SimulationScenario(random: &random)
        scenario.countCalls(seed: seed)
        scenario.lease(seed: seed)
        scenario.episodes = scenario.episodes.enumerated().filter { !without.contains($0.offset) }.map(\.element)
        scenario.endNs = min(scenario.endNs, endNs)
        isReduced = !without.isEmpty || endNs < .max
        accounts = SimulationAccounts(seed: seed, scenario)
        if accounts != nil { scenario.addAccounts() }
        drops = SimulationDrops(seed: seed, scenario)
        overrides = accounts == nil ? SimulationOverrides(seed: seed, scenario) : nil
        if overrides != nil && scenario.course == .healing && endNs == .max {
            scenario.endNs += SimulationOverrides.extraNs
        }
        self.scenario = scenario
        policy = scenario.policy
        oracle = SimulationOracle(
            replicas: scenario.replicas, keepsState: scenario.keepsState, storeForgets: scenario.forgets)
        store = ModelStore(clockMs: Self.startMs)
        for index in 0..<scenario.replicas {
            let skewMs = Int64.random(in: -3_000...3_000, using: &random)
            let drift = Int64.random(in: -200...200, using: &random)
            replicas.append(
                Replica(
                    limiter: Self.limiter(
                        id: UInt64(index) + 1, scenario, policy,
                        ClockReading(monotonicNs: 0, wallMs: Self.startMs + skewMs)),
                    id: UInt64(index) + 1, wallSkewMs: skewMs, drift: drift))
            if scenario.keepsState { replicas[index].disk = Disk() }
        }
    }

    private static func limiter(
        id: UInt64, _ scenario: SimulationScenario, _ policy: Policy, _ now: ClockReading
    ) -> Limiter {
        var configuration = LimiterConfiguration(
            keys: "sluice", budgetMs: SimulationScenario.budgetMs,
            replicas: ReplicaView(own: id, assumed: scenario.replicas), usesStore: true, seed: id)
        configuration.keepsState = scenario.keepsState
        configuration.maxIncrement = scenario.maxIncrement
        if let table = scenario.table {
            configuration.maxPlans = table.rows
            configuration.grantParts = table.grantParts
        }
        return Limiter(configuration: configuration, policies: PolicySet(single: policy), now: now)
    }

    func makeLimiter(id: UInt64, now: ClockReading) -> Limiter { Self.limiter(id: id, scenario, policy, now) }

    // MARK: - The run

    mutating func run() throws {
        if isVerbose { print("\(scenario)") }
        for index in replicas.indices {
            replicas[index].limiter.tick(now: moment(index))
            try pump(index)
            events.push(.checks(replica: index), atNs: Int64.random(in: 0...scenario.pauseNs, using: &random))
        }
        if accounts != nil { for index in replicas.indices { events.push(.account(replica: index), atNs: 1_000_000) } }
        if accounts?.clears == true {
            events.push(.clear(replica: 0), atNs: scenario.endNs - SimulationAccounts.lastClearNs)
        }
        for atNs in overrides?.times(scenario) ?? [] {
            events.push(.override(replica: Int(atNs) % replicas.count), atNs: atNs)
        }
        if let drops { events.push(.drop, atNs: drops.atNs) }
        for episode in scenario.episodes { events.push(.fault(episode.fault), atNs: episode.startNs) }
        var steps = 0
        while let next = events.pop(), next.atNs <= lastNs {
            if unwrittenAtEnd == nil, next.atNs > scenario.endNs { unwrittenAtEnd = replicas.indices.map(unwritten) }
            nowNs = next.atNs
            try handle(next.event)
            steps += 1
            if steps > 2_000_000 { throw SimulationFailure(description: "it never comes to an end") }
        }
        try judge()
    }

    /// No checks are asked after the end; all that is open then must be answered in time. The rest of a reservation is
    /// settled with the next batch, if only a heartbeat.
    private var lastNs: Int64 {
        let graceMs = scenario.course != .healing ? 2 * SimulationScenario.budgetMs : scenario.isMixed ? 1_300 : 200
        if scenario.isLeased && scenario.course != .ending { return scenario.endNs + SimulationLeases.graceNs }
        return scenario.endNs + graceMs * 1_000_000
    }

    private mutating func handle(_ event: Event) throws {
        if isVerbose { print("\(Double(nowNs) / 1_000_000) ms: \(event)") }
        switch event {
        case .checks(let replica):
            if nowNs <= scenario.endNs { try ask(replica) }
        case .account(let replica): try account(replica)
        case .commit(let excess): try commit(excess)
        case .clear(let replica): try clear(replica)
        case .override(let replica): if nowNs <= scenario.endNs { try override(replica) }
        case .drop: drop()
        case .tick(let replica, let dueNs):
            guard replicas[replica].tickNs == dueNs else { return }
            replicas[replica].tickNs = .max
            let before = coverage.look(at: replicas[replica])
            replicas[replica].limiter.tick(now: moment(replica))
            coverage.note(changesFrom: before, to: replicas[replica], isTick: true)
            try pump(replica)
            if scenario.isLeased { try judgeBlocks(of: replica) }
        case .arrive(let connection, let batch, let isInside):
            try arrive(connection, batch, isInside: isInside)
        case .answer(let connection, let sequence, let result):
            guard connections[connection].isOpen else { return }
            let replica = connections[connection].replica
            coverage.note(result, to: replicas[replica])
            let before = coverage.look(at: replicas[replica])
            replicas[replica].limiter.linkAnswered(sequence: sequence, result, now: moment(replica))
            coverage.note(changesFrom: before, to: replicas[replica], isTick: false)
            try pump(replica)
        case .noScript(let connection, let batch):
            guard connections[connection].isOpen, connections[connection].isWhole else { return }
            coverage.add(.noScript)
            connections[connection].broughtAlong.insert(batch.sequence)
            put(batch, on: connection)
        case .opened(let connection):
            guard connections[connection].isOpen else { return }
            let replica = connections[connection].replica
            replicas[replica].limiter.linkConnected(now: moment(replica))
            try pump(replica)
        case .closed(let connection, let reason):
            guard connections[connection].isOpen else { return }
            breakOff(connection)
            let replica = connections[connection].replica
            replicas[replica].connection = nil
            replicas[replica].disk?.held = []
            replicas[replica].limiter.linkClosed(reason: reason, now: moment(replica))
            try pump(replica)
        case .fault(let fault):
            try begin(fault)
        case .settle(let replica, let settling):
            guard nowNs <= scenario.endNs else { return }
            try settle(replica, settling)
            try pump(replica)
        case .writing(let writing):
            if let replica = handle(writing) { try pump(replica) }
        case .listening(let event):
            let hearer = self.replica(of: event)
            let before = coverage.look(at: replicas[hearer])
            guard let replica = handle(event) else { return }
            coverage.note(changesFrom: before, to: replicas[replica], isTick: false)
            try pump(replica)
        }
    }

    /// The limits of a tool's call in the policy.
    mutating func limits(of tool: String) -> [Limit] {
        if let limits = limitsOfTools[tool] { return limits }
        let limits = policy.limits(of: tool)
        limitsOfTools[tool] = limits
        return limits
    }

    func moment(_ replica: Int) -> ClockReading {
        ClockReading(
            monotonicNs: nowNs + nowNs * replicas[replica].drift / 1_000_000,
            wallMs: Self.startMs + replicas[replica].wallSkewMs + nowNs / 1_000_000)
    }

    // MARK: - Callers

    private mutating func ask(_ replica: Int) throws {
        for _ in 0..<Int.random(in: 1...scenario.burst, using: &random) {
            if scenario.isMixed {
                try askMixed(replica)
                continue
            }
            let tool = scenario.tools.randomElement(using: &random) ?? "t"
            let grant = Bool.random(using: &random) ? "g" : "h"
            let session: String? = [nil, "a", "b"].randomElement(using: &random) ?? nil
            let cost = scenario.costs.randomElement(using: &random) ?? 1
            let isPeek = Int.random(in: 0..<100, using: &random) < scenario.peekPercent
            let limits = limits(of: tool)
            var identity = Identity()
            identity.fill(grant: grant.utf8Span.span, tool: tool.utf8Span.span, approved: false)
            if let session, replicas[replica].limiter.counted.sessions {
                identity.append(session: session.utf8Span.span)
            }
            lastTicket += 1
            checks += 1
            oracle.asks(
                lastTicket,
                SimulationOracle.Question(
                    replica: replica, askedNs: nowNs, cost: cost, isPeek: isPeek, grant: grant, session: session,
                    limits: limits, heldNs: heldNs(replica)))
            if scenario.isLeased && !isPeek { askBlocks(replica, identity, limits, cost: cost) }
            let evicted = replicas[replica].limiter.evictedCount
            let outcome = replicas[replica].limiter.check(
                identity, cost: cost, isPeek: isPeek, wantsTrace: true, ticket: Ticket(rawValue: lastTicket),
                now: moment(replica))
            switch outcome {
            case .answered(let decision): try answered(lastTicket, decision)
            case .waiting: oracle.waits(lastTicket)
            case .overloaded(let cause): try busy(lastTicket, cause, replica)
            case .mustReserve, .otherArguments: throw SimulationFailure(description: "\(outcome)")
            }
            noteEvictions(by: replica, since: evicted)
        }
        try pump(replica)
        // During a long wait for recovery there is little to learn.
        let isHealing = nowNs > SimulationScenario.calmNs && nowNs < SimulationScenario.healedNs
        let pauseNs =
            scenario.course == .healing && isHealing ? 40_000_000 * Int64(1 + scenario.burst) : scenario.pauseNs
        events.push(.checks(replica: replica), atNs: nowNs + Int64.random(in: 1...2 * pauseNs, using: &random))
    }

    mutating func answered(_ ticket: UInt64, _ decision: Decision) throws {
        if let bill = accounts?.open.removeValue(forKey: ticket) { return try accounted(bill, decision) }
        let question = oracle.open[ticket]
        if let question { try judgeOverrides(question, decision) }
        let mustBeShared = scenario.course == .gentle ? nowNs > 50_000_000 : nowNs > SimulationScenario.healedNs
        // It may have waited for a batch in flight, and both for the disk.
        let diskNs = question.map { heldNs($0.replica) - $0.heldNs } ?? 0
        // A local answer under an id stays the answer.
        if decision.source == .local && mustBeShared && scenario.course != .ending && question?.mixed?.id == nil
            && diskNs + 4 * scenario.usualDelayNs <= SimulationScenario.storeWaitNs
        {
            throw SimulationFailure(
                description: "ticket \(ticket) is counted locally, \(diskNs) ns for the disk: \(decision)")
        }
        if decision.source == .shared, scenario.stepsClock, scenario.course == .healing { try judgeTime(decision) }
        if let question, decision.source == .cache { try judgeRemembered(question, decision) }
        if let question, decision.allowed, decision.source == .local, !question.isPeek, !scenario.stepsClock {
            let limiter = replicas[question.replica].limiter
            let isPlain = question.mixed?.reserves == false && question.mixed?.id == nil
            try logs.admits(
                question, by: limiter, nowMs: limiter.clock.nowMs(moment(question.replica)),
                judgesShare: isPlain && !scenario.crashes && !scenario.restarts)
        }
        if scenario.isLeased, let question, decision.source == .local { noteCredits(question, decision) }
        if isVerbose, let question { print("    replica \(question.replica) \(Self.words(decision, question))") }
        try oracle.answers(
            ticket, decision, turns: question.map { turns(of: $0.replica) } ?? 0,
            isRecovering: question.map { replicas[$0.replica].limiter.reconciler.recovery != nil } ?? false,
            nowNs: nowNs)
        if let question, question.cost > 1, decision.allowed, question.limits.contains(where: { $0.counts == .calls }) {
            coverage.add(.countedCall)
        }
        if let question, question.mixed != nil { plan(decision, of: question) }
    }

    /// One line of a run with every event.
    private static func words(_ decision: Decision, _ question: SimulationOracle.Question) -> String {
        let looks = (decision.trace ?? []).map { "\($0.rule) from \($0.windowStartMs): \($0.used) of \($0.max)" }
        return """
            \(decision.allowed ? "admits" : "denies") \(question.cost) of \(question.grant)\
            \(question.session.map { ", session \($0)" } ?? "")\(question.isPeek ? ", a peek" : ""), \
            \(decision.source): \(looks.joined(separator: ", "))
            """
    }

    /// After a store's clock had run ahead and came back, replicas count in windows of its true time again.
    private mutating func judgeTime(_ decision: Decision) throws {
        guard nowNs > SimulationScenario.followedNs else { return }
        let trueMs = Self.startMs + nowNs / 1_000_000 + storeStepMs
        for look in decision.trace ?? [] where look.windowStartMs > trueMs {
            throw SimulationFailure(
                description:
                    "the window of \(look.windowStartMs) is open, and the store's time is \(trueMs): \(decision)")
        }
        coverage.add(.countedInTime)
    }

    /// How often a replica's process had an outage, wrote back, or first read the store's time.
    func turns(of replica: Int) -> Int64 {
        let limiter = replicas[replica].limiter
        return limiter.statistics.outages + limiter.statistics.settled + (limiter.clock.highestStoreMs > 0 ? 1 : 0)
    }

    /// Carries out a limiter's commands, as its shell does.
    mutating func pump(_ replica: Int) throws {
        let now = moment(replica)
        noteSteadiness(of: replica)
        oracle.notes(
            replica, isThere: replicas[replica].limiter.link.isClosed,
            losses: replicas[replica].limiter.statistics.dataLosses, nowMs: Self.startMs + nowNs / 1_000_000)
        while let command = replicas[replica].limiter.nextCommand(now: now) {
            if isVerbose { print("    replica \(replica): \(command)") }
            switch command {
            case .connect: connect(replica)
            case .disconnect:
                replicas[replica].disk?.held = []
                if let connection = replicas[replica].connection { breakOff(connection) }
                replicas[replica].connection = nil
            case .send(let batch): leave(batch, from: replica)
            case .listening(let command): listen(replica, command)
            }
        }
        replicas[replica].limiter.takeCompletions(into: &finished)
        for completion in finished {
            switch completion.answer {
            case .decision(let decision): try answered(completion.ticket.rawValue, decision)
            case .settled(let done): try settled(completion.ticket.rawValue, done)
            case .storeUnavailable:
                if try overridden(completion.ticket.rawValue, nil) { continue }
                if try !cleared(completion.ticket.rawValue, nil) { try settled(completion.ticket.rawValue, nil) }
            case .overridden(let outcome): _ = try overridden(completion.ticket.rawValue, outcome)
            case .cleared(let counters): _ = try cleared(completion.ticket.rawValue, counters)
            case .notSettled(let fault): throw SimulationFailure(description: "\(fault)")
            case .otherArguments: throw SimulationFailure(description: "other arguments")
            case .overloaded(let cause): throw SimulationFailure(description: "BUSY: \(cause)")
            }
        }
        recordSoon(replica)
        let notices = replicas[replica].limiter.takeNotices()
        for notice in notices { coverage.note(notice) }
        if isVerbose && !notices.isEmpty { print("    replica \(replica): \(notices)") }
        if replicas[replica].limiter.ledger.inFlight.count > EngineBounds.maxBatchesInFlight {
            throw SimulationFailure(description: "too many batches in flight")
        }
        let drift = replicas[replica].drift
        let wantedNs = replicas[replica].limiter.nextTickNs()
        let dueNs = max(nowNs, Int64(Double(wantedNs) / (1 + Double(drift) / 1_000_000)) + 1_000)
        guard dueNs < replicas[replica].tickNs else { return }
        // A timer fires a little late.
        let atNs = min(replicas[replica].tickNs - 1, dueNs + Int64.random(in: 0...500_000, using: &random))
        replicas[replica].tickNs = atNs
        events.push(.tick(replica: replica, dueNs: atNs), atNs: atNs)
    }
}
