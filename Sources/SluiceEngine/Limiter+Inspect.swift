import SluicePolicy

/// One open window of one counter, as a person wants to see it.
package struct CounterReport: Sendable, Equatable {
    package var key: CounterKey
    /// The limit's path in the policy; empty if the policy no longer has it.
    package var rule: String
    package var isShadow: Bool
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
    /// -1 if the policy no longer has the limit, and it has no windows.
    package var resetMs: Int64
    /// How many checks a shadow limit would have denied.
    package var refusals: Int64
}

extension Limiter {
    /// Whether checks are counted in the store right now, by all replicas.
    package var isShared: Bool { configuration.usesStore && breaker.isClosed && recovery == nil }

    /// Whether checks go to the store: while replicas are writing back, within this one's share.
    var asksStore: Bool { configuration.usesStore && breaker.isClosed && recovery?.phase != .restoring }

    /// How the breaker stands, in one word.
    package var storeState: String {
        guard configuration.usesStore else { return "none" }
        return switch breaker.state {
        case .open: "open"
        case .connecting: "connecting"
        case .probing: "probing"
        case .closed: recovery == nil ? "closed" : "recovering"
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

    /// Every counter in which something counts: those that this replica knows, and those that the store told of.
    ///
    /// - Parameters:
    ///   - stored: what the store holds just now; nil if it could not be asked.
    ///   - most: how many are looked at, of a million maybe: checks wait meanwhile. With as many in `stored`, the store may
    ///     hold more. Of what it did not tell, this replica knows only how it was when it last looked, and others may have
    ///     counted since: it is left out.
    ///   - tool: only this tool's counters.
    /// - Returns: sorted by grant, tool, counter, subject; those of limits over all tools first.
    package func counters(
        stored: [StoredCounter]?, most: Int = .max, grant: String?, tool: String?, now: Moment
    ) -> [CounterReport] {
        let nowMs = clock.nowMs(now)
        var found =
            if let stored, stored.count >= most {
                knownCounters(among: stored, nowMs: nowMs)
            } else {
                knownCounters(grant: grant, most: most, nowMs: nowMs)
            }
        for counter in stored ?? [] {
            guard let key = CounterKey(counter.key, prefix: configuration.keyPrefix) else { continue }
            if key.isRefusals {
                let name = ByteString(bytes: counter.key.dropLast(CounterKey.refusalsSuffix.count))
                found[name, default: FoundCounter()].refusals = counter.used
            } else {
                found[ByteString(bytes: counter.key), default: FoundCounter()].stored = counter
            }
        }
        return found.compactMap { name, found in report(name, found, nowMs: nowMs) }
            .filter { report in
                grant.map { grant in report.key.grant.map { $0.utf8.elementsEqual(grant.utf8) } ?? false } ?? true
                    && (tool == nil || report.key.tool == tool)
            }
            .map { (order: $0.key.sortKey, report: $0) }
            .sorted { $0.order.lexicographicallyPrecedes($1.order) }
            .map(\.report)
    }

    private func knownCounters(grant: String?, most: Int, nowMs: Int64) -> [ByteString: FoundCounter] {
        var found: [ByteString: FoundCounter] = [:]
        // Before anything is read again, so that asking for one grant costs little however many are known.
        let prefix = keyPrefix(grant: grant)
        for counter in table.liveCounters where isShown(counter, nowMs: nowMs) {
            guard counter.stem.starts(with: prefix) else { continue }
            found[ByteString(bytes: counter.key)] = FoundCounter(known: counter)
            guard found.count < most else { break }
        }
        return found
    }

    /// What this replica knows of the counters that the store told of.
    private func knownCounters(among stored: [StoredCounter], nowMs: Int64) -> [ByteString: FoundCounter] {
        var found: [ByteString: FoundCounter] = [:]
        for counter in stored {
            // A key is its stem, and behind that the window's start, if it has one.
            let start = counter.key.lastIndex { !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            let stem = counter.key[..<(start.map { $0 + 1 } ?? 0)]
            let names = [ByteString(bytes: Array(stem)), ByteString(bytes: counter.key)]
            guard let index = names.lazy.compactMap({ table.counter(named: $0) }).first else { continue }
            let known = table[counter: index]
            guard isShown(known, nowMs: nowMs), known.key == counter.key else { continue }
            found[ByteString(bytes: counter.key)] = FoundCounter(known: known)
        }
        return found
    }

    /// Whether something counts in it just now.
    private func isShown(_ counter: Counter, nowMs: Int64) -> Bool {
        counter.windowStartMs >= 0 && nowMs < counter.windowEndMs && counter.isTouched
    }

    private struct FoundCounter {
        var known: Counter?
        var stored: StoredCounter?
        var refusals: Int64?
    }

    private func report(_ name: ByteString, _ found: FoundCounter, nowMs: Int64) -> CounterReport? {
        guard let key = CounterKey(name.bytes, prefix: configuration.keyPrefix) else { return nil }
        let bounds = Counter.bounds(of: key.window, key.algorithm, at: key.windowStartMs)
        guard nowMs < bounds.endMs else { return nil }
        let limit = limit(of: key)
        let terms = limit.map { Terms($0).at(bounds) }
        let share = share(found.known, terms, nowMs: nowMs)
        let shared = sharedTally(found, terms, nowMs: nowMs)
        let local = found.known.map { $0.locallyUsed(terms, nowMs: nowMs) } ?? 0
        var left: Int64 = -1
        if let terms {
            // The store decides by its own tally alone; it has not been told of what was admitted here.
            left =
                share >= 0 ? share - local : terms.left(shared ?? Tally(used: 0), nowMs: nowMs) - (isShared ? 0 : local)
        }
        var resetMs = key.algorithm.hasWindows ? bounds.endMs - nowMs : -1
        if let terms, !key.algorithm.hasWindows {
            resetMs = terms.resetMs(shared ?? found.known?.known(terms, nowMs: nowMs) ?? Tally(used: 0), nowMs: nowMs)
        }
        return CounterReport(
            key: key, rule: limit?.rule ?? "", isShadow: limit?.mode == .shadow, max: terms?.capacity ?? -1,
            sharedUsed: shared.map { tally in terms?.used(tally, nowMs: nowMs) ?? key.units(of: tally) } ?? -1,
            localUsed: local, localShare: share, remaining: limit == nil ? -1 : max(0, left), resetMs: resetMs,
            refusals: found.refusals ?? found.known?.refusals ?? 0)
    }

    /// What the store told: just now, or else when it last did; nil if it never did.
    private func sharedTally(_ found: FoundCounter, _ terms: Terms?, nowMs: Int64) -> Tally? {
        guard let stored = found.stored else {
            return found.known.flatMap { $0.isSeen ? $0.shared(terms, nowMs: nowMs) : nil }
        }
        var tally = Tally(used: stored.used)
        if let terms, terms.algorithm == .tokenBucket {
            tally.used = terms.drained(stored.used, sinceMs: stored.lastMs, nowMs: nowMs)
        }
        tally.previous = found.known?.shared(terms, nowMs: nowMs).previous ?? 0
        if let slots = found.known?.shared(terms, nowMs: nowMs) { tally.lastExpiryMs = slots.lastExpiryMs }
        return tally
    }

    /// What this replica may admit locally, what it has admitted included; -1 while the store decides.
    private func share(_ counter: Counter?, _ terms: Terms?, nowMs: Int64) -> Int64 {
        guard !isShared, var counter, let terms else { return -1 }
        counter.beginShare(shareEpoch)
        return counter.leftLocally(terms, replicas: live.view, nowMs: nowMs)
            + counter.locallyUsed(terms, nowMs: nowMs)
    }

    /// The limit that counts by it, if a policy still has it. Of `CL.THROTTLE` each call brings its own.
    private func limit(of key: CounterKey) -> Limit? {
        if case .throttle = key.subject { return nil }
        // A counter that grants share belongs to whichever policy has such a limit.
        let candidates = key.grant.map { policies.policy(forGrant: $0).map { [$0] } ?? [] } ?? Array(policies.policies)
        for policy in candidates {
            let limits = key.tool.map { policy.tools[$0]?.limits ?? [] } ?? policy.allToolsLimits
            let limit = limits.first {
                $0.counter == key.counter && $0.window == key.window
                    && Terms.Algorithm($0.algorithm) == key.algorithm
            }
            if let limit { return limit }
        }
        return nil
    }
}

extension CounterKey {
    /// What is used in units of cost, where the limit is not known that it counts for.
    fileprivate func units(of tally: Tally) -> Int64 {
        guard algorithm == .tokenBucket, let lengthMs = window.fixedLengthMs else { return tally.used }
        return (tally.used + lengthMs - 1) / lengthMs
    }

    fileprivate var sortKey: [String] {
        [grant ?? "", tool ?? "", counter, subject.words, algorithm.name, window.name]
    }
}
