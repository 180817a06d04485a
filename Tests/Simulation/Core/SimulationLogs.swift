import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// What replicas admitted locally in sliding logs, and wrote back: nothing twice, everything with its time of
/// admission, and no replica more than its share within a window's length.
struct SimulationLogs {
    private struct Admission {
        var replica: Int
        /// The outage: see `Reconciler.outage`.
        var outage: Int16
        var ms: Int64
        var cost: Int64
        /// Whether it was admitted within a share.
        var isShared: Bool
    }

    private var admissions = ByteTable<[Admission]>()
    private var writtenBack = ByteTable<Int64>()
    /// The highest maximum of any check: a reload may have lowered it.
    private var highestMaxima = ByteTable<Int64>()

    /// A check was admitted locally.
    ///
    /// - Parameters:
    ///   - replicas: the number that the replica divides what is left by.
    ///   - judgesShare: whether its share is known: it is a plain check, and no process was restarted.
    mutating func admits(
        _ question: SimulationOracle.Question, by limiter: borrowing Limiter, nowMs: Int64, judgesShare: Bool
    ) throws {
        guard let mixed = question.mixed else { return }
        for (limit, baseKey) in zip(question.limits, mixed.group.baseKeys) where limit.algorithm == .slidingLog {
            let isShared = judgesShare && limit.mode == .enforce && limit.onOutage == .local
            let admission = Admission(
                replica: question.replica, outage: limiter.reconciler.outage, ms: nowMs, cost: question.units(limit),
                isShared: isShared)
            admissions[baseKey, default: []].append(admission)
            let most = max(highestMaxima[baseKey] ?? 0, limit.max)
            highestMaxima[baseKey] = most
            guard isShared else { continue }
            let lengthMs = limit.window.longestLengthMs
            let all = (admissions[baseKey] ?? []).reduce(Int64(0)) { sum, other in
                let counts =
                    other.isShared && other.replica == admission.replica && other.outage == admission.outage
                    && other.ms + lengthMs > nowMs
                return sum + (counts ? other.cost : 0)
            }
            let share = (most + limiter.replicaCount - 1) / limiter.replicaCount
            guard all <= share else {
                throw SimulationFailure(
                    description: "\(all) of a share of \(share) within \(lengthMs) ms: \(limit.rule), \(question)")
            }
        }
    }

    /// The store ran a batch.
    ///
    /// - Parameter isOnce: there was no data loss, so nothing was sent again.
    mutating func add(_ batch: Batch, _ reply: BatchReply, isOnce: Bool) throws -> Int {
        guard reply.status == .ran else { return 0 }
        var added = 0
        var firstKey = 0
        for entry in batch.entries {
            let keys = ModelStore.EntryKeys(of: entry, in: batch, from: &firstKey)
            guard entry.operation < 0, entry.chargeCount == 1 else { continue }
            let charge = batch.charges[entry.firstCharge]
            guard charge.quota.algorithm == .slidingLog, charge.isUnlimited else { continue }
            added += 1
            let baseKey = keys.charges[0][0]
            let admitted = admissions[baseKey] ?? []
            guard admitted.contains(where: { $0.ms == charge.quota.holdMs }) else {
                throw SimulationFailure(
                    description: "written back as of \(charge.quota.holdMs), when nothing was admitted: \(entry)")
            }
            writtenBack[baseKey, default: 0] += entry.cost
            let all = admitted.reduce(0) { $0 + $1.cost }
            guard !isOnce || writtenBack[baseKey] ?? 0 <= all else {
                throw SimulationFailure(description: "\(writtenBack[baseKey] ?? 0) written back of \(all): \(entry)")
            }
        }
        return added
    }
}
