import SluicePolicy

/// One check whose counters are in several partitions: what to ask, and what the answers mean together.
///
/// A check's limits are mostly counted inside its grant, whose partition is its home. Limits that grants share
/// (`global`, `across_grants`) may have their counters in other partitions. There the check is made first, as a
/// reservation. If every one of them admits it, the home decides; if that denies it, the reservations are cancelled.
/// So a check is counted in all partitions or in none, and meanwhile a shared counter has too much, never too little.
/// Each reservation is charged and settled exactly once by the ledger of its partition, whatever gets lost.
struct CrossPartitionCheck {
    /// What a partition said.
    enum Answer {
        case decision(Decision)
        case busy(Busy)
        case otherArguments

        var decision: Decision? { if case .decision(let decision) = self { decision } else { nil } }
        var isAdmitted: Bool { decision?.allowed ?? false }
    }

    enum Step {
        /// Ask this partition, and report its answer under that number.
        case ask(partition: Int, part: Int, isPeek: Bool, isHome: Bool)
        /// Partitions have yet to answer.
        case wait
        /// The check has its answer; the reservations in these partitions must be settled. The last step.
        case finish(Answer, settle: [(partition: Int, settlement: Batch.Settlement)])
    }

    /// Which answers it waits for, and what follows.
    private enum Stage {
        /// Those of the other partitions; of a peek also that of the home. Then `home`, or `explanation` if one of
        /// them has denied it, or the end.
        case others
        /// The home decides. The end.
        case home
        /// What the home would have said: of a denied check the limit with the longest wait is reported. The end.
        case explanation
    }

    let ticket: Ticket
    let identity: Identity
    let cost: Int64
    let isPeek: Bool
    let wantsTrace: Bool
    /// With a reservation, unless it is a peek: one of ours if the gateway asked for none.
    let options: CheckOptions?
    /// Whether the gateway asked for the reservation.
    let wantsReservation: Bool
    let route: CheckRoute
    /// When its bytes could be read, by the monotonic clock.
    let askedNs: Int64
    private var stage = Stage.others
    /// One for each of the route's other partitions, and one for the home. nil: not asked, or no answer yet.
    private var answers: [Answer?]
    private var askedCount = 0
    private var answeredCount = 0

    init(
        ticket: Ticket, identity: Identity, cost: Int64, isPeek: Bool, wantsTrace: Bool, options: CheckOptions?,
        wantsReservation: Bool, route: CheckRoute, askedNs: Int64
    ) {
        self.ticket = ticket
        self.identity = identity
        self.cost = cost
        self.isPeek = isPeek
        self.wantsTrace = wantsTrace
        self.options = options
        self.wantsReservation = wantsReservation
        self.route = route
        self.askedNs = askedNs
        answers = Array(repeating: nil, count: route.others.count + 1)
    }

    mutating func answered(part: Int, _ answer: Answer) {
        precondition(answers[part] == nil, "a partition answers once")
        answers[part] = answer
        answeredCount += 1
    }

    /// What to do next; asked for again after `ask`, and after each answer.
    mutating func next() -> Step {
        if stage == .others, askedCount < (isPeek ? answers.count : route.others.count) { return ask() }
        if answeredCount < askedCount { return .wait }
        if stage == .others, !isPeek {
            if others.allSatisfy({ $0?.isAdmitted ?? false }) {
                stage = .home
                return ask()
            }
            // What admits nothing, or could not decide, needs no other reason.
            if others.allSatisfy({ $0?.decision.map { $0.verdict != .unavailable } ?? false }) {
                stage = .explanation
                return ask()
            }
        }
        return finish()
    }

    private var others: ArraySlice<Answer?> { answers.dropLast() }

    private mutating func ask() -> Step {
        let part = askedCount
        askedCount += 1
        let isHome = part == route.others.count
        return .ask(
            partition: isHome ? route.home : route.others[part], part: part, isPeek: isPeek || stage == .explanation,
            isHome: isHome)
    }

    private func finish() -> Step {
        let given = withoutGivenBack()
        let answer =
            given.first { $0.decision == nil }
            ?? .decision(Self.combined(given.compactMap(\.decision), order: route.order, wantsTrace: wantsTrace))
        guard case .decision(var decision) = answer else {
            return .finish(answer, settle: settlements(isAdmitted: false))
        }
        if wantsReservation {
            decision.reservation = decision.allowed ? answers.last??.decision?.reservation ?? nil : ""
        }
        if wantsReservation, decision.allowed, (decision.reservation ?? "").isEmpty {
            decision.reservation = options?.reservation?.description
        }
        return .finish(.decision(decision), settle: settlements(isAdmitted: decision.allowed))
    }

    /// The answers. A check that was admitted by some partitions and then denied is given back there: their traces show
    /// the counters without it.
    private func withoutGivenBack() -> [Answer] {
        let given = answers.compactMap(\.self)
        guard wantsTrace, !isPeek, given.contains(where: { !$0.isAdmitted }) else { return given }
        return given.map { answer in
            guard case .decision(var decision) = answer, decision.allowed,
                decision.reservation == options?.reservation?.description
            else { return answer }
            decision.trace = decision.trace?.map { limit in
                guard limit.fits else { return limit }
                let units = route.slots.contains(limit.rule) ? 1 : cost
                var without = limit
                without.used = max(0, limit.used - units)
                without.left += units
                return without
            }
            return .decision(decision)
        }
    }

    /// The reservations made here: given back if the check is not admitted, and kept if the gateway settles them. An
    /// answer that was repeated under an id has another reservation, which is not touched.
    private func settlements(isAdmitted: Bool) -> [(partition: Int, settlement: Batch.Settlement)] {
        guard let id = options?.reservation?.description, !isPeek, !(isAdmitted && wantsReservation) else { return [] }
        return zip(route.others, others).compactMap { partition, answer in
            guard let decision = answer?.decision, decision.allowed, decision.reservation == id else { return nil }
            return (partition, isAdmitted ? .commit(cost: cost) : .cancel)
        }
    }

    // MARK: - Answers together

    /// The decision as if one partition had all limits.
    ///
    /// - Parameters:
    ///   - parts: at least one.
    ///   - order: the rules of all limits, in the policy's order.
    static func combined(_ parts: [Decision], order: [String], wantsTrace: Bool) -> Decision {
        func place(_ rule: String) -> Int { order.firstIndex(of: rule) ?? order.count }
        var result =
            parts.first { $0.verdict == .unavailable } ?? binding(parts.sorted { place($0.rule) < place($1.rule) })
        if parts.contains(where: { $0.source == .local }) { result.source = .local }
        result.reservation = nil
        result.trace = nil
        if wantsTrace {
            result.trace =
                result.verdict == .unavailable
                ? []
                : parts.flatMap { $0.trace ?? [] }.enumerated()
                    .sorted { (place($0.element.rule), $0.offset) < (place($1.element.rule), $1.offset) }
                    .map(\.element)
        }
        return result
    }

    /// Of denied parts the one with the longest wait, else the one with the smallest part left; of equals the first.
    private static func binding(_ parts: [Decision]) -> Decision {
        let denied = parts.filter { !$0.allowed }
        guard !denied.isEmpty else {
            // Where only shadow limits apply, or none, nothing binds.
            let limited = parts.filter { $0.limit >= 0 }
            return limited.dropFirst().reduce(limited.first ?? parts[0]) { $1.hasLess(than: $0) ? $1 : $0 }
        }
        return denied.dropFirst().reduce(denied[0]) { $1.waitsLonger(than: $0) ? $1 : $0 }
    }
}

extension Decision {
    /// As `LimitEvaluation.binds`.
    fileprivate func hasLess(than other: Decision) -> Bool {
        let mine = remaining.multipliedFullWidth(by: other.limit)
        let others = other.remaining.multipliedFullWidth(by: limit)
        return (mine.high, mine.low) < (others.high, others.low)
    }

    fileprivate func waitsLonger(than other: Decision) -> Bool {
        func order(_ decision: Decision) -> (Int64, Int, Int64) {
            let isNever = decision.retryAfterMs < 0
            return (isNever ? .max : decision.retryAfterMs, isNever && decision.limit == 0 ? 1 : 0, decision.resetMs)
        }
        return order(self) > order(other)
    }
}
