@testable import SluiceEngine

extension SimulationOracle {
    /// One replica's view of one window.
    struct View {
        /// The usage last reported to it.
        var seen: Int64 = 0
        var isAlone = false
        /// How often it began to count locally, and the usage reported to it when it last did.
        var spells = 0
        var seenBefore: Int64 = 0
        /// `Simulation.turns(of:)` at its last admission; nil if that changed before a restart.
        var turns: Int64? = 0
        /// The number of the outage after which the store last reported to it, and the usage reported before.
        private var heardOutage = -1
        private var seenBeforeOutage: Int64 = 0
        /// The number of the outage after which it last admitted within its share, with the store; -1: none.
        var sharedAfterOutage = -1

        /// The store reported this usage.
        mutating func hear(_ used: Int64, outage: Int) {
            if outage != heardOutage { (heardOutage, seenBeforeOutage) = (outage, seen) }
            seen = used
            isAlone = false
        }

        /// What its share in that outage was computed from; nil if it admitted nothing within it.
        func shareSeen(outage: Int) -> Int64? {
            if spells > 0 { return seenBefore }
            guard sharedAfterOutage == outage else { return nil }
            return heardOutage == outage ? seenBeforeOutage : seen
        }

        mutating func admitsAlone(turns now: Int64) {
            defer { turns = now }
            // Write-backs in between count as reported.
            guard !isAlone || turns != now else { return }
            isAlone = true
            spells += 1
            seenBefore = seen
        }
    }

    /// Local admissions of a replica with a state folder that may be missing there.
    struct Unwritten {
        var admitted: [(Window, Int64)] = []
        /// The part of them that is being written.
        var taken = 0
    }

    /// Checks how close windows came to what each case may admit; fails with the first that exceeded it.
    ///
    /// - Parameters:
    ///   - replicas: the minimum number that shares are computed for.
    ///   - hadStrangers: some died without a state folder, so that others take their places.
    ///   - restored: after every data loss all replicas restored, in time.
    func judgeBounds(_ bounds: inout SimulationBounds, replicas: Int64, hadStrangers: Bool, restored: Bool) throws {
        for (window, usage) in usages {
            let wasForgotten = isForgotten(startMs: window.startMs, endMs: usage.endMs)
            let what = "\(window), \(usage.admittedLocally) locally, \(usage.views)"
            if wasForgotten {
                if restored && !usage.wasEvicted { try bounds.judge(.forgot, usage.admitted, of: usage.max, what) }
                continue
            }
            let isOnce = usage.views.allSatisfy { $0.spells <= 1 } && !usage.hadManySpells
            let alone = usage.admittedLocally.reduce(0, +)
            guard usage.restarts == 0 else {
                guard isOnce, usage.admitted + usage.admittedUnconfirmed == 0 else { continue }
                let most = usage.max + usage.lost + usage.unlistedReplicas * ((usage.max + replicas - 1) / replicas)
                try bounds.judge(.restarted, alone + usage.admittedByDead + usage.admittedBlindly, of: most, what)
                continue
            }
            let knewTime = isOnce && usage.admittedBlindly == 0
            for (view, admitted) in zip(usage.views, usage.admittedLocally) where view.spells == 1 && knewTime {
                let share = (max(0, usage.max - view.seenBefore) + replicas - 1) / replicas
                // What was unconfirmed belongs to the store once it is known to have run, and no longer counts against
                // the share.
                let credited = usage.credited.isEmpty ? 0 : usage.credited.max() ?? 0
                try bounds.judge(.alone, admitted, of: share + usage.admittedUnconfirmed + credited, what)
            }
            let seen = usage.views.filter { $0.spells > 0 }.map(\.seenBefore).min()
            switch seen {
            case nil: try bounds.judge(.connected, usage.admitted, of: usage.max, what)
            case .some where hadStrangers || !knewTime: break
            case .some where usage.admitted + usage.admittedUnconfirmed == 0:
                try bounds.judge(.later, alone, of: usage.max, what)
            case let seen?:
                let unseen = min(Quota.maxExact, max(0, usage.admitted - seen))
                try bounds.judge(
                    .open, usage.admitted + alone,
                    of: usage.max + unseen + usage.admittedUnconfirmed + usage.credited.reduce(0, +), what)
            }
        }
    }
}

extension SimulationOracle.Usage {
    /// A process continues an earlier one's view: local, as that was, until its turns change.
    mutating func restarts(_ replica: Int, turns: Int64, newTurns: Int64) {
        if views[replica].spells > 0 { restarts += 1 }
        views[replica].seen = 0
        views[replica].turns = views[replica].turns == turns ? newTurns : nil
    }

    /// A process dies, and everything it knew is lost.
    mutating func dies(_ replica: Int) {
        if views[replica].spells > 0 {
            restarts += 1
            unlistedReplicas += 1
        }
        if views[replica].spells > 1 { hadManySpells = true }
        lost += admittedLocally[replica]
        admittedByDead += admittedLocally[replica]
        admittedLocally[replica] = 0
        views[replica] = SimulationOracle.View()
    }
}
