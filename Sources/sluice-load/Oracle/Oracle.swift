package import SluiceProtocol

/// Watches every answer of a run and tells whether the promises about counting were kept.
///
/// It knows nothing but the answers' traces. Over all sidecars, for each counted identity, rule and window:
///
/// - *Never over*: what `shared`, `lease` and `cache` admitted never exceeds the maximum, nor does the tally of a shared
///   admission.
/// - *Every charge counts*: each shared admission moved the tally, so no two of them report the same units of it.
/// - *Never needlessly under*: a refusal by `shared`, `lease` or `cache` shows a limit that the check would exceed.
/// - *Full means full*: a window that lies wholly in the run and refused somebody admitted its maximum. Only where every
///   charge was seen: not if answers were lost, nor near local answers, whose checks the store may have charged.
/// - Reservations count as charged until their settlement is sent; from then on, in the sidecar's favour, what it gives
///   back counts as given back. In such a window units are charged more than once and refusals may be outdated, so that
///   tallies are not told apart; but no tally may be below what was read to be admitted, less all that was to be given
///   back, and none above all that was ever admitted.
/// - *Charged once*: at the end the store's counter of a window is what was admitted in it. Where checks were answered
///   locally, a difference is told and breaks nothing.
/// - *Local within its share*, *total within its bound*: see `OracleWindow.localBound` and `totalBound`.
///
/// Answers overtake each other between connections, so whatever depends on their order is judged when a window is
/// folded, and always in the sidecar's favour: a sidecar knew of a tally only if we had read it before we sent the check.
///
/// Judged are fixed windows that are enforced: of other limits (`JudgedLimit`) a check is only measured.
///
/// - *Settled up*: what a sidecar admitted locally is in the tally of the window once its answers are shared again. Where it
///   is not, the window is counted as unsettled; it breaks a promise only if the run requires it.
///
/// A value without a clock: times come with the answers. Memory is bounded: `LoadBounds.keptWindows` a counter, and
/// `LoadBounds.maxStretches` a window.
package struct Oracle: Sendable {
    /// One decision.
    package struct Answer: Sendable {
        /// The identity that is counted, below `subjects`.
        package var subject: Int
        /// Which socket it came from, below `sidecars`.
        package var sidecar: Int
        package var isAllowed: Bool
        package var source: ReplySource
        package var cost: Int64
        /// When the check was sent, and its answer read, ns.
        package var sentNs: Int64
        package var receivedNs: Int64

        package init(
            subject: Int, sidecar: Int, isAllowed: Bool, source: ReplySource, cost: Int64, sentNs: Int64,
            receivedNs: Int64
        ) {
            self.subject = subject
            self.sidecar = sidecar
            self.isAllowed = isAllowed
            self.source = source
            self.cost = cost
            self.sentNs = sentNs
            self.receivedNs = receivedNs
        }
    }

    /// One counter: a rule of one identity.
    private struct Track {
        let rule: Int
        /// Windows up to this one have been judged.
        var foldedThroughMs = Int64.min
        /// By start, ascending.
        var windows: [OracleWindow] = []
        /// Whether the window that opens next may hold the charge of a missed answer.
        var nextIsUncertain = false
    }

    private struct Rule {
        let name: String
        let judged: JudgedLimit
        /// The first and the last window that anybody was counted in: both may lie only partly in the run.
        var firstStartMs = Int64.max
        var lastStartMs = Int64.min
    }

    private struct Sidecar {
        /// Raised when its connections broke, since it may have been started anew.
        var life: Int32 = 0
        /// When we last read a local answer that took so long that its check had been given to the store.
        var slowLocalNs = Int64.min
    }

    private let replicas: Int64
    private let requiresSettling: Bool
    private let limits: [String: JudgedLimit]
    /// Whether nobody can have charged anything before the run.
    private let startsEmpty: Bool
    /// A local answer that took at least so long may have waited for the store first, ns.
    private let slowAfterNs: Int64
    private var rules: [Rule] = []
    private var sidecars: [Sidecar]
    /// By identity.
    private var tracks: [[Track]]
    private var report = OracleReport()
    /// By rule and start of the window.
    private var totals: [Int: [Int64: OracleReport.WindowTotal]] = [:]
    private var ledger = ChargeLedger()
    /// By identity, settlements that were sent and are not known to have been done.
    private var openSettlements: [Int: Int] = [:]

    /// - Parameters:
    ///   - replicas: among how many the sidecars split what is left while Redis is away.
    ///   - budgetNs: the sidecars' budget for a check.
    ///   - requiresSettling: whether a window that was not settled breaks a promise.
    ///   - limits: what is known of limits, by their path in the policy.
    ///   - startsEmpty: whether the store was empty before the run.
    package init(
        subjects: Int, sidecars: Int, replicas: Int, budgetNs: Int64, requiresSettling: Bool = false,
        limits: [String: JudgedLimit] = [:], startsEmpty: Bool = false
    ) {
        self.requiresSettling = requiresSettling
        self.limits = limits
        self.startsEmpty = startsEmpty
        precondition(subjects >= 1 && sidecars >= 1 && replicas >= 1)
        self.replicas = Int64(replicas)
        // A check waits for the store at least three quarters of its budget before it is answered locally.
        slowAfterNs = budgetNs / 2
        self.sidecars = Array(repeating: Sidecar(), count: sidecars)
        tracks = Array(repeating: [], count: subjects)
    }

    /// Windows that are being kept open.
    package var openWindows: Int { tracks.reduce(0) { $0 + $1.reduce(0) { $0 + $1.windows.count } } }

    /// What was found so far.
    package var current: OracleReport { report }

    // MARK: - Events

    /// A decision was read, and what it traced; nil if it had no trace.
    package mutating func observe(_ answer: Answer, trace: [TraceEntry]?) {
        report.answers += 1
        // What the policy alone decides is not counted anywhere.
        guard answer.source != .policy else { return }
        guard let trace, !trace.isEmpty else {
            report.untracedAnswers += 1
            return lostSight(ofSubject: answer.subject)
        }
        if answer.source == .local && answer.receivedNs - answer.sentNs >= slowAfterNs {
            sidecars[answer.sidecar].slowLocalNs = max(sidecars[answer.sidecar].slowLocalNs, answer.receivedNs)
        }
        let isProven =
            answer.isAllowed || answer.source == .local
            || trace.contains { judged($0).isExceeded(by: answer.cost) }
        for told in trace {
            guard let rule = findRule(told.rule) else {
                report.unjudgedAnswers += 1
                continue
            }
            // Where there are no windows, none has a start.
            guard rules[rule].judged.isJudged, told.windowStartMs > 0 else {
                report.unjudgedRules.insert(told.rule)
                continue
            }
            let look = judged(told)
            rules[rule].firstStartMs = min(rules[rule].firstStartMs, look.windowStartMs)
            rules[rule].lastStartMs = max(rules[rule].lastStartMs, look.windowStartMs)
            let track = findTrack(rule, of: answer.subject)
            guard let window = findWindow(look, track: track, subject: answer.subject) else {
                report.lateAnswers += 1
                ledger.loseSight(ofSubject: answer.subject, rule: rule, startMs: look.windowStartMs)
                continue
            }
            if answer.source == .local { expectUnseenCharge(in: window, track: track, subject: answer.subject) }
            let found = tracks[answer.subject][track].windows[window].observe(
                answer, look, isProven: isProven, sidecarLife: sidecars[answer.sidecar].life,
                slowLocalNs: sidecars[answer.sidecar].slowLocalNs,
                isPending: answer.receivedNs - answer.sentNs >= slowAfterNs)
            switch found {
            case .fine: break
            case .unjudged: report.unjudgedAnswers += 1
            case .broken(.settledUp, _) where !requiresSettling: break
            case .broken(let promise, let facts):
                tell(promise, subject: answer.subject, track: track, window: window, facts)
            }
        }
    }

    /// A reservation is about to be settled.
    /// - Parameters:
    ///   - answer: the check that reserved.
    ///   - committed: what it is settled to; 0 where it is cancelled.
    package mutating func settle(_ answer: Answer, to committed: Int64, trace: [TraceEntry]) {
        openSettlements[answer.subject, default: 0] += 1
        for look in trace {
            guard let rule = rules.firstIndex(where: { $0.name == look.rule }) else { continue }
            let track = findTrack(rule, of: answer.subject)
            let windows = tracks[answer.subject][track].windows
            guard let window = windows.firstIndex(where: { $0.startMs == look.windowStartMs }) else { continue }
            tracks[answer.subject][track].windows[window].settle(answer, to: committed)
        }
    }

    /// A settlement for this identity was answered: whether it was done.
    package mutating func settled(subject: Int, isDone: Bool) {
        // What was not done may have been done before, or not at all: of windows with settlements no more is known then.
        guard isDone, let open = openSettlements[subject] else { return }
        openSettlements[subject] = open > 1 ? open - 1 : nil
    }

    /// A check of this identity may have been charged without our having seen its answer.
    package mutating func lostSight(ofSubject subject: Int) {
        for track in tracks[subject].indices {
            tracks[subject][track].nextIsUncertain = true
            for window in tracks[subject][track].windows.indices {
                tracks[subject][track].windows[window].isUncertain = true
            }
        }
    }

    /// A check was answered locally in this window. The store may have been given it before, in this window or at the end
    /// of the one before, and charge it whatever the local answer was.
    private mutating func expectUnseenCharge(in window: Int, track: Int, subject: Int) {
        tracks[subject][track].windows[window].mayHoldMore = true
        if window > 0 { tracks[subject][track].windows[window - 1].mayHoldMore = true }
    }

    /// A connection to this sidecar broke: it may have been started anew, with nothing known.
    package mutating func lostConnection(toSidecar sidecar: Int) { sidecars[sidecar].life += 1 }

    /// The run is over: judges what is still open, and what the store has counted.
    package mutating func finish(_ reading: CounterReading? = nil) -> OracleReport {
        for subject in tracks.indices {
            for track in tracks[subject].indices {
                while !tracks[subject][track].windows.isEmpty { fold(track, of: subject) }
            }
        }
        switch reading {
        case .read(let stored)?: compare(stored)
        case .unread(let reason)?: report.countersUnread = reason
        case nil: break
        }
        report.windowTotals = totals.values.flatMap(\.values).sorted { ($0.rule, $0.startMs) < ($1.rule, $1.startMs) }
        return report
    }

    // MARK: - Finding

    private mutating func findRule(_ name: String) -> Int? {
        for index in rules.indices where rules[index].name == name { return index }
        guard rules.count < LoadBounds.maxRules else { return nil }
        rules.append(Rule(name: name, judged: limits[name] ?? JudgedLimit()))
        return rules.count - 1
    }

    /// A look with the maximum that it is judged by.
    private func judged(_ look: TraceEntry) -> TraceEntry {
        guard let max = limits[look.rule]?.max else { return look }
        return TraceEntry(rule: look.rule, windowStartMs: look.windowStartMs, used: look.used, max: max)
    }

    private mutating func findTrack(_ rule: Int, of subject: Int) -> Int {
        for index in tracks[subject].indices where tracks[subject][index].rule == rule { return index }
        tracks[subject].append(Track(rule: rule))
        return tracks[subject].count - 1
    }

    /// Where the window is in its track, opened if it is new; nil if it has been judged.
    private mutating func findWindow(_ look: TraceEntry, track: Int, subject: Int) -> Int? {
        let last = tracks[subject][track].windows.count - 1
        if last >= 0 && tracks[subject][track].windows[last].startMs == look.windowStartMs { return last }
        guard look.windowStartMs > tracks[subject][track].foldedThroughMs else { return nil }
        var place = last + 1
        while place > 0 && tracks[subject][track].windows[place - 1].startMs >= look.windowStartMs { place -= 1 }
        if place <= last && tracks[subject][track].windows[place].startMs == look.windowStartMs { return place }
        let opened = OracleWindow(
            startMs: look.windowStartMs, maximum: look.max, sidecars: sidecars.count,
            isUncertain: tracks[subject][track].nextIsUncertain)
        tracks[subject][track].nextIsUncertain = false
        tracks[subject][track].windows.insert(opened, at: place)
        guard tracks[subject][track].windows.count > LoadBounds.keptWindows else { return place }
        fold(track, of: subject)
        return place == 0 ? nil : place - 1
    }

    // MARK: - Judging

    /// Judges the oldest open window of a track, and forgets it.
    private mutating func fold(_ track: Int, of subject: Int) {
        let window = tracks[subject][track].windows[0]
        report.windows += 1
        if window.localAdmitted > 0 {
            report.localWindows += 1
            if window.isUnsettled { report.unsettledWindows += 1 }
            judgeLocal(window, track: track, subject: subject)
        } else {
            judgeFull(window, track: track, subject: subject)
        }
        judgeCharges(window, track: track, subject: subject)
        // Judging may have found it broken.
        addTotal(of: tracks[subject][track].windows[0], rule: tracks[subject][track].rule)
        keep(window, rule: tracks[subject][track].rule, subject: subject)
        tracks[subject][track].foldedThroughMs = window.startMs
        tracks[subject][track].windows.removeFirst()
    }

    private mutating func addTotal(of window: OracleWindow, rule: Int) {
        if totals[rule]?[window.startMs] == nil {
            guard totals.values.reduce(0, { $0 + $1.count }) < LoadBounds.maxWindowRows else { return }
            totals[rule, default: [:]][window.startMs] = OracleReport.WindowTotal(
                rule: rules[rule].name, startMs: window.startMs)
        }
        let admitted = window.admitted + window.localAdmitted
        let share = window.maximum > 0 ? Double(admitted) / Double(window.maximum) : 0
        totals[rule]?[window.startMs]?.add(
            window, isBroken: !window.broken.isEmpty, share: share)
    }

    private mutating func keep(_ window: OracleWindow, rule: Int, subject: Int) {
        // Nobody who only looked charged anything; what is leased is charged before it is admitted.
        ledger.append(
            ChargeLedger.Entry(
                subject: subject, rule: rule, startMs: window.startMs, charged: window.charged,
                localAdmitted: window.localAdmitted, sawLocal: window.mayHoldMore || window.localAdmitted > 0,
                mayHoldOthers: !startsEmpty && window.startMs <= rules[rule].firstStartMs,
                isCertain: !window.isUncertain && !window.hasLeases))
    }

    /// No tally may be above everything that was ever admitted.
    private mutating func judgeCharges(_ window: OracleWindow, track: Int, subject: Int) {
        let rule = rules[tracks[subject][track].rule]
        let isInside = startsEmpty || (window.startMs > rule.firstStartMs && window.startMs < rule.lastStartMs)
        guard isInside, !window.isUncertain, !window.mayHoldMore, !window.hasLeases else { return }
        if window.hasSettlements { report.reservedWindows += 1 }
        // Whatever else it broke shows in its tallies, too.
        guard tracks[subject][track].windows[0].broken.isEmpty,
            window.charged.highestTold > window.charged.most
        else { return }
        tell(
            .chargedOnce, subject: subject, track: track, window: 0,
            "a tally of \(window.charged.highestTold) was told, and only \(window.charged.most) were ever admitted "
                + "(or somebody else calls for the same grants)")
    }

    /// Compares what the store has counted with what was admitted, window by window.
    private mutating func compare(_ stored: StoredUsages) {
        var counters = OracleReport.Counters(origin: stored.origin, isTruncated: stored.isTruncated)
        for entry in ledger.entries {
            let rule = rules[entry.rule].name
            let key = StoredUsages.Key(subject: entry.subject, rule: rule, startMs: entry.startMs)
            guard let tally = stored.tally(of: key) else { continue }
            let found = ChargeLedger.compare(
                entry, used: tally.used, isOpen: tally.isOpen,
                settlementsKnown: openSettlements[entry.subject] == nil)
            func broken(_ facts: String) -> OracleReport.Break {
                OracleReport.Break(
                    promise: .chargedOnce, subject: entry.subject, rule: rule, windowStartMs: entry.startMs,
                    facts: facts)
            }
            switch found {
            case .agrees: counters.agreeing += 1
            case .unknown: counters.unknown += 1
            case .notSettled(let expected):
                counters.notSettled += 1
                guard counters.firstNotSettled.count < LoadBounds.maxNotSettledTold else { continue }
                counters.firstNotSettled.append(
                    broken(
                        "Redis counts \(tally.used), \(expected.words) were admitted, \(entry.localAdmitted) of them locally"
                    )
                )
            case .differs(let expected):
                counters.differing += 1
                totals[entry.rule]?[entry.startMs]?.isBroken = true
                report.note(
                    broken(
                        "Redis counts \(tally.used) at the end, \(expected.words) were admitted: "
                            + (tally.used > expected.upperBound ? "something was charged twice" : "a charge was lost")))
            }
        }
        report.counters = counters
    }

    private mutating func judgeLocal(_ window: OracleWindow, track: Int, subject: Int) {
        for index in window.parts.indices where window.parts[index].localAdmitted > 0 {
            let part = window.parts[index]
            let bound = window.localBound(of: index, replicas: replicas)
            guard part.localAdmitted > bound else { continue }
            let known = part.lives > 1 ? 0 : part.knownUsed
            tell(
                .localWithinShare, subject: subject, track: track, window: 0,
                "sidecar \(index + 1) admitted \(part.localAdmitted) locally, its share was at most \(bound) "
                    + "(maximum \(window.maximum), \(known) known to be used, \(replicas) replicas)")
        }
        // A sidecar that was started anew has lost what it had admitted and not yet added.
        guard !window.isUncertain, window.parts.allSatisfy({ $0.lives <= 1 }) else { return }
        let total = window.admitted + window.localAdmitted
        guard total > window.totalBound else { return }
        tell(
            .totalWithinBound, subject: subject, track: track, window: 0,
            "\(window.admitted) admitted by shared answers and \(window.localAdmitted) locally, "
                + "at most \(window.totalBound) was to be (maximum \(window.maximum))")
    }

    private mutating func judgeFull(_ window: OracleWindow, track: Int, subject: Int) {
        let rule = rules[tracks[subject][track].rule]
        let isInside = window.startMs > rule.firstStartMs && window.startMs < rule.lastStartMs
        guard isInside, window.refusedCost < .max, !window.isUncertain, !window.mayHoldMore, !window.maximumChanged,
            !window.hasLeases, !window.hasSettlements
        else {
            return
        }
        report.fullWindows += 1
        // More than the maximum was told before.
        guard window.admitted <= window.maximum else { return }
        if window.admitted > window.maximum - window.refusedCost {
            report.exactWindows += 1
        } else {
            tell(
                .fullMeansFull, subject: subject, track: track, window: 0,
                "checks were refused with only \(window.admitted) of \(window.maximum) admitted "
                    + "(or somebody else calls for the same grants)")
        }
    }

    private mutating func tell(
        _ promise: OracleReport.Break.Promise, subject: Int, track: Int, window: Int, _ facts: String
    ) {
        guard tracks[subject][track].windows[window].broken.insert(promise).inserted else { return }
        report.note(
            OracleReport.Break(
                promise: promise, subject: subject, rule: rules[tracks[subject][track].rule].name,
                windowStartMs: tracks[subject][track].windows[window].startMs, facts: facts))
    }
}

extension ClosedRange<Int64> {
    /// As a person reads it: a number, or the least and the most.
    fileprivate var words: String { lowerBound == upperBound ? "\(lowerBound)" : "\(lowerBound) to \(upperBound)" }
}

extension OracleReport {
    fileprivate mutating func note(_ found: Break) {
        breakCount += 1
        if breaks.count < LoadBounds.maxBreaks { breaks.append(found) }
    }
}

extension TraceEntry {
    /// Whether a check of this cost does not fit any more.
    func isExceeded(by cost: Int64) -> Bool { used > max - cost }
}

extension OracleReport.WindowTotal {
    fileprivate mutating func add(_ window: OracleWindow, isBroken: Bool, share: Double) {
        identities += 1
        limit += window.maximum
        shared += window.admitted
        local += window.localAdmitted
        fullestShare = max(fullestShare, share)
        if isBroken { self.isBroken = true }
    }
}
