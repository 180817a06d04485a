package import SluicePolicy

/// Overrides of maxima: read from the store, changed there for an operator, and applied where plans are made. See `Override`.
extension Limiter {
    package enum OverrideStart {
        case answered(OverrideOutcome)
        /// The answer comes as a completion, within the budget.
        case waiting
        /// Too many checks wait already.
        case overloaded
        /// Counting is not shared at present. Nothing was changed.
        case storeUnavailable
    }

    /// Those that hold now, by grant and rule.
    package func overrides(now: ClockReading) -> [Override] { overrides.active(atMs: clock.nowMs(now)) }

    package func overrideCount(now: ClockReading) -> Int { overrides.count(atMs: clock.nowMs(now)) }

    /// The one that holds for a limit of a grant now.
    package func override(of limit: Limit, forGrant grant: String, now: ClockReading) -> Override? {
        overrides.find(limit, ofGrant: grant, atMs: clock.nowMs(now))
    }

    /// Sets or ends one for all replicas.
    ///
    /// - Parameters:
    ///   - change: of a limit that may have that maximum: see `Limit.mayBeOverridden` and `Limit.maxRange`.
    ///   - ticket: returned with the completion if the outcome is `waiting`.
    package mutating func override(_ change: OverrideChange, ticket: Ticket, now: ClockReading) -> OverrideStart {
        guard configuration.usesStore else {
            clock.observeWall(now: now)
            let outcome = overrides.change(change, nowMs: clock.nowMs(now))
            if outcome == .done { overridesChanged(of: [change.grant]) }
            return .answered(outcome)
        }
        guard isShared else { return .storeUnavailable }
        guard !ledger.isFullOfUnusualWork else { return .overloaded }
        let entry = ledger.add(.overrides(change))
        wait(ticket, wantsTrace: false, entry: entry, now: now)
        return .waiting
    }

    // MARK: - The store

    /// Whether a batch that is sent anyway must read them. Without the change feed nothing announces changes.
    var readsOverrides: Bool { overrides.isDue || !announcesChanges || !denials.isListening }

    /// Whether a batch must be sent to read them.
    var mustReadOverrides: Bool { overrides.isUrgent && link.isClosed && ledger.maySend }

    /// Encodes the reading of the list, after a change if there is one.
    mutating func writeOverrides(_ change: OverrideChange?) {
        if change == nil { overrides.asked() }
        writer.add(.overrides(known: overrides.version, change: change), keys: configuration.keys.overrides)
    }

    /// The store answered an entry that reads, or changes, the list.
    mutating func deliverOverrides(
        _ change: OverrideChange?, _ entry: PendingBatch.Entry, of batch: PendingBatch, _ outcome: BatchReply.Outcome,
        now: ClockReading
    ) {
        switch outcome {
        case .overrides(let result, let version, let text):
            let list = version == overrides.version ? nil : Override.list(text)
            let changed = overrides.read(version: version, list, nowMs: clock.nowMs(now))
            if !changed.isEmpty {
                overridesChanged(of: changed)
                notices.overrides(count: overrideCount(now: now))
            }
            guard change != nil else { return }
            finishAll(entry, of: batch, .overridden(result), now: now)
        case .fault(let reason):
            statistics.faults += 1
            guard change == nil else { return finishAll(entry, of: batch, .overridden(.fault(reason)), now: now) }
            let key = String(decoding: configuration.keys.overrides, as: UTF8.self)
            notices.keyFault("\(key) is not read: \(reason)", now: now)
        case .charged, .windowIsOver, .tooMuch, .passedOver, .otherArguments, .replayed, .heartbeat, .settled:
            preconditionFailure("no answer to a list of overrides")
        }
    }

    /// The store announced a change, or may have announced one before the feed was open.
    mutating func noteOverrides(_ event: ChangeFeedEvent) {
        switch event {
        case .opened: overrides.mustRead()
        case .changed(let key): if key == configuration.keys.overrides { overrides.mustRead() }
        case .alive, .closed: break
        }
    }

    // MARK: - Plans

    /// Applies them to the ruling of a plan that is being made.
    mutating func applyOverrides(to ruling: inout CallRuling, grant: [UInt8], nowMs: Int64) {
        if nowMs >= overrides.nextEndMs {
            overrides.noteEnd(nowMs: nowMs)
            // Blocks were charged under a maximum that does not hold any more.
            leases.outdate()
        }
        overrides.apply(to: &ruling, grant: String(decoding: grant, as: UTF8.self), nowMs: nowMs)
    }

    private mutating func overridesChanged(of grants: [String]) {
        for grant in grants { table.outdate(grant: grant) }
        leases.outdate()
    }
}

extension PlanTable {
    /// Every plan of a grant is rebuilt when its identity is next used.
    mutating func outdate(grant: String) {
        for plan in plans(ofGrant: grant) { outdate(plan) }
    }
}
