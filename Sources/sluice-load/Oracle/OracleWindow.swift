/// The observations of one counter in one window.
struct OracleWindow: Sendable {
    /// The observations of one sidecar in this window.
    struct Part: Sendable {
        /// Costs admitted with `shared`, and with `local`.
        var sharedAdmitted: Int64 = 0
        var localAdmitted: Int64 = 0
        /// Runs of local admissions, with shared answers between them.
        var localRuns: Int64 = 0
        var isInLocalRun = false
        /// The local admissions whose checks may have been sent to the store before; it may charge them late.
        var pendingAdmitted: Int64 = 0
        /// When the last local admission was read.
        var localReceivedNs = Int64.min
        /// The least usage that it must have known when it admitted locally; only after a local admission.
        var knownUsed = Int64.max
        /// Whether its first answer in this window was local: it was then without the store when the window began for
        /// it.
        var beganLocally = false
        /// When its first shared answer after a local admission was read; `Int64.max` if there was none.
        var backReceivedNs = Int64.max
        /// When the first check that it answered in this window was sent.
        var firstSentNs = Int64.max
        /// Whether the store may have answered it in this window unseen.
        var mayHaveLooked = false
        /// Which life of the sidecar answered last, and how many did in this window.
        private var life: Int32 = -1
        private(set) var lives: Int64 = 0
        /// The shared usages that it reported.
        private var sightings = UsageHistory()

        /// An answer came from this life of the sidecar: a new one does not know what was reported before.
        mutating func enter(life: Int32) {
            guard life != self.life else { return }
            self.life = life
            lives += 1
            isInLocalRun = false
            sightings = UsageHistory()
        }

        /// A shared answer that was read at `receivedNs` reported the usage `used`.
        mutating func sight(used: Int64, receivedNs: Int64) { sightings.add(used, seenNs: receivedNs) }

        /// The usage that the sidecar must have known when it decided a check sent at `sentNs`: the highest usage that
        /// was read from it before. It may have known of more.
        func usedKnown(sentNs: Int64) -> Int64 { sightings.value(before: sentNs) }
    }

    let startMs: Int64
    /// The highest reported maximum: while replicas have different documents, the largest one binds.
    var maximum: Int64
    var maximumChanged = false
    /// Costs admitted by `shared`, `lease` and `cache`, less what settlements gave back.
    var admitted: Int64 = 0
    var charges = ChargeLog()
    /// What the store must have charged, according to the answers.
    var charged = WindowCharges()
    /// The lowest cost that a shared answer denied because this window was full; `Int64.max` if none.
    var deniedCost = Int64.max
    /// Whether the answer of a check may have been missed.
    var isUncertain: Bool
    /// Whether the usage may hold a charge of a check that was answered locally.
    var mayHoldMore = false
    var hasLeases = false
    /// Whether reservations of this window were settled: units that were given back are charged again.
    var hasSettlements = false
    /// Whether a sidecar used the store again and its local admissions were not in the usage.
    var isUnsettled = false
    /// The promises that it has broken, so that each is reported once.
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
    /// When a sidecar becomes local, it takes its share of the rest: ceil((max - known) / replicas). It takes another
    /// share of the new rest each time it has reached the store again. That shows as shared answers between local ones.
    /// It does not show if the store's answer came after the checks had been answered (only after a check that used up
    /// its budget; see `LoadBounds.hiddenLooks`). All its shares together never exceed max - known. A restarted sidecar
    /// knows nothing and may do all of this once more.
    func localBound(of index: Int, replicas: Int64) -> Int64 {
        let part = parts[index]
        let known = part.lives > 1 ? 0 : part.knownUsed
        let left = max(0, maximum - known)
        let share = left / replicas + (left % replicas > 0 ? 1 : 0)
        let looks = part.localRuns * (part.mayHaveLooked ? 1 + LoadBounds.hiddenLooks : 1)
        let (shares, overflows) = share.multipliedReportingOverflow(by: looks)
        return (overflows ? left : min(left, shares)) * max(1, part.lives)
    }

    /// The least usage that a shared answer to a check sent at `sentNs` to sidecar `index` must report: the sidecar's
    /// known local admissions in this window; nil if they are unknown.
    func mustBeSettled(by index: Int, sentNs: Int64) -> Int64? {
        let part = parts[index]
        guard part.localAdmitted > 0, sentNs > part.localReceivedNs, part.lives == 1, !hasSettlements else {
            return nil
        }
        return part.localAdmitted - part.pendingAdmitted
    }

    /// Whether the window began during an outage for all sidecars that answered, and all returned to the store so close
    /// together that each waited for the others' write-backs: all together then admit no more than the maximum.
    var beganInOutageAndReturned: Bool {
        let present = parts.filter { $0.firstSentNs < .max }
        let back = present.filter { $0.localAdmitted > 0 }.map(\.backReceivedNs)
        guard let firstNs = back.min(), let lastNs = back.max(), lastNs < .max else { return false }
        return !hasSettlements && lastNs - firstNs <= LoadBounds.returnSpreadNs
            // One check that was late is no outage.
            && present.allSatisfy { $0.beganLocally && $0.localRuns == 1 && $0.pendingAdmitted == 0 && $0.lives == 1 }
    }

    /// The most that all may have admitted together: max, plus for each sidecar that admitted locally what the others
    /// admitted after it last read the usage. Of shared admissions that is at most what the others got, and at most the
    /// growth of the usage since; of local ones it is all.
    var totalBound: Int64 {
        if beganInOutageAndReturned { return maximum }
        let local = localAdmitted
        return parts.reduce(maximum) { bound, part in
            guard part.localAdmitted > 0 else { return bound }
            let shared = min(admitted - part.sharedAdmitted, max(0, admitted - part.knownUsed))
            return bound + max(0, shared) + local - part.localAdmitted
        }
    }
}
