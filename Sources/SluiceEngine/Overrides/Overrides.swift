import SluicePolicy

/// The overrides of all grants, as last read from the store. Which of them hold follows from the time alone, so they end
/// without a message, during an outage, too.
struct Overrides {
    /// The version of the list that was read; 0: there was none; -1: none was read, or it must be read again.
    private(set) var version: Int64 = -1
    private var byGrant: [String: [Override]] = [:]
    /// The list must be read: a change was announced, or may have been missed.
    private(set) var isDue = true
    /// It must be read at once.
    private(set) var isUrgent = false
    /// When the next of them ends, ms since the epoch.
    private(set) var nextEndMs = Int64.max

    var isEmpty: Bool { byGrant.isEmpty }

    /// Those that hold, by grant and rule.
    func active(atMs nowMs: Int64) -> [Override] {
        byGrant.values.flatMap { $0.filter { $0.untilMs > nowMs } }
            .sorted { ($0.grant, $0.rule) < ($1.grant, $1.rule) }
    }

    func count(atMs nowMs: Int64) -> Int {
        byGrant.values.reduce(0) { $0 + $1.count { $0.untilMs > nowMs } }
    }

    /// The one that holds for a limit of a grant.
    func find(_ limit: Limit, ofGrant grant: String, atMs nowMs: Int64) -> Override? {
        byGrant[grant]?.first { $0.untilMs > nowMs && $0.applies(to: limit) }
    }

    /// Gives the limits of a ruling the maxima that hold for a grant, and the ruling an end when the first of them ends.
    func apply(to ruling: inout CallRuling, grant: String, nowMs: Int64) {
        guard let own = byGrant[grant] else { return }
        var maxima: [String: Int64] = [:]
        var endMs = Int64.max
        for override in own where override.untilMs > nowMs {
            guard ruling.limits.contains(where: { override.applies(to: $0) }) else { continue }
            maxima[override.rule] = override.max
            endMs = min(endMs, override.untilMs)
        }
        guard !maxima.isEmpty else { return }
        ruling.limits = ruling.limits.map { $0.mayBeOverridden ? [$0].with(maxima: maxima)[0] : $0 }
        ruling.validMs = ruling.validMs.clamped(to: Int64.min..<endMs)
    }

    // MARK: - Reading

    /// A change was announced, or may have been missed.
    mutating func mustRead() {
        isDue = true
        isUrgent = true
    }

    /// Windows follow an earlier time: what had ended may hold again.
    mutating func clockFollowed(nowMs: Int64) { noteEnd(nowMs: nowMs) }

    /// The store became unavailable, or lost its data: the list is read with the next probe or heartbeat.
    mutating func mustReadLater() { isDue = true }

    mutating func asked() { isUrgent = false }

    /// The store has reported its list.
    ///
    /// - Parameter list: nil if it is the known one.
    /// - Returns: the grants whose overrides are others now.
    mutating func read(version: Int64, _ list: [Override]?, nowMs: Int64) -> [String] {
        isDue = isUrgent
        self.version = version
        guard let list else { return [] }
        let known = byGrant
        byGrant = Dictionary(grouping: list) { $0.grant }
        noteEnd(nowMs: nowMs)
        return Set(known.keys).union(byGrant.keys).filter { known[$0] != byGrant[$0] }.sorted()
    }

    /// Changes one without a store.
    mutating func change(_ change: OverrideChange, nowMs: Int64) -> OverrideOutcome {
        var list = active(atMs: nowMs)
        let count = list.count
        list.removeAll { $0.grant == change.grant && $0.rule == change.rule }
        if change.forMs > 0 {
            guard list.count < EngineBounds.maxOverrides else { return .full }
            list.append(
                Override(
                    grant: change.grant, rule: change.rule, max: change.max, untilMs: nowMs + change.forMs))
        } else if list.count == count {
            return .notFound
        }
        byGrant = Dictionary(grouping: list) { $0.grant }
        noteEnd(nowMs: nowMs)
        return .done
    }

    /// Finds out when the next one ends.
    mutating func noteEnd(nowMs: Int64) {
        nextEndMs = byGrant.values.joined().reduce(.max) { $1.untilMs > nowMs ? min($0, $1.untilMs) : $0 }
    }
}
