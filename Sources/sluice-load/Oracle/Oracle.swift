import SluiceProtocol

/// Observes every answer of a run and checks the promises about counting.
///
/// It only sees the answers' traces. Over all sidecars, for each counted identity, rule and window:
///
/// - *Never over*: the admissions of `shared`, `lease` and `cache` never exceed the maximum, nor does the usage of a
///   shared admission.
/// - *Every charge counts*: each shared admission increased the usage, so no two of them report the same units of it.
/// - *Never needlessly under*: a denial by `shared`, `lease` or `cache` shows a limit that the check would exceed.
/// - *Full means full*: a window that lies completely in the run and denied a check admitted its maximum. This is
///   judged only if every charge was seen: not if answers were lost, nor near local answers, whose checks the store may
///   have charged.
/// - Charges count whatever the maximum is, so a window with some may be over it; and no check is admitted that does not
///   fit. Answers to them do not name their window: it is found by the clock, and one that came at a border counts as
///   perhaps in both.
/// - Reservations count as charged until their settlement is sent. From then on the amount that it gives back counts as
///   given back, in the sidecar's favour. In such a window units are charged more than once and denials may be
///   outdated, so usages are not distinguished. But no usage may be below the admissions that were read, less all that
///   was to be given back, and none above all that was ever admitted.
/// - *Charged once*: at the end the store's counter of a window equals its admissions. If checks were answered locally,
///   a difference is reported and breaks nothing.
/// - *Local within its share*, *total within its bound*: see `OracleWindow.localBound` and `totalBound`.
///
/// Answers overtake each other between connections. So whatever depends on their order is judged when a window is
/// folded, and always in the sidecar's favour: a sidecar knew of a usage only if it was read here before the check was
/// sent.
///
/// Only fixed windows that are enforced are judged: checks of other limits (`JudgedLimit`) are only measured.
///
/// A sidecar's local admissions are in the usage of the window once its answers are shared again. If they are not, the
/// window is counted as unsettled, which breaks no promise.
///
/// A value without a clock: answers bring the times. Memory is bounded: `LoadBounds.keptWindows` a counter, and
/// `LoadBounds.maxStretches` a window.
struct Oracle: Sendable {
    /// One decision.
    struct Answer: Sendable {
        /// The identity that is counted, below `subjects`.
        var subject: Int
        /// The index of its socket, below `sidecars`.
        var sidecar: Int
        /// The kind of check, if counters depend on it.
        var kind = 0
        var isAllowed: Bool
        var source: ReplySource
        var cost: Int64
        /// When the check was sent, and its answer read, ns.
        var sentNs: Int64
        var receivedNs: Int64
    }

    /// One counter: a rule of one identity.
    struct Track {
        let rule: Int
        /// Windows up to this one have been judged.
        var foldedThroughMs = Int64.min
        /// By start, ascending.
        var windows: [OracleWindow] = []
        /// Whether the next window may hold the charge of a missed answer.
        var nextIsUncertain = false
    }

    struct Rule {
        /// The path in answers, and which of its counters: see `CountedKinds`.
        let path: String
        let part: Int
        let name: String
        let judged: JudgedLimit
        /// The first and the last window with an answer: both may lie only partly in the run.
        var firstStartMs = Int64.max
        var lastStartMs = Int64.min
    }

    private struct Sidecar {
        /// Incremented when its connections broke, since it may have restarted.
        var life: Int32 = 0
        /// When the last local answer was read that took so long that its check had been sent to the store.
        var slowLocalNs = Int64.min
    }

    private let replicas: Int64
    private let limits: [String: JudgedLimit]
    private let kinds: CountedKinds
    /// The limits that count each kind.
    let countedLimits: [[CountedLimit]]
    /// What the clock of `Answer` lacks to the time since 1970, ns.
    let wallOffsetNs: Int64
    /// Whether nothing can have been charged before the run.
    private let startsEmpty: Bool
    /// A local answer that took at least so long may have waited for the store first, ns.
    private let slowAfterNs: Int64
    var rules: [Rule] = []
    private var sidecars: [Sidecar]
    /// By identity.
    var tracks: [[Track]]
    var report = OracleReport()
    /// By rule and start of the window.
    private var totals: [Int: [Int64: OracleReport.WindowTotal]] = [:]
    var ledger = ChargeLedger()
    /// By identity: settlements that were sent and are not known to be done.
    private var openSettlements: [Int: Int] = [:]

    /// - Parameters:
    ///   - replicas: the number of replicas among which the sidecars split the rest of a limit while Redis is
    ///     unavailable.
    ///   - budgetNs: the sidecars' budget for a check.
    ///   - limits: the known limits, by their path in the policy.
    ///   - kinds: those of the run's checks.
    ///   - countedLimits: the limits that count each kind.
    ///   - wallOffsetNs: what the clock of answers lacks to the time since 1970.
    ///   - startsEmpty: whether the store was empty before the run.
    init(
        subjects: Int, sidecars: Int, replicas: Int, budgetNs: Int64, limits: [String: JudgedLimit] = [:],
        kinds: [CheckKind] = [], countedLimits: [[CountedLimit]] = [], wallOffsetNs: Int64 = 0,
        startsEmpty: Bool = false
    ) {
        self.limits = limits
        self.kinds = CountedKinds(kinds)
        self.countedLimits = countedLimits
        self.wallOffsetNs = wallOffsetNs
        self.startsEmpty = startsEmpty
        precondition(subjects >= 1 && sidecars >= 1 && replicas >= 1)
        self.replicas = Int64(replicas)
        // A check waits for the store for at least three quarters of its budget before it is answered locally.
        slowAfterNs = budgetNs / 2
        self.sidecars = Array(repeating: Sidecar(), count: sidecars)
        tracks = Array(repeating: [], count: subjects)
    }

    /// How many windows are kept open.
    var openWindows: Int { tracks.reduce(0) { $0 + $1.reduce(0) { $0 + $1.windows.count } } }

    /// The findings so far.
    var current: OracleReport { report }

    // MARK: - Events

    /// A decision was read, with its trace; nil if it had none.
    mutating func observe(_ answer: Answer, trace: [TraceEntry]?) {
        report.answers += 1
        // Decisions of the policy alone are not counted anywhere.
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
        for traced in trace {
            guard let rule = findRule(traced.rule, kind: answer.kind) else {
                report.unjudgedAnswers += 1
                continue
            }
            // Limits without windows have no start.
            guard rules[rule].judged.isJudged, traced.windowStartMs > 0 else {
                report.unjudgedRules.insert(traced.rule)
                continue
            }
            let look = judged(traced)
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
            case .broken(let promise, let facts):
                noteBreak(promise, subject: answer.subject, track: track, window: window, facts)
            }
        }
    }

    /// A reservation is about to be settled.
    /// - Parameters:
    ///   - answer: the check that reserved.
    ///   - committed: the cost it is settled to; 0 if it is cancelled.
    mutating func settle(_ answer: Answer, to committed: Int64, trace: [TraceEntry]) {
        openSettlements[answer.subject, default: 0] += 1
        for look in trace {
            guard let rule = findRule(look.rule, kind: answer.kind) else { continue }
            let track = findTrack(rule, of: answer.subject)
            let windows = tracks[answer.subject][track].windows
            guard let window = windows.firstIndex(where: { $0.startMs == look.windowStartMs }) else { continue }
            tracks[answer.subject][track].windows[window].settle(answer, to: committed)
        }
    }

    /// A settlement for this identity was answered: whether it was done.
    mutating func settled(subject: Int, isDone: Bool) {
        // A settlement that was not done may have been done before, or never: nothing more is known of windows with
        // settlements.
        guard isDone, let open = openSettlements[subject] else { return }
        openSettlements[subject] = open > 1 ? open - 1 : nil
    }

    /// A check of this identity may have been charged although its answer was not seen.
    mutating func lostSight(ofSubject subject: Int) {
        for track in tracks[subject].indices {
            tracks[subject][track].nextIsUncertain = true
            for window in tracks[subject][track].windows.indices {
                tracks[subject][track].windows[window].isUncertain = true
            }
        }
    }

    /// A check was answered locally in this window. It may have been sent to the store before, in this window or at the
    /// end of the previous one, and the store may charge it whatever the local answer was.
    private mutating func expectUnseenCharge(in window: Int, track: Int, subject: Int) {
        tracks[subject][track].windows[window].mayHoldMore = true
        if window > 0 { tracks[subject][track].windows[window - 1].mayHoldMore = true }
    }

    /// A connection to this sidecar broke: it may have restarted without its state.
    mutating func lostConnection(toSidecar sidecar: Int) { sidecars[sidecar].life += 1 }

    /// The run is over: judges the open windows, and compares with the store's counters.
    mutating func finish(_ reading: CounterReading? = nil) -> OracleReport {
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

    mutating func findRule(_ path: String, kind: Int) -> Int? {
        for index in rules.indices where rules[index].path == path {
            if rules[index].part == kinds.part(of: kind, rules[index].judged) { return index }
        }
        guard rules.count < LoadBounds.maxRules else { return nil }
        let judged = limits[path] ?? JudgedLimit()
        let part = kinds.part(of: kind, judged)
        rules.append(Rule(path: path, part: part, name: kinds.name(path, part: part, judged), judged: judged))
        return rules.count - 1
    }

    /// A traced limit with the maximum that it is judged by.
    private func judged(_ look: TraceEntry) -> TraceEntry {
        guard let max = limits[look.rule]?.max else { return look }
        return TraceEntry(rule: look.rule, windowStartMs: look.windowStartMs, used: look.used, max: max)
    }

    mutating func findTrack(_ rule: Int, of subject: Int) -> Int {
        for index in tracks[subject].indices where tracks[subject][index].rule == rule { return index }
        tracks[subject].append(Track(rule: rule))
        return tracks[subject].count - 1
    }

    /// The window's index in its track, opened if it is new; nil if it has been judged.
    mutating func findWindow(_ look: TraceEntry, track: Int, subject: Int) -> Int? {
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

    /// Judges the oldest open window of a track, and drops it.
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
        // The judgement may have marked it as broken.
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
        // A peek charges nothing; leased amounts are charged before they are admitted.
        ledger.append(
            ChargeLedger.Entry(
                subject: subject, rule: rule, startMs: window.startMs, charged: window.charged,
                localAdmitted: window.localAdmitted, sawLocal: window.mayHoldMore || window.localAdmitted > 0,
                mayHoldOthers: !startsEmpty && window.startMs <= rules[rule].firstStartMs,
                isCertain: !window.isUncertain && !window.hasLeases))
    }

    /// No usage may be above everything that was ever admitted.
    private mutating func judgeCharges(_ window: OracleWindow, track: Int, subject: Int) {
        let rule = rules[tracks[subject][track].rule]
        let isInside = startsEmpty || (window.startMs > rule.firstStartMs && window.startMs < rule.lastStartMs)
        guard isInside, !window.isUncertain, !window.mayHoldMore, !window.hasLeases else { return }
        if window.hasSettlements { report.reservedWindows += 1 }
        // Any other broken promise would also show in its usages.
        guard tracks[subject][track].windows[0].broken.isEmpty,
            window.charged.highestReported > window.charged.most
        else { return }
        noteBreak(
            .chargedOnce, subject: subject, track: track, window: 0,
            "a usage of \(window.charged.highestReported) was reported, and only \(window.charged.most) were ever admitted "
                + "(or somebody else calls for the same grants)")
    }

    /// Compares the store's counters with the admissions, window by window.
    private mutating func compare(_ stored: StoredUsages) {
        var counters = OracleReport.Counters(origin: stored.origin, isTruncated: stored.isTruncated)
        for entry in ledger.entries {
            let rule = rules[entry.rule].name
            let key = StoredUsages.Key(subject: entry.subject, rule: rule, startMs: entry.startMs)
            guard let counter = stored.usage(of: key) else { continue }
            let found = ChargeLedger.compare(
                entry, used: counter.used, isOpen: counter.isOpen,
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
                guard counters.firstNotSettled.count < LoadBounds.maxReportedNotSettled else { continue }
                counters.firstNotSettled.append(
                    broken(
                        "Redis counts \(counter.used), \(expected.words) were admitted, \(entry.localAdmitted) of them locally"
                    )
                )
            case .differs(let expected):
                counters.differing += 1
                totals[entry.rule]?[entry.startMs]?.isBroken = true
                report.note(
                    broken(
                        "Redis counts \(counter.used) at the end, \(expected.words) were admitted: "
                            + (counter.used > expected.upperBound ? "something was charged twice" : "a charge was lost")
                    ))
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
            noteBreak(
                .localWithinShare, subject: subject, track: track, window: 0,
                "sidecar \(index + 1) admitted \(part.localAdmitted) locally, its share was at most \(bound) "
                    + "(maximum \(window.maximum), \(known) known to be used, \(replicas) replicas)")
        }
        // A sidecar that restarted has lost local admissions that it had not yet written back.
        guard !window.isUncertain, window.parts.allSatisfy({ $0.lives <= 1 }) else { return }
        let total = window.admitted + window.localAdmitted
        guard total > window.totalBound else { return }
        noteBreak(
            .totalWithinBound, subject: subject, track: track, window: 0,
            "\(window.admitted) admitted by shared answers and \(window.localAdmitted) locally, "
                + "at most \(window.totalBound) was to be (maximum \(window.maximum))")
    }

    private mutating func judgeFull(_ window: OracleWindow, track: Int, subject: Int) {
        let rule = rules[tracks[subject][track].rule]
        let isInside = window.startMs > rule.firstStartMs && window.startMs < rule.lastStartMs
        guard isInside, window.deniedCost < .max, !window.isUncertain, !window.mayHoldMore, !window.maximumChanged,
            !window.hasLeases, !window.hasSettlements
        else {
            return
        }
        report.fullWindows += 1
        // More than the maximum was reported before.
        guard window.admitted <= window.maximum else { return }
        if window.admitted > window.maximum - window.deniedCost {
            report.exactWindows += 1
        } else {
            noteBreak(
                .fullMeansFull, subject: subject, track: track, window: 0,
                "checks were denied with only \(window.admitted) of \(window.maximum) admitted "
                    + "(or somebody else calls for the same grants)")
        }
    }

    private mutating func noteBreak(
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
    /// In words: a number, or the lowest and the highest.
    fileprivate var words: String { lowerBound == upperBound ? "\(lowerBound)" : "\(lowerBound) to \(upperBound)" }
}

extension OracleReport {
    fileprivate mutating func note(_ found: Break) {
        breakCount += 1
        if breaks.count < LoadBounds.maxBreaks { breaks.append(found) }
    }
}

extension TraceEntry {
    /// Whether a check of this cost does not fit.
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
