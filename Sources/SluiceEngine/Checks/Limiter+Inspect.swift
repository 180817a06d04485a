import SluicePolicy

/// One open window of one counter, for operators.
package struct CounterReport: Sendable, Equatable {
    package var key: CounterKey
    /// The limit's path in the policy; empty if the policy no longer has it.
    package var rule: String
    package var isShadow: Bool
    /// -1 if the policy no longer has the limit.
    package var max: Int64
    /// Usage over all replicas: read just now if the store answered, else as this replica last saw it; -1 if it never
    /// did.
    package var sharedUsed: Int64
    /// Admitted by this replica alone during an outage, in this window; 0 if the store reported the counter.
    package var localUsed: Int64
    /// What this replica may admit locally in this window, including what it has admitted; -1 while the store decides,
    /// and if it was not computed yet.
    package var localShare: Int64
    /// What this replica would still admit; -1 if the policy no longer has the limit.
    package var remaining: Int64
    /// -1 if the policy no longer has the limit and the counter has no windows.
    package var resetMs: Int64
    /// How many checks a shadow limit would have denied.
    package var denials: Int64
}

extension Limiter {
    /// Whether checks are counted in the store right now, by all replicas.
    package var isShared: Bool { configuration.usesStore && link.isClosed && !reconciler.isWithinShare }

    /// Whether checks go to the store: during the write-back phase, within this replica's share.
    var asksStore: Bool { configuration.usesStore && link.isClosed && !reconciler.isRestoring }

    /// The breaker's state in one word.
    package var storeState: String {
        guard configuration.usesStore else { return "none" }
        return switch link.breaker.state {
        case .open: "open"
        case .connecting: "connecting"
        case .probing: "probing"
        case .closed: reconciler.isWithinShare ? "recovering" : "closed"
        case .stalled: "stalled"
        case .resting: "resting"
        }
    }

    /// Why the store was last unusable; empty if it never was.
    package var storeError: String { notices.storeError }

    /// The fault that was last reported of a key in the store; empty if there was none.
    package var keyFault: String { notices.lastKeyFault }

    /// Why the change feed is down; empty if it is up.
    package var changeFeedError: String { hearsChanges ? "" : denials.changeFeed.reason }

    /// How far the store's clock is behind its earlier time, ms; 0 if it is not.
    package var storeBehindMs: Int64 { clock.behindMs }

    package var identityCount: Int { table.planCount }

    /// The number of grants with identities. All keys of `CL.THROTTLE` count as one.
    package var grantCount: Int { table.grants.count }

    /// The most identities of one grant.
    package var maxPlansOfGrant: Int { max(1, configuration.maxPlans / configuration.grantParts) }

    /// How many identities were evicted although the store still counts something for them.
    package var evictedCount: Int64 { table.evicted }
    package var counterCount: Int { table.counterCount }
    package var waitingCount: Int { ledger.waitingCount }

    /// How long the oldest batch in flight has waited for its answer, ns; 0 if there is none.
    package func oldestBatchNs(now: ClockReading) -> Int64 {
        ledger.inFlight.first.map { max(0, now.monotonicNs - $0.sentNs) } ?? 0
    }

    /// - Parameter limit: the most counters to return.
    package func counterQuery(grant: String?, tool: String?, limit: Int) -> CounterQuery {
        CounterQuery(in: configuration.keys, grant: grant, tool: tool, limit: limit)
    }

    // MARK: - Reports

    /// The report of a counter in the store; nil if nothing of it counts any more.
    func report(_ stored: StoredCounter, timeMs: Int64) -> CounterReport? {
        guard stored.key.open(atMs: timeMs) == stored.key else { return nil }
        return report(stored.key, of: nil, { $0.usage(of: stored, nowMs: timeMs) }, nowMs: timeMs)
    }

    /// The report of a counter as this replica knows it; nil if there is nothing worth reporting.
    func report(_ counter: CounterID, of query: CounterQuery, nowMs: Int64) -> CounterReport? {
        let known = table[counter]
        guard known.references > 0, known.windowStartMs >= 0, nowMs < known.windowEndMs, known.isTouched,
            query.mayMatch(known.key[...]), let key = CounterKey(known.key, in: configuration.keys),
            query.matches(key)
        else { return nil }
        return report(key, of: known, { known.isSeen ? known.shared($0, nowMs: nowMs) : nil }, nowMs: nowMs)
    }

    /// - Parameters:
    ///   - known: this replica's counter; nil if the store reported its own.
    ///   - shared: the store's usage under a quota; nil if that is not known.
    private func report(
        _ key: CounterKey, of known: Counter?, _ shared: (Quota) -> Usage?, nowMs: Int64
    ) -> CounterReport {
        let limit = limit(of: key, nowMs: nowMs)
        let bounds = Counter.bounds(of: key.window, key.algorithm, at: key.windowStartMs)
        let quota = (limit.map { Quota($0) } ?? Quota(removedLimit: key)).at(bounds)
        let share = limit == nil ? -1 : share(known, quota, nowMs: nowMs)
        let usage = shared(quota)
        let local = known?.locallyUsed(limit == nil ? nil : quota, nowMs: nowMs) ?? 0
        // The store decides by its own usage alone, without local admissions that are not written back.
        let left =
            share >= 0 ? share - local : quota.left(usage ?? Usage(used: 0), nowMs: nowMs) - (isShared ? 0 : local)
        let resetting = usage ?? known?.combinedUsage(quota, nowMs: nowMs) ?? Usage(used: 0)
        // How fast a bucket leaks is known only from its limit.
        let knowsReset = limit != nil || key.algorithm != .tokenBucket
        return CounterReport(
            key: key, rule: limit?.rule ?? "", isShadow: limit?.mode == .shadow,
            max: limit == nil ? -1 : quota.capacity, sharedUsed: usage.map { quota.used($0, nowMs: nowMs) } ?? -1,
            localUsed: local, localShare: share, remaining: limit == nil ? -1 : max(0, left),
            resetMs: knowsReset ? quota.resetMs(resetting, nowMs: nowMs) : -1,
            denials: isShared ? usage?.denials ?? 0 : known?.denials ?? usage?.denials ?? 0)
    }

    /// What this replica may admit locally, including what it has admitted; -1 while the store decides.
    private func share(_ counter: Counter?, _ quota: Quota, nowMs: Int64) -> Int64 {
        guard !isShared, var counter else { return -1 }
        counter.beginShare(reconciler.outage)
        return counter.localRemaining(quota, replicas: membership.view, nowMs: nowMs)
            + counter.locallyUsed(quota, nowMs: nowMs)
    }

    /// What a counter allows, without a window; if no policy has its limit any more, enough to read and clear it.
    func quota(of key: CounterKey) -> Quota { policyLimit(of: key).map { Quota($0) } ?? Quota(removedLimit: key) }

    /// The limit that counts by it, if a policy still has it, with the maximum that holds for the grant.
    private func limit(of key: CounterKey, nowMs: Int64) -> Limit? {
        let limit = policyLimit(of: key)
        guard !overrides.isEmpty, let limit, let grant = key.grant,
            let override = overrides.find(limit, ofGrant: grant, atMs: nowMs)
        else { return limit }
        return [limit].with(maxima: [limit.rule: override.max])[0]
    }

    /// The limit as policies have it. For `CL.THROTTLE` each call specifies its own.
    private func policyLimit(of key: CounterKey) -> Limit? {
        if case .throttle = key.subject { return nil }
        // A counter that grants share may belong to any policy with such a limit.
        return policies.limits(forGrant: key.grant, in: key.container).first {
            $0.counter.utf8.elementsEqual(key.counter.utf8) && $0.window == key.window
                && $0.algorithm == key.algorithm
        }
    }
}

extension Quota {
    /// For a counter whose limit no policy has any more: enough to show the usage.
    fileprivate init(removedLimit key: CounterKey) {
        self.init(
            algorithm: key.algorithm, max: 0, windowStartMs: Self.endless.lowerBound,
            windowEndMs: Self.endless.upperBound, lengthMs: key.window.fixedLengthMs ?? 1)
    }
}
