import SluicePolicy
import StoreModel

@testable import SluiceEngine

/// A limiter in virtual time over a store that answers at once, for stores that are not what they should be.
struct OddStoreRig {
    enum Answer {
        case reply(Result<BatchReply, BatchFailure>)
        /// The answer made no sense, and the link closed the connection.
        case nonsense(String)
    }

    static let startMs: Int64 = 1_700_000_040_000

    var limiter: Limiter
    var now: ClockReading
    var random: SeededRandom
    /// The notices for operators.
    var notices: [Limiter.Notice] = []
    /// How many batches went out, and how many connections were opened.
    var batches = 0
    var connections = 0
    /// Of the answers that came: by source.
    var answered: [Decision.Source: Int] = [:]
    private var lastTicket: UInt64 = 0
    private var reservations: [String] = []
    private var ids = 0

    static let policy = StoreModel.policy([
        limit("window", max: 40, of: "fixed"),
        limit("slide", max: 40, of: "slides", algorithm: .slidingWindow),
        limit("drops", max: 40, of: "leaks", algorithm: .tokenBucket, burst: 20),
        limit("slots", max: 4, of: "holds", algorithm: .concurrency, holdMs: 60_000),
        limit("window", max: 40, of: "all"),
        limit("slide", max: 40, of: "all", algorithm: .slidingWindow),
        limit("drops", max: 40, of: "all", algorithm: .tokenBucket, burst: 20),
        limit("shadow", max: 3, of: "all", mode: .shadow),
        limit("lasts", max: 3, of: "all", algorithm: .tokenBucket, burst: 1, mode: .shadow),
    ])
    static let tools = ["fixed", "slides", "leaks", "holds", "all"]

    init(seed: UInt64, replica: UInt64 = 7, wallMs: Int64 = startMs, keepsState: Bool = false) {
        now = ClockReading(monotonicNs: 5_000_000_000, wallMs: wallMs)
        random = SeededRandom(seed: seed)
        var configuration = LimiterConfiguration(
            keys: "sluice", budgetMs: 20, replicas: ReplicaView(own: replica, assumed: 2), usesStore: true,
            seed: seed)
        configuration.keepsState = keepsState
        limiter = Limiter(configuration: configuration, policies: PolicySet(single: Self.policy), now: now)
    }

    mutating func roll(_ count: Int) -> Int { Int.random(in: 0..<count, using: &random) }

    /// Lets time pass, and carries out what the limiter wants.
    ///
    /// - Parameters:
    ///   - mostBatches: it wants no more at one moment.
    ///   - answer: what the store does with a batch.
    /// - Returns: false if it wanted more.
    mutating func step(
        passMs: Int64, mostBatches: Int = 64, _ answer: (Batch, ClockReading) throws -> Answer
    ) rethrows -> Bool {
        now.monotonicNs += passMs * 1_000_000
        now.wallMs += passMs
        limiter.tick(now: now)
        var count = 0
        while let command = limiter.nextCommand(now: now) {
            switch command {
            case .connect:
                connections += 1
                limiter.linkConnected(now: now)
            case .disconnect, .listening: break
            case .send(let batch):
                batches += 1
                count += 1
                guard count <= mostBatches else { return false }
                switch try answer(batch, now) {
                case .reply(let result): limiter.linkAnswered(sequence: batch.sequence, result, now: now)
                case .nonsense(let reason): limiter.linkClosed(reason: reason, now: now)
                }
            }
            collect()
        }
        collect()
        return true
    }

    private mutating func collect() {
        var finished: [Limiter.Completion] = []
        limiter.takeCompletions(into: &finished)
        for completion in finished {
            guard case .decision(let decision) = completion.answer else { continue }
            note(decision)
        }
        notices += limiter.takeNotices()
    }

    private mutating func note(_ decision: Decision) {
        answered[decision.source, default: 0] += 1
        if decision.allowed, let reservation = decision.reservation, !reservation.isEmpty {
            reservations.append(reservation)
        }
    }

    /// Something that a gateway may ask.
    mutating func ask(_ tool: String? = nil) {
        lastTicket += 1
        let ticket = Ticket(rawValue: lastTicket)
        if tool == nil, roll(5) == 0, let reservation = reservations.randomElement(using: &random) {
            let settlement: Batch.Settlement = [.commit(cost: 2), .cancel, .release][roll(3)]
            _ = limiter.settle(
                grant: Array("g".utf8), reservation: reservation.utf8, settlement, ticket: ticket, now: now)
            return
        }
        let isPeek = roll(6) == 0
        var question = CheckQuestion(
            tool: tool ?? Self.tools[roll(Self.tools.count)], cost: [1, 1, 2, 5][roll(4)], isPeek: isPeek,
            wantsTrace: roll(2) == 0)
        question.reserves = !isPeek && (question.tool == "holds" || roll(3) == 0)
        var extras: CheckOptions?
        let isNamed = !isPeek && roll(4) == 0
        if isNamed { ids += roll(2) }
        if question.reserves || isNamed {
            extras = CheckOptions(
                reservation: question.reserves ? ReservationID(using: &random) : nil,
                id: isNamed ? Array("id\(question.tool)\(question.cost)\(question.reserves)\(ids)".utf8) : nil,
                argumentsHash: isNamed ? 5 : 0)
        }
        let outcome = limiter.check(
            question.identity(limiter.counted), cost: question.cost, isPeek: isPeek, wantsTrace: question.wantsTrace,
            extras: extras, ticket: ticket, now: now)
        if case .answered(let decision) = outcome { note(decision) }
    }
}
