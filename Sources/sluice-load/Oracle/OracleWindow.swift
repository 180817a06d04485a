/// What was seen of one counter in one window.
struct OracleWindow: Sendable {
    /// What was seen of one sidecar in this window.
    struct Part: Sendable {
        /// Costs admitted with `shared`, and with `local`.
        var sharedAdmitted: Int64 = 0
        var localAdmitted: Int64 = 0
        /// Stretches of local admissions, shared answers between them.
        var localRuns: Int64 = 0
        var isInLocalRun = false
        /// Of the local admissions, those whose checks the store may have been given before; it may charge them late.
        var pendingAdmitted: Int64 = 0
        /// When we last read a local admission.
        var localReceivedNs = Int64.min
        /// The least that it must have known to be used when it admitted locally; only after a local admission.
        var knownUsed = Int64.max
        /// Whether its first answer in this window was local: then it was without the store when the window began for it.
        var beganLocally = false
        /// When we read its first shared answer after a local admission; `Int64.max` if there was none.
        var backReceivedNs = Int64.max
        /// When the first check that it answered in this window was sent.
        var firstSentNs = Int64.max
        /// Whether the store may have answered it in this window unseen by us.
        var mayHaveLooked = false
        /// Which life of the sidecar answered last, and how many did in this window.
        private var life: Int32 = -1
        private(set) var lives: Int64 = 0
        /// Shared tallies that it told.
        private var sightings = UsageHistory()

        /// An answer came from this life of the sidecar: another one knows nothing of what was told before.
        mutating func enter(life: Int32) {
            guard life != self.life else { return }
            self.life = life
            lives += 1
            isInLocalRun = false
            sightings = UsageHistory()
        }

        /// A shared answer that was read at `receivedNs` told that `used` is used.
        mutating func sight(used: Int64, receivedNs: Int64) { sightings.add(used, seenNs: receivedNs) }

        /// What the sidecar must have known to be used when it decided a check that was sent at `sentNs`: the highest
        /// tally that we had read from it before that. It may have known of more.
        func usedKnown(sentNs: Int64) -> Int64 { sightings.value(before: sentNs) }
    }

    let startMs: Int64
    /// The highest that was told: while replicas hold different documents, the largest binds.
    var maximum: Int64
    var maximumChanged = false
    /// Costs admitted by `shared`, `lease` and `cache`, less what settlements gave back.
    var admitted: Int64 = 0
    var charges = ChargeLog()
    /// What the answers tell that the store must have charged.
    var charged = WindowCharges()
    /// The lowest cost that a shared answer refused because this window was full; `Int64.max` if none was.
    var refusedCost = Int64.max
    /// Whether the answer of a check may have been missed.
    var isUncertain: Bool
    /// Whether the tally may hold a charge of a check that was answered locally.
    var mayHoldMore = false
    var hasLeases = false
    /// Whether reservations of this window were settled: units that were given back are charged again.
    var hasSettlements = false
    /// Whether a sidecar was back at the store, and its local admissions were not in the tally.
    var isUnsettled = false
    /// The promises that it has broken, so that each is told once.
    var broken: Set<OracleReport.Break.Promise> = []
    /// By sidecar.
    var parts: [Part]

    init(startMs: Int64, maximum: Int64, sidecars: Int, isUncertain: Bool) {
        self.startMs = startMs
        self.maximum = maximum
        self.isUncertain = isUncertain
        parts = Array(repeating: Part(), count: sidecars)
    }

    var localAdmitted: Int64 { parts.reduce(0) { $0 + $1.localAdmitted } }

    /// The most that sidecar `index` may have admitted locally.
    ///
    /// Going local, a sidecar takes its share of what is left: ceil((max - known) / replicas). It takes another share of
    /// what is then left each time it has been back to the store, which shows as shared answers between local ones, or
    /// not at all if the store's answer came after the checks had been answered (only after a check that used up its
    /// budget; see `LoadBounds.hiddenLooks`). All its shares together never exceed max - known. A sidecar that was
    /// started anew knows nothing and may do all of this once more.
    func localBound(of index: Int, replicas: Int64) -> Int64 {
        let part = parts[index]
        let known = part.lives > 1 ? 0 : part.knownUsed
        let left = max(0, maximum - known)
        let share = left / replicas + (left % replicas > 0 ? 1 : 0)
        let looks = part.localRuns * (part.mayHaveLooked ? 1 + LoadBounds.hiddenLooks : 1)
        let (shares, overflows) = share.multipliedReportingOverflow(by: looks)
        return (overflows ? left : min(left, shares)) * max(1, part.lives)
    }

    /// What must be in the tally of a shared answer to a check that was sent at `sentNs` to sidecar `index`: what it had
    /// admitted locally in this window, as far as it can be told; nil where it cannot.
    func mustBeSettled(by index: Int, sentNs: Int64) -> Int64? {
        let part = parts[index]
        guard part.localAdmitted > 0, sentNs > part.localReceivedNs, part.lives == 1, !hasSettlements else {
            return nil
        }
        return part.localAdmitted - part.pendingAdmitted
    }

    /// Whether the window began while the store was away for all who answered, and all came back to it so soon one after the
    /// other that each waited for the others to write back: then all together admit no more than the maximum.
    var wasAwayAndReturned: Bool {
        let present = parts.filter { $0.firstSentNs < .max }
        let back = present.filter { $0.localAdmitted > 0 }.map(\.backReceivedNs)
        guard let firstNs = back.min(), let lastNs = back.max(), lastNs < .max else { return false }
        return !hasSettlements && lastNs - firstNs <= LoadBounds.returnSpreadNs
            // One check that was late is no outage.
            && present.allSatisfy { $0.beganLocally && $0.localRuns == 1 && $0.pendingAdmitted == 0 && $0.lives == 1 }
    }

    /// The most that all may have admitted together: max, and for each sidecar that admitted locally what the others
    /// admitted after it last looked. Of shared admissions that is at most what the others were given, and at most the
    /// tally's growth since; of local ones it is all.
    var totalBound: Int64 {
        if wasAwayAndReturned { return maximum }
        let local = localAdmitted
        return parts.reduce(maximum) { bound, part in
            guard part.localAdmitted > 0 else { return bound }
            let shared = min(admitted - part.sharedAdmitted, max(0, admitted - part.knownUsed))
            return bound + max(0, shared) + local - part.localAdmitted
        }
    }
}
