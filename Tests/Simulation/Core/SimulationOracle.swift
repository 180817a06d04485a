import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// A fault that a simulation found.
struct SimulationFailure: Error, CustomStringConvertible {
    var description: String
}

/// Records every question and answer of a simulation, and checks what must hold.
struct SimulationOracle {
    final class Question {
        let replica: Int
        let askedNs: Int64
        let cost: Int64
        let isPeek: Bool
        let grant: String
        let session: String?
        /// With the maxima that its replica decided by: see `Simulation.judgeOverrides`.
        var limits: [Limit]
        let mixed: Mixed?
        /// The store may be asked about it.
        var waits = false
        /// How long batches of its replica had waited for the disk before.
        let heldNs: Int64

        init(
            replica: Int, askedNs: Int64, cost: Int64, isPeek: Bool, grant: String, session: String?, limits: [Limit],
            heldNs: Int64, mixed: Mixed? = nil
        ) {
            self.replica = replica
            self.askedNs = askedNs
            self.cost = cost
            self.isPeek = isPeek
            self.grant = grant
            self.session = session
            self.limits = limits
            self.heldNs = heldNs
            self.mixed = mixed
        }

        /// What it takes of this limit.
        func units(_ limit: Limit) -> Int64 { limit.units(ofCost: cost) }
    }

    /// What checks with one id have in common.
    struct Call: Hashable {
        var group: SimulationLedger.Group
        var grant: String
        var id: String
        var reservation: String
    }

    /// Only for limits of every kind.
    struct Mixed {
        var tool: String
        var reserves: Bool
        var id: String?
        /// Its reservation.
        var reservation: String?
        var group: SimulationLedger.Group
    }

    /// One window of one counter.
    struct Window: Hashable {
        var grant: String
        /// Only if the limit counts by session.
        var session: String?
        var rule: String
        var startMs: Int64
    }

    struct Usage {
        var limit: Limit
        /// The highest maximum of any check.
        var max: Int64
        var endMs: Int64
        /// The parts of the usage that shared answers claim: from (exclusive), to.
        var claims: [(from: Int64, to: Int64)] = []
        var asked: Int64 = 0
        var admitted: Int64 = 0
        /// Admitted locally by any replica, at any time.
        var admittedUnshared: Int64 = 0
        /// Admitted locally by each replica, since it knows the store's time.
        var admittedLocally: [Int64]
        /// Admitted locally by replicas that did not know the store's time: nothing is kept of a window that had not
        /// begun by it.
        var admittedBlindly: Int64 = 0
        /// Admitted locally when time ran out.
        var admittedUnconfirmed: Int64 = 0
        /// Denied locally when time ran out: the store may have admitted it, and that is not taken back.
        var deniedUnconfirmed: Int64 = 0
        /// By replica.
        var views: [View]
        /// How often a replica that counted by itself was restarted.
        var restarts: Int64 = 0
        /// How many of those had no state folder, and what they had admitted locally.
        var unlistedReplicas: Int64 = 0
        var admittedByDead: Int64 = 0
        /// The most that was lost with replicas: without a state folder all local admissions, with one those that were
        /// not on the disk.
        var lost: Int64 = 0
        /// Some process that is gone had begun to count locally more than once.
        var hadManySpells = false
        /// Some replica evicted what was reported to it, to make room.
        var wasEvicted = false
        /// What the store had admitted before the outage with that number, which was the last one when it admitted
        /// something.
        var admittedBeforeOutage: Int64 = 0
        var lastOutage = -1
        /// By replica, the most that it gave back of blocks without the store, and so may admit beside its share.
        var credited: [Int64] = []
    }

    private(set) var open: [UInt64: Question] = [:]
    private(set) var answered: [Int64]
    private(set) var usages: [Window: Usage] = [:]
    /// How many checks were admitted as shared; those with one id count once.
    var admitted: [SimulationLedger.Group: Int64] = [:]
    var admittedIDs: Set<Call> = []
    /// What each replica's process answered when it admitted a check, by its id.
    var known: [[String: Decision]]
    /// Every id that was admitted and whose call was not cancelled, and the reservations in its answers.
    var answeredIDs: [String: (question: Question, reservations: Set<String>)] = [:]
    /// The reservations that checks with an id asked for: even of a denied check, because the store may have admitted
    /// it.
    var askedReservations: [String: Set<String>] = [:]
    /// Reservations that a client tried to cancel.
    var cancelled: Set<String> = []
    /// The ids of those.
    var cancelledIDs: Set<String> = []
    /// Reservations that a client tried to commit.
    var committed: Set<String> = []
    /// By replica, when it received their cancels.
    var cancelledNs: [[String: Int64]]
    /// The least that the store must hold in the end, of windows that are open then: by counter, without its window.
    var atLeast = ByteTable<Int64>()
    /// Reservations that no client has, and that were not to be kept for an id.
    var refused: Set<String> = []
    /// Reservations in shared answers.
    var promised: Set<String> = []
    /// Which replicas have had an answer from the store.
    private var knowsTime: [Bool]
    /// Checks of replicas that died before they answered: the store may have admitted them.
    private var unanswered: Int64 = 0
    /// Windows that contain one of these times of the store were lost in a data loss.
    private var dataLosses: [ClosedRange<Int64>] = []
    /// By replica.
    private var unwritten: [Unwritten]
    var returns: SimulationReturns
    /// Replicas have a state folder.
    private let keepsState: Bool
    /// The store loses data.
    let storeForgets: Bool

    init(replicas: Int, keepsState: Bool, storeForgets: Bool) {
        self.storeForgets = storeForgets
        self.keepsState = keepsState
        known = [[String: Decision]](repeating: [:], count: replicas)
        cancelledNs = [[String: Int64]](repeating: [:], count: replicas)
        answered = [Int64](repeating: 0, count: replicas)
        knowsTime = [Bool](repeating: false, count: replicas)
        unwritten = [Unwritten](repeating: Unwritten(), count: replicas)
        returns = SimulationReturns(replicas: replicas)
    }

    // MARK: - What happens

    mutating func asks(_ ticket: UInt64, _ question: Question) {
        open[ticket] = question
        if let id = question.mixed?.id { askedReservations[id, default: []].insert(question.mixed?.reservation ?? "") }
    }

    mutating func waits(_ ticket: UInt64) { open[ticket]?.waits = true }

    /// It was not decided, and charged nothing.
    mutating func drops(_ ticket: UInt64) { open[ticket] = nil }

    /// A charge or refund was answered: see `SimulationAccounts`.
    mutating func answersBill(_ replica: Int) { answered[replica] += 1 }

    /// A replica evicted some of what was reported to it.
    ///
    /// - Parameter isKept: whether it still has the counter of that base key.
    mutating func evicts(_ replica: Int, nowMs: Int64, isKept: ([UInt8]) -> Bool) {
        for (window, usage) in usages
        where usage.endMs > nowMs && (usage.views[replica].seen > 0 || usage.views[replica].spells > 0) {
            if isKept(Self.baseKey(usage.limit, window)) { continue }
            usages[window]?.views[replica].seen = 0
            usages[window]?.wasEvicted = true
        }
    }

    /// Local admissions are being written, or were written.
    mutating func writes(_ replica: Int) { unwritten[replica].taken = unwritten[replica].admitted.count }

    mutating func hasWritten(_ replica: Int) {
        unwritten[replica].admitted.removeFirst(unwritten[replica].taken)
        unwritten[replica].taken = 0
    }

    /// A process died.
    mutating func crashed(_ replica: Int, turns: Int64, newTurns: Int64) {
        for question in open.values where question.replica == replica && !question.isPeek {
            unanswered += question.cost
        }
        open = open.filter { $0.value.replica != replica }
        knowsTime[replica] = false
        known[replica] = [:]
        cancelledNs[replica] = [:]
        if keepsState {
            for (window, cost) in unwritten[replica].admitted { usages[window]?.lost += cost }
            return restarted(replica, turns: turns, newTurns: newTurns)
        }
        answered[replica] = 0
        for index in usages.values.indices { usages.values[index].dies(replica) }
    }

    /// A replica continued an earlier process; what that had only seen may be lost.
    ///
    /// - Parameters:
    ///   - turns: see `Simulation.turns(of:)`, when its process ended.
    ///   - newTurns: those of the new process.
    mutating func restarted(_ replica: Int, turns: Int64, newTurns: Int64) {
        answered[replica] = 0
        known[replica] = [:]
        cancelledNs[replica] = [:]
        unwritten[replica] = Unwritten()
        for index in usages.values.indices {
            usages.values[index].restarts(replica, turns: turns, newTurns: newTurns)
        }
    }

    mutating func storeLostData(_ times: ClosedRange<Int64>) { dataLosses.append(times) }

    /// - Parameters:
    ///   - turns: see `Simulation.turns(of:)`.
    ///   - isRecovering: the replica waits for others to write back.
    mutating func answers(
        _ ticket: UInt64, _ decision: Decision, turns: Int64, isRecovering: Bool, nowNs: Int64
    ) throws {
        guard let question = open.removeValue(forKey: ticket) else {
            throw SimulationFailure(description: "ticket \(ticket) is answered without being open: \(decision)")
        }
        answered[question.replica] += 1
        let tookNs = nowNs - question.askedNs
        func demand(_ isSo: Bool, _ what: String) throws {
            if !isSo {
                throw SimulationFailure(
                    description: "\(what): ticket \(ticket), \(question), answered \(decision) after \(tookNs) ns")
            }
        }
        try demand(tookNs <= SimulationScenario.storeWaitNs, "too late")
        if let mixed = question.mixed { return try judge(question, mixed, decision, demand) }
        try demand(decision.trace?.count == question.limits.count, "not all limits in the trace")
        let looks = decision.trace ?? []
        for (limit, look) in zip(question.limits, looks) {
            try demand(look.rule == limit.rule && look.max == limit.max, "a trace of other limits")
            try demand(look.windowStartMs % limit.window.lengthMs == 0, "no window starts then")
        }
        try demand((decision.retryAfterMs == 0) == decision.allowed, "a time to wait")
        try demand(decision.message.isEmpty == decision.allowed, "a message")
        switch decision.source {
        case .policy:
            let isTooMuch = question.limits.contains { question.units($0) > $0.max }
            try demand(!decision.allowed && isTooMuch && decision.retryAfterMs == -1, "a rejection for ever")
        case .local:
            if !decision.allowed && !question.isPeek && question.waits {
                count(question, looks) { $0.deniedUnconfirmed += question.units($0.limit) }
            }
            if decision.allowed && !question.isPeek {
                count(question, looks) { $0.admittedUnshared += question.units($0.limit) }
            }
            if decision.allowed && !question.isPeek && question.waits {
                count(question, looks) { $0.admittedUnconfirmed += question.units($0.limit) }
            }
            if decision.allowed && !question.isPeek {
                let knowsTime = knowsTime[question.replica]
                countAlone(question, looks, turns: turns)
                count(question, looks) {
                    if knowsTime {
                        $0.admittedLocally[question.replica] += question.units($0.limit)
                    } else {
                        $0.admittedBlindly += question.units($0.limit)
                    }
                }
            }
        case .shared:
            knowsTime[question.replica] = true
            try judge(question, decision, looks, demand)
            if isRecovering, decision.allowed, !question.isPeek {
                let outage = returns.current
                count(question, looks) { $0.views[question.replica].sharedAfterOutage = outage }
            }
            // Until all count in the store again, the share is that of what was left before the outage.
            if !isRecovering { hear(question, looks) }
        case .cache:
            try demand(!decision.allowed, "admitted from memory")
            try judge(question, decision, looks, demand)
        case .lease:
            let isLeased = question.limits.allSatisfy { $0.precision == .leased }
            try demand(decision.allowed && isLeased, "no block")
            guard !question.isPeek else { return }
            let outage = returns.current
            count(question, looks) {
                $0.admitShared(question.units($0.limit), outage: outage)
                $0.asked += question.units($0.limit)
            }
        }
    }

    /// A replica has this much of blocks to give back of each limit's window.
    mutating func credits(_ question: Question, _ looks: [Decision.LimitTrace], _ credits: [Int64]) {
        for ((limit, look), credit) in zip(zip(question.limits, looks), credits) where credit > 0 {
            let window = window(limit, question, look)
            guard var usage = usages[window] else { continue }
            if usage.credited.isEmpty { usage.credited = answered.map { _ in 0 } }
            usage.credited[question.replica] = max(usage.credited[question.replica], credit)
            usages[window] = usage
        }
    }

    private mutating func judge(
        _ question: Question, _ decision: Decision, _ looks: [Decision.LimitTrace],
        _ demand: (Bool, String) throws -> Void
    ) throws {
        guard let (limit, binding) = zip(question.limits, looks).first(where: { $0.0.rule == decision.rule }) else {
            return try demand(false, "no binding limit")
        }
        let found = zip(question.limits, looks)
        try demand(decision.limit == binding.max, "the maximum of another limit")
        try demand(decision.remaining == max(0, binding.max - binding.used), "what remains")
        if decision.allowed && !question.isPeek {
            try demand(found.allSatisfy { $1.used >= question.units($0) && $1.used <= $1.max }, "more than fits")
            let outage = returns.current
            count(question, looks) { $0.admitShared(question.units($0.limit), outage: outage) }
            // What is given back of a block is admitted again, as the same part of the usage.
            for (limit, look) in found where limit.precision == .exact {
                usages[window(limit, question, look)]?.claims.append((look.used - question.units(limit), look.used))
            }
        } else if decision.allowed {
            try demand(found.allSatisfy { $1.used + question.units($0) <= $1.max }, "a peek at more than fits")
        } else {
            try demand(binding.used + question.units(limit) > binding.max, "refused without need")
        }
        if !question.isPeek { count(question, looks) { $0.asked += question.units($0.limit) } }
    }

    private func window(_ limit: Limit, _ question: Question, _ look: Decision.LimitTrace) -> Window {
        Window(
            grant: question.grant, session: limit.scope == .session ? question.session : nil, rule: limit.rule,
            startMs: look.windowStartMs)
    }

    private mutating func count(_ question: Question, _ looks: [Decision.LimitTrace], _ change: (inout Usage) -> Void) {
        for (limit, look) in zip(question.limits, looks) {
            let endMs = look.windowStartMs + limit.window.lengthMs
            let window = window(limit, question, look)
            let fresh = Usage(
                limit: limit, max: limit.max, endMs: endMs, admittedLocally: answered.map { _ in 0 },
                views: answered.map { _ in View() })
            usages[window, default: fresh].max = max(usages[window]?.max ?? 0, limit.max)
            if let index = usages.index(forKey: window) { change(&usages.values[index]) }
        }
    }

    /// The store reported windows to a replica.
    private mutating func hear(_ question: Question, _ looks: [Decision.LimitTrace]) {
        for (limit, look) in zip(question.limits, looks) {
            let key = window(limit, question, look)
            usages[key]?.views[question.replica].hear(look.used, outage: returns.current)
        }
    }

    /// A replica admits locally.
    private mutating func countAlone(_ question: Question, _ looks: [Decision.LimitTrace], turns: Int64) {
        // If no check used the previous window, nothing is known of it.
        count(question, looks) { $0.views[question.replica].admitsAlone(turns: turns) }
        guard keepsState else { return }
        for (limit, look) in zip(question.limits, looks) {
            unwritten[question.replica].admitted.append((window(limit, question, look), question.units(limit)))
        }
    }

    // MARK: - What must hold in the end

    func isForgotten(startMs: Int64, endMs: Int64) -> Bool {
        dataLosses.contains { startMs <= $0.upperBound && endMs > $0.lowerBound }
    }

    /// Shared answers never admit more than the maximum, and no two of them claim the same part of the usage.
    func judgeShared() throws {
        for (window, usage) in usages where !isForgotten(startMs: window.startMs, endMs: usage.endMs) {
            if usage.admitted > usage.max {
                throw SimulationFailure(description: "\(usage.admitted) of \(usage.max) admitted: \(window)")
            }
            var last: Int64 = 0
            for claim in usage.claims.sorted(by: { $0.to < $1.to }) {
                if claim.from < last { throw SimulationFailure(description: "two have place \(claim.to): \(window)") }
                last = claim.to
            }
        }
    }

    /// Without faults, the store has exactly what was admitted; and of checks of cost 1 under one limit, as many were
    /// admitted as were asked, up to the maximum.
    /// - Parameters:
    ///   - hasDrops: as in `judgeSums`.
    ///   - isLeased: blocks end with their windows, and meanwhile others are denied for them.
    func judgeGentle(_ store: ModelStore, isPlain: Bool, hasDrops: Bool, isLeased: Bool) throws {
        for (window, usage) in usages where !(hasDrops && isForgotten(startMs: window.startMs, endMs: usage.endMs)) {
            let stored = store.usage(
                of: Self.key(usage.limit, window))
            // Before its first answer a replica counted locally, and that was added, too. What the store admitted
            // after its time had run out, and was denied here for that, stays charged.
            let most = usage.admitted + usage.admittedUnshared + usage.deniedUnconfirmed
            let isTooMuch = stored > (isLeased ? usage.max : most)
            if store.clockMs < usage.endMs + 60_000 && (stored < usage.admitted || isTooMuch) {
                throw SimulationFailure(description: "\(usage.admitted) admitted, \(stored) stored: \(window)")
            }
            if isPlain && !isLeased && usage.admittedUnshared == 0 && usage.admitted != min(usage.asked, usage.max) {
                throw SimulationFailure(
                    description: "\(usage.admitted) of \(usage.asked) admitted under \(usage.max): \(window)")
            }
        }
    }

    private static func baseKey(_ limit: Limit, _ window: Window) -> [UInt8] {
        let identity = Identity.Parts(
            grant: Array(window.grant.utf8), tool: "t", approved: false, session: window.session.map { Array($0.utf8) })
        return CounterKey.baseKey(in: "sluice", limit: limit, identity: identity)
    }

    private static func key(_ limit: Limit, _ window: Window) -> [UInt8] {
        CounterKey.key(baseKey(limit, window), window: limit.window, startMs: window.startMs)
    }

    /// In windows that are still open everything is written back: the store has exactly what all replicas admitted.
    ///
    /// - Parameters:
    ///   - mayLack: something was charged before all had restored after a data loss.
    ///   - hasDrops: single counters were dropped. What replicas charged to one before it was restored may be missing.
    ///   - mayExceed: there was a data loss: what was unconfirmed then is sent again.
    ///   - stranded: what blocks were lost: with processes that died, and with answers that never came.
    ///   - ranUnanswered: some batch is only known to have run: what came too late in it, for one of its windows, is
    ///     treated as charged.
    func judgeSums(
        _ store: ModelStore, mayLack: Bool, hasDrops: Bool, mayExceed: Bool, ranUnanswered: Bool, stranded: Int64
    ) throws -> Int {
        var judged = 0
        for (window, usage) in usages where usage.endMs > store.clockMs && window.startMs <= store.clockMs {
            let stored = store.usage(of: Self.key(usage.limit, window))
            let admitted = usage.admitted + usage.admittedUnshared
            judged += 1
            // If the store denied, for lack of room, what was admitted here without its answer, that is not added.
            let wasFull = usage.asked + usage.admittedUnshared > usage.max
            // What an unanswered batch charged or settled has been seen by no replica: it is not restored after a data
            // loss.
            let unseen = ranUnanswered ? (mayExceed ? usage.admittedUnshared : usage.admittedUnconfirmed) : 0
            let mayBeLost = usage.lost + usage.admittedBlindly + unseen
            let wasDropped = hasDrops && isForgotten(startMs: window.startMs, endMs: usage.endMs)
            let isEnough =
                stored >= admitted - mayBeLost || mayLack || wasDropped || wasFull || (usage.wasEvicted && mayExceed)
            let isNotTooMuch = stored <= admitted + usage.deniedUnconfirmed + unanswered + stranded || mayExceed
            guard isEnough && isNotTooMuch else {
                throw SimulationFailure(description: "\(admitted) admitted, \(stored) stored: \(window), \(usage)")
            }
        }
        return judged
    }

    /// Whatever the number of outages, no replica alone admits more than the maximum of a window.
    func judgeLocal() throws {
        for (window, usage) in usages
        where !isForgotten(startMs: window.startMs, endMs: usage.endMs) && !usage.wasEvicted {
            if let most = usage.admittedLocally.max(), most > usage.max + usage.lost {
                throw SimulationFailure(description: "\(most) of \(usage.max) by one replica locally: \(window)")
            }
        }
    }

    /// In windows that began after the store was lost, all replicas together admit no more than the maximum.
    func judgeOutage(after timeMs: Int64) throws {
        for (window, usage) in usages where window.startMs > timeMs {
            let all = usage.admittedLocally.reduce(0, +)
            if all > usage.max { throw SimulationFailure(description: "\(all) of \(usage.max) locally: \(window)") }
        }
    }
}
