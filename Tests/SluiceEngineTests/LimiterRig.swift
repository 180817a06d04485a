import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// A limiter and a model store, connected by hand: a test says what is sent, what runs and what is answered.
struct LimiterRig {
    static let startMs: Int64 = 1_700_000_040_000  // begins a minute
    static let replica: UInt64 = 7

    let replica: UInt64
    var limiter: Limiter
    var store: ModelStore
    var now: ClockReading
    /// The answers that came as completions, by ticket.
    var answers: [UInt64: Decision] = [:]
    /// Tickets in the order of their answers.
    var order: [UInt64] = []
    /// The commands for its change feed; only tests answer them.
    var listening: [ChangeFeedCommand] = []
    /// The results of settlements that waited: nil if the store became unavailable.
    var settled: [UInt64: Bool?] = [:]
    var cleared: [UInt64: [CounterClearing]] = [:]
    var overridden: [UInt64: OverrideOutcome] = [:]
    /// Settlements that were rejected.
    var notSettled: [UInt64: Limiter.SettleFault] = [:]
    /// Checks that were answered that their id belongs to another check.
    var otherArguments: Set<UInt64> = []
    /// Checks that waited and were answered `BUSY`.
    var busy: [UInt64: Busy] = [:]
    /// The records so far, and the result of the last restart from them.
    var records: [StateRecord] = []
    var restoration = Limiter.Restoration()
    var policy: Policy
    /// Draws the ids of reservations, as gateways and shells do.
    var random = SeededRandom(seed: 99)
    private var lastTicket: UInt64 = 0

    init(
        _ policy: Policy, replicas: Int = 1, usesStore: Bool = true, connected: Bool = true, maxPlans: Int? = nil,
        wallSkewMs: Int64 = 0, replica: UInt64 = Self.replica, keepsState: Bool = false, maxTableBytes: Int? = nil,
        grantParts: Int = EngineBounds.grantParts
    ) {
        self.replica = replica
        now = ClockReading(monotonicNs: 5_000_000_000, wallMs: Self.startMs + wallSkewMs)
        store = ModelStore(clockMs: Self.startMs)
        var configuration = LimiterConfiguration(
            keys: "sluice", budgetMs: 20, replicas: ReplicaView(own: replica, assumed: replicas),
            usesStore: usesStore, seed: 1)
        if let maxPlans { configuration.maxPlans = maxPlans }
        configuration.keepsState = keepsState
        configuration.grantParts = grantParts
        if let maxTableBytes { configuration.maxTableBytes = maxTableBytes }
        self.policy = policy
        limiter = Limiter(configuration: configuration, policies: PolicySet(single: policy), now: now)
        if usesStore && connected { connect() }
    }

    /// Lets time pass, here and in the store.
    mutating func pass(ms: Int64) { pass(ns: ms * 1_000_000) }

    mutating func pass(ns: Int64) {
        let before = now.monotonicNs / 1_000_000
        now.monotonicNs += ns
        let passedMs = now.monotonicNs / 1_000_000 - before
        now.wallMs += passedMs
        store.clockMs += passedMs
    }

    mutating func tick() {
        limiter.tick(now: now)
        collect()
    }

    /// All commands of the limiter for its link.
    mutating func commands() -> [Limiter.LinkCommand] {
        var commands: [Limiter.LinkCommand] = []
        while let command = limiter.nextCommand(now: now) {
            if case .listening(let command) = command { listening.append(command) } else { commands.append(command) }
        }
        return commands
    }

    /// The batches that it sends now.
    mutating func sent() -> [Batch] {
        commands().compactMap { if case .send(let batch) = $0 { batch } else { nil } }
    }

    /// Waits until the limiter tries its link again, and answers the probe; if it awaits other replicas, until it no
    /// longer does.
    mutating func connect() {
        for _ in 0..<200 where !limiter.isShared {
            tick()
            let commands = commands()
            if commands == [.connect] { limiter.linkConnected(now: now) }
            for case .send(let batch) in commands { answer(batch, run(batch)) }
            exchange()
            if !limiter.isShared { pass(ms: 20) }
        }
        precondition(limiter.isShared)
        // It opens the change feed from now on.
        tick()
        _ = commands()
        _ = limiter.takeNotices()
    }

    /// Waits until the limiter tries its link again.
    /// - Returns: the probe that it sends.
    mutating func probe() -> Batch {
        while commands() != [.connect] {
            pass(ms: 20)
            tick()
        }
        limiter.linkConnected(now: now)
        guard let probe = sent().first else { preconditionFailure("no probe") }
        return probe
    }

    mutating func run(_ batch: Batch) -> Result<BatchReply, BatchFailure> { store.run(batch, replica: replica) }

    /// Another replica sends a heartbeat, in its batch with that sequence. It has nothing to write back unless the
    /// test says so.
    mutating func beat(_ replica: UInt64, _ sequence: Int64, hasWrittenBack: Bool = true) {
        var batch = Batch()
        batch.sequence = sequence
        batch.appendKey(KeySpace("sluice").replicas)
        batch.appendKey(KeySpace("sluice").writtenBack)
        batch.operations = [.heartbeat(lifeMs: 30_000, writtenBackMs: hasWrittenBack ? store.clockMs : 0)]
        batch.entries = [Batch.Entry(cost: 0, count: 0, firstCharge: 0, chargeCount: 0, operation: 0)]
        _ = store.run(batch, replica: replica)
    }

    mutating func answer(_ batch: Batch, _ result: Result<BatchReply, BatchFailure>) {
        limiter.linkAnswered(sequence: batch.sequence, result, now: now)
        collect()
    }

    mutating func close(_ reason: String = "reset") {
        limiter.linkClosed(reason: reason, now: now)
        collect()
    }

    /// Runs and answers batches until no more are sent.
    mutating func exchange() {
        for _ in 0..<10_000 {
            let batches = sent()
            if batches.isEmpty { return }
            for batch in batches { answer(batch, run(batch)) }
        }
        preconditionFailure("it never stops sending")
    }

    mutating func collect() {
        var finished: [Limiter.Completion] = []
        limiter.takeCompletions(into: &finished)
        for completion in finished {
            let ticket = completion.ticket.rawValue
            precondition(answers[ticket] == nil, "answered twice")
            switch completion.answer {
            case .decision(let decision): answers[ticket] = decision
            case .otherArguments: otherArguments.insert(ticket)
            case .settled(let done): settled[ticket] = .some(done)
            case .notSettled(let fault): notSettled[ticket] = fault
            case .storeUnavailable: settled[ticket] = .some(nil)
            case .overloaded(let cause): busy[ticket] = cause
            case .cleared(let counters): cleared[ticket] = counters
            case .overridden(let outcome): overridden[ticket] = outcome
            }
            order.append(ticket)
        }
    }

    enum Asked {
        case answered(Decision)
        case waiting(UInt64)
        case overloaded(Busy)
        case mustReserve
        case otherArguments
    }

    mutating func nextTicket() -> UInt64 {
        lastTicket += 1
        return lastTicket
    }

    /// One check, or one peek, without the store.
    mutating func ask(
        _ tool: String = "t", grant: String = "g", server: String? = nil, session: String? = nil, cost: Int64 = 1,
        isPeek: Bool = false, approved: Bool = false, wantsTrace: Bool = false
    ) -> Asked {
        ask(
            Question(
                tool: tool, grant: grant, session: session, server: server, cost: cost, isPeek: isPeek,
                approved: approved, wantsTrace: wantsTrace))
    }

    /// One check of an identity made by hand, by the store if needed.
    mutating func decide(_ identity: Identity, cost: Int64 = 1, isPeek: Bool = false) -> Decision {
        lastTicket += 1
        let ticket = lastTicket
        let outcome = limiter.check(
            identity, cost: cost, isPeek: isPeek, wantsTrace: false, ticket: Ticket(rawValue: ticket), now: now)
        if case .answered(let decision) = outcome { return decision }
        exchange()
        guard let decision = answers[ticket] else { preconditionFailure("no answer: \(outcome)") }
        return decision
    }

    /// A check that must wait for the store: its ticket.
    mutating func wait(
        _ tool: String = "t", grant: String = "g", session: String? = nil, cost: Int64 = 1, isPeek: Bool = false,
        wantsTrace: Bool = false
    ) -> UInt64 {
        let asked = ask(
            tool, grant: grant, session: session, cost: cost, isPeek: isPeek, wantsTrace: wantsTrace)
        guard case .waiting(let ticket) = asked else { preconditionFailure("it does not wait: \(asked)") }
        return ticket
    }

    /// One check with its answer, by the store if needed.
    mutating func decide(
        _ tool: String = "t", grant: String = "g", server: String? = nil, session: String? = nil, cost: Int64 = 1,
        isPeek: Bool = false, approved: Bool = false, wantsTrace: Bool = false
    ) -> Decision {
        let asked = ask(
            tool, grant: grant, server: server, session: session, cost: cost, isPeek: isPeek, approved: approved,
            wantsTrace: wantsTrace)
        switch asked {
        case .answered(let decision): return decision
        case .overloaded, .mustReserve, .otherArguments: preconditionFailure("\(asked)")
        case .waiting(let ticket):
            exchange()
            guard let decision = answers[ticket] else { preconditionFailure("no answer") }
            return decision
        }
    }
}

extension Limiter {
    /// The operators' report of all counters that match.
    func counters(stored: StoredCounters?, grant: String?, tool: String?, now: ClockReading) -> [CounterReport] {
        var inspection = CounterInspection(counterQuery(grant: grant, tool: tool, limit: .max), stored: stored)
        while !inspection.look(at: self, atMost: .max, now: now) {}
        return inspection.sorted()
    }
}

/// As `#expect`, for loops of many thousands: that one takes microseconds even when all is well.
func expectQuickly(
    _ isSo: Bool, _ what: @autoclosure () -> String, sourceLocation: SourceLocation = #_sourceLocation
) {
    if !isSo { Issue.record(Comment(rawValue: what()), sourceLocation: sourceLocation) }
}

/// The key of a limit's counter in one window.
func key(_ limit: Limit, grant: String = "g", session: String? = nil, startMs: Int64 = LimiterRig.startMs) -> [UInt8] {
    let identity = Identity.Parts(
        grant: Array(grant.utf8), tool: "t", approved: false, session: session.map { Array($0.utf8) })
    return CounterKey.key(
        CounterKey.baseKey(in: "sluice", limit: limit, identity: identity), window: limit.window, startMs: startMs)
}
