import SluicePolicy

/// One open window of one counter, as a person wants to see it.
package struct CounterReport: Sendable, Equatable {
    package var key: CounterKey
    /// The limit's path in the policy; empty if the policy no longer has it.
    package var rule: String
    /// -1 if the policy no longer has the limit.
    package var max: Int64
    /// Used over all replicas: read just now if the store answered, else as this replica last saw it; -1 if it never did.
    package var sharedUsed: Int64
    /// Admitted by this replica alone while the store was away, in this window.
    package var localUsed: Int64
    /// What this replica may admit locally in this window, what it has admitted included; -1 while the store decides,
    /// and where there was no need yet to reckon it.
    package var localShare: Int64
    /// What this replica would still admit; -1 if the policy no longer has the limit.
    package var remaining: Int64
    package var resetMs: Int64
}

extension Limiter {
    /// Whether checks are counted in the store right now.
    package var isShared: Bool { breaker.isClosed }

    /// How the breaker stands, in one word.
    package var storeState: String {
        guard configuration.usesStore else { return "none" }
        return switch breaker.state {
        case .open: "open"
        case .connecting: "connecting"
        case .probing: "probing"
        case .closed: "closed"
        case .stalled: "stalled"
        case .resting: "resting"
        }
    }

    package var identityCount: Int { table.planCount }
    package var counterCount: Int { table.counterCount }
    package var waitingCount: Int { waitingChecks }

    /// What the keys of the counters begin with that a query for this grant (nil: for all) is about.
    package func keyPrefix(grant: String?) -> [UInt8] {
        grant.map { CounterKey.grantPrefix(prefix: configuration.keyPrefix, grant: $0.utf8) }
            ?? CounterKey.prefix(configuration.keyPrefix)
    }

    /// Every counter with an open window: those that this replica knows, and those that the store told of.
    ///
    /// - Parameters:
    ///   - stored: what the store holds just now; nil if it could not be asked.
    ///   - tool: only this tool's counters.
    /// - Returns: sorted by grant, tool, counter, session; those of limits over all tools first.
    package func counters(stored: [StoredCounter]?, grant: String?, tool: String?, now: Moment) -> [CounterReport] {
        let nowMs = clock.nowMs(now)
        var reports: [CounterKey: CounterReport] = [:]
        // Before anything is read again, so that asking for one grant costs little however many are known.
        let prefix = keyPrefix(grant: grant)
        for counter in table.liveCounters where counter.windowStartMs >= 0 && nowMs < counter.windowEndMs {
            guard counter.stem.starts(with: prefix),
                counter.isSeen || counter.localUsed > 0 || counter.unsettled > 0 || counter.localShare >= 0,
                let key = CounterKey(counter.key, prefix: configuration.keyPrefix)
            else { continue }
            reports[key] = report(
                key, sharedUsed: counter.isSeen ? counter.sharedUsed : -1,
                localUsed: counter.unsettled + counter.localUsed,
                localShare: isShared || counter.localShare < 0 ? -1 : counter.unsettled + counter.localShare,
                nowMs: nowMs)
        }
        for counter in stored ?? [] {
            guard let key = CounterKey(counter.key, prefix: configuration.keyPrefix),
                nowMs < key.windowStartMs + key.windowSeconds * 1000
            else { continue }
            let known = reports[key]
            reports[key] = report(
                key, sharedUsed: counter.used, localUsed: known?.localUsed ?? 0, localShare: known?.localShare ?? -1,
                nowMs: nowMs)
        }
        return reports.values
            .filter { report in
                grant.map { report.key.grant.utf8.elementsEqual($0.utf8) } ?? true
                    && (tool == nil || report.key.tool == tool)
            }
            .sorted { $0.key.sortKey.lexicographicallyPrecedes($1.key.sortKey) }
    }

    private func report(
        _ key: CounterKey, sharedUsed: Int64, localUsed: Int64, localShare: Int64, nowMs: Int64
    ) -> CounterReport {
        let policy = policies.policy(forGrant: key.grant)
        let limits = key.tool.map { policy?.tools[$0]?.limits ?? [] } ?? policy?.allToolsLimits ?? []
        let limit = limits.first { $0.counter == key.counter && $0.window.seconds == key.windowSeconds }
        // The store decides by its own tally alone; it has not been told of what was admitted here.
        let used = localShare >= 0 || isShared ? 0 : localUsed
        let left = localShare >= 0 ? localShare - localUsed : (limit?.max ?? 0) - max(0, sharedUsed) - used
        return CounterReport(
            key: key, rule: limit?.rule ?? "", max: limit?.max ?? -1, sharedUsed: sharedUsed, localUsed: localUsed,
            localShare: localShare, remaining: limit == nil ? -1 : max(0, left),
            resetMs: key.windowStartMs + key.windowSeconds * 1000 - nowMs)
    }
}

extension CounterKey {
    fileprivate var sortKey: [String] { [grant, tool ?? "", counter, session ?? "", String(windowSeconds)] }
}
