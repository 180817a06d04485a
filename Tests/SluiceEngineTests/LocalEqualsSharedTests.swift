import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// A replica without a store answers as one that counts in a store used by no other.
///
/// By design these differ: `source`; the further numbers of a check that can never pass, because no store is asked for
/// it; and, for a shadow limit without windows, how long its denials are kept.
@Suite struct LocalEqualsSharedTests {
    private static let parts: UInt64 = 4
    private static let histories: UInt64 = 480

    @Test(arguments: 0..<parts) func anyHistory(part: UInt64) {
        var failures = 0
        var seen = LocalHistory.Seen()
        for seed in 1...Self.histories where seed % Self.parts == part && failures < 3 {
            var history = LocalHistory(seed: seed)
            do {
                try history.run()
            } catch {
                Issue.record("\(error)")
                failures += 1
            }
            seen.add(history.seen)
        }
        #expect(failures > 0 || seen.isEverything, "\(seen)")
    }
}

/// The same random history for a limiter with a store and for one without.
struct LocalHistory {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    /// What a history contained: one without a denial shows nothing.
    struct Seen {
        var allowed = 0
        var limited = 0
        var never = 0
        var mustReserve = 0
        var otherArguments = 0
        var replayed = 0
        var settled = 0
        var notSettled = 0
        var tooMuch = 0
        var looked = 0
        var charged = 0
        var chargedBeyond = 0
        var refunded = 0

        mutating func add(_ other: Seen) {
            allowed += other.allowed
            limited += other.limited
            never += other.never
            mustReserve += other.mustReserve
            otherArguments += other.otherArguments
            replayed += other.replayed
            settled += other.settled
            notSettled += other.notSettled
            tooMuch += other.tooMuch
            looked += other.looked
            charged += other.charged
            chargedBeyond += other.chargedBeyond
            refunded += other.refunded
        }

        var isEverything: Bool {
            [
                allowed, limited, never, mustReserve, otherArguments, replayed, settled, notSettled, looked, charged,
                chargedBeyond, refunded,
            ].allSatisfy { $0 > 10 } && tooMuch > 0
        }
    }

    let seed: UInt64
    private let policy: Policy
    private var random: SeededRandom
    private var shared: LimiterRig
    private var local: LimiterRig
    private(set) var seen = Seen()
    private var reservations: [(grant: String, id: String)] = []
    private var withID: [LimiterRig.Question] = []
    private var waits: [Int64] = []
    private var log: [String] = []

    init(seed: UInt64) {
        self.seed = seed
        random = SeededRandom(seed: seed)
        policy = random.policy()
        shared = LimiterRig(policy)
        local = LimiterRig(policy, usesStore: false)
        let passedMs = shared.now.wallMs - local.now.wallMs
        local.pass(ms: passedMs)
    }

    mutating func run() throws {
        for _ in 0..<60 {
            if random.once(in: 2) { pass() }
            switch random.next() % 8 {
            case 0: try settle()
            case 1 where !withID.isEmpty:
                var question = random.one(of: withID)
                if random.once(in: 4) { question.cost += 1 }
                try ask(question)
            default: try ask(randomQuestion())
            }
        }
    }

    // MARK: - Random choices

    private mutating func pass() {
        var ms: Int64
        switch random.next() % 8 {
        case 0, 1: ms = 1
        case 2, 3: ms = random.one(of: [10, 333, 500, 999])
        case 4: ms = random.one(of: [1_000, 1_500, 10_000, 60_000])
        case 5: ms = 1_000 - shared.now.wallMs % 1_000 - (random.once(in: 2) ? 1 : 0)
        case 6: ms = random.one(of: [1_500, 60_000, 3_600_000])
        default:
            ms = waits.isEmpty ? 7 : random.one(of: waits)
            if ms < 1 || ms > 10_000_000 { ms = 3 }
            if random.once(in: 2) { ms -= 1 }
        }
        log.append("pass \(ms)")
        // Heartbeats keep the marker of an idle replica.
        for _ in 0..<ms / 1_800_000 {
            shared.pass(ms: 1_800_000)
            shared.tick()
            shared.exchange()
        }
        shared.pass(ms: ms % 1_800_000)
        local.pass(ms: ms)
    }

    private mutating func randomQuestion() -> LimiterRig.Question {
        let largest = policy.tools.values.flatMap(\.limits).map(\.max).max() ?? 1
        var question = LimiterRig.Question()
        question.tool = random.one(of: ["t", "t", "u"])
        question.grant = random.one(of: ["g", "g", "h"])
        question.session = random.one(of: [nil, "a", "b"])
        question.server = random.one(of: [nil, "s"])
        if random.once(in: 2) { question.attributes["team"] = random.one(of: ["x", "y"]) }
        question.cost = random.one(of: [1, 1, 1, 1, 2, 3, 5, largest, largest / 2 + 1])
        question.cost = min(1_000_000_000_000, max(1, question.cost))
        question.wantsTrace = random.once(in: 2)
        question.isPeek = random.once(in: 6)
        question.reserves = !question.isPeek && !random.once(in: 3)
        switch random.next() % 8 {
        case 0 where !question.isPeek: question.action = .charge
        case 1 where !question.isPeek: question.action = .refund
        case 2: question.cost = 0
        default: break
        }
        // The store forgets a bucket that never leaks after its window, and a limiter without a store does not.
        let limits = (policy.tools[question.tool]?.limits ?? []) + policy.allToolsLimits
        if limits.contains(where: { $0.algorithm == .tokenBucket && $0.max == 0 }) { question.action = .check }
        if question.action != .check {
            question.reserves = false
            question.wantsTrace = false
        }
        if question.cost == 0 {
            question.reserves = false
            if random.once(in: 2) { return question }
        }
        if !question.isPeek, question.cost > 0, random.once(in: 5) {
            question.id = random.one(of: ["1", "2", "3"])
            withID.append(question)
        }
        return question
    }

    // MARK: - Both

    private mutating func ask(_ question: LimiterRig.Question) throws {
        let one = shared.askToTheEnd(question)
        let other = local.askToTheEnd(question)
        log.append("\(question)\n  shared: \(one)\n  local:  \(other)")
        switch (one, other) {
        case (.mustReserve, .mustReserve): seen.mustReserve += 1
        case (.otherArguments, .otherArguments): seen.otherArguments += 1
        case (.answered(let one), .answered(let other)): try compare(question, one, other)
        default: throw failure("differ")
        }
    }

    private mutating func compare(_ question: LimiterRig.Question, _ one: Decision, _ other: Decision) throws {
        var other = other
        if one.source == .policy {
            seen.never += one.retryAfterMs == -1 ? 1 : 0
            guard other.source == .policy, one.verdict == other.verdict, one.retryAfterMs == other.retryAfterMs else {
                throw failure("differ")
            }
            return
        }
        guard one.source == .shared, other.source == .local else { throw failure("come from elsewhere") }
        other.source = .shared
        for index in (other.trace ?? []).indices { other.trace?[index].localUsed = 0 }
        guard one == other else { throw failure("differ") }
        switch question.action {
        case .check: if one.allowed { seen.allowed += 1 } else { seen.limited += 1 }
        case .charge: if one.allowed { seen.charged += 1 } else { seen.chargedBeyond += 1 }
        case .refund: seen.refunded += 1
        }
        if question.cost == 0 { seen.looked += 1 }
        if !one.allowed { waits.append(one.retryAfterMs) }
        guard let reservation = one.reservation, !reservation.isEmpty else { return }
        if reservations.contains(where: { $0.id == reservation }) { seen.replayed += 1 }
        reservations.append((question.grant, reservation))
    }

    private mutating func settle() throws {
        guard !reservations.isEmpty else { return }
        let reservation = random.one(of: Array(reservations.suffix(6)))
        let grant = random.once(in: 8) ? "h" : reservation.grant
        let settlement: Batch.Settlement =
            switch random.next() % 4 {
            case 0: .cancel
            case 1: .release
            default: .commit(cost: random.one(of: [0, 1, 2, 7, 1_000_000_000_000, 1_000_000_000_000]))
            }
        let one = shared.settleToTheEnd(reservation.id, settlement, grant: grant)
        let other = local.settleToTheEnd(reservation.id, settlement, grant: grant)
        log.append(
            "\(settlement) \(reservation)\n  shared: \(one), local: \(other)")
        guard one == other else { throw failure("settle differently") }
        switch one {
        case .answered(true): seen.settled += 1
        case .answered(false): seen.notSettled += 1
        case .notSettled(.tooMuch): seen.tooMuch += 1
        default: throw failure("do not settle")
        }
    }

    private func failure(_ what: String) -> Failure {
        let limits = (policy.tools.values.flatMap(\.limits) + policy.allToolsLimits).map { "\($0)" }
        return Failure(
            description: "seed \(seed): they \(what)\n\(limits.joined(separator: "\n"))\n"
                + log.suffix(3).joined(separator: "\n"))
    }
}
