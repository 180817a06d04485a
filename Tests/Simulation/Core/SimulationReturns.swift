import SluicePolicy

@testable import SluiceEngine

/// When all replicas had an outage at once, and how they came back.
struct SimulationReturns {
    struct Outage {
        /// When the last replica lost the store, and when the first one reached it again, ms since the epoch; nil
        /// during the outage.
        var startMs: Int64
        var firstBackMs: Int64?
        /// When the last replica reached it again; nil before that.
        var lastBackMs: Int64?
        /// When some replica lost it again after the first one had reached it, or found it without its data after all
        /// had; nil if none did.
        var brokenMs: Int64?

        /// Whether every replica came back while the others waited for it, and stayed at least until a window's end.
        func isWhole(until endMs: Int64) -> Bool {
            guard let firstBackMs, let lastBackMs else { return false }
            // Each waits from its own return: the first one has the earliest end.
            return lastBackMs - firstBackMs < EngineBounds.maxRecoveryNs / 1_000_000 - 200
                && brokenMs ?? .max >= endMs
        }
    }

    private(set) var outages: [Outage] = []
    private var isThere: [Bool]
    /// How many data losses each replica had found.
    private var losses: [Int64]

    init(replicas: Int) {
        isThere = [Bool](repeating: false, count: replicas)
        losses = [Int64](repeating: 0, count: replicas)
    }

    /// The present outage, or the last one; -1: none yet.
    var current: Int { outages.count - 1 }

    mutating func note(_ replica: Int, isThere isThereNow: Bool, losses lossesNow: Int64, nowMs: Int64) {
        // It counts alone until the others have restored, who have lost nothing if only its marker is gone.
        if lossesNow > losses[replica], let last = outages.indices.last, outages[last].lastBackMs != nil,
            outages[last].brokenMs == nil
        {
            outages[last].brokenMs = nowMs
        }
        losses[replica] = lossesNow
        guard isThere[replica] != isThereNow else { return }
        isThere[replica] = isThereNow
        if isThereNow {
            guard let last = outages.indices.last else { return }
            if outages[last].firstBackMs == nil { outages[last].firstBackMs = nowMs }
            if isThere.allSatisfy({ $0 }), outages[last].lastBackMs == nil { outages[last].lastBackMs = nowMs }
        } else {
            if let last = outages.indices.last, outages[last].firstBackMs != nil, outages[last].brokenMs == nil {
                outages[last].brokenMs = nowMs
            }
            if !isThere.contains(true) { outages.append(Outage(startMs: nowMs)) }
        }
    }
}

extension SimulationOracle {
    /// A replica reached the store, or lost it, or found data losses, these in all.
    mutating func notes(_ replica: Int, isThere: Bool, losses: Int64, nowMs: Int64) {
        returns.note(replica, isThere: isThere, losses: losses, nowMs: nowMs)
    }

    /// What windows admitted in all, if all replicas had an outage and all came back: in windows that began meanwhile
    /// the maximum, in those that were open before with the usage not seen then.
    func judgeReturns(_ bounds: inout SimulationBounds) throws {
        for (window, usage) in usages where usage.admittedUnconfirmed == 0 && usage.admittedBlindly == 0 {
            let touched = returns.outages.indices.filter {
                returns.outages[$0].startMs < usage.endMs && (returns.outages[$0].firstBackMs ?? .max) > window.startMs
            }
            guard touched.count == 1, let index = touched.first, usage.lastOutage <= index else { continue }
            let outage = returns.outages[index]
            guard outage.isWhole(until: usage.endMs), let firstBackMs = outage.firstBackMs, firstBackMs < usage.endMs,
                usage.views.allSatisfy({ $0.spells <= 1 }), usage.admittedUnshared > 0,
                // An outage after the return is another case.
                !isForgotten(startMs: max(firstBackMs, window.startMs), endMs: usage.endMs)
            else { continue }
            let admitted = usage.admitted + usage.admittedUnshared
            let what =
                "\(window), \(usage.admittedLocally) locally, \(usage.admitted) shared, \(usage.views), \(outage)"
            if window.startMs > outage.startMs {
                try bounds.judge(.returned, admitted, of: usage.max, what)
            } else if !isForgotten(startMs: window.startMs, endMs: usage.endMs) {
                // Whoever came back first admitted its share of what it saw left, too.
                let seen = usage.views.compactMap { $0.shareSeen(outage: index) }.min() ?? 0
                let before = usage.admittedBefore(outage: index)
                // What others had in blocks then was unseen, too, and is spent later.
                let unseen = max(0, (usage.limit.precision == .leased ? usage.admitted : before) - seen)
                try bounds.judge(
                    .returnedOpen, admitted, of: usage.max + unseen + usage.credited.reduce(0, +), what)
            }
        }
    }
}

extension SimulationOracle.Usage {
    /// The store admitted some.
    mutating func admitShared(_ cost: Int64, outage: Int) {
        if outage != lastOutage {
            admittedBeforeOutage = admitted
            lastOutage = outage
        }
        admitted += cost
    }

    /// How much the store had admitted when the outage with that number began.
    func admittedBefore(outage: Int) -> Int64 { lastOutage == outage ? admittedBeforeOutage : admitted }
}
