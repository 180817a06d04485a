import Histogram
import SluiceProtocol

/// The results of a run's checks over some time: counts, and latencies.
///
/// Statistics of several connections, threads or seconds can be added.
struct LoadStatistics: Sendable {
    /// Decisions of one source.
    struct Decisions: Sendable, Equatable {
        var allowed: Int64 = 0
        var denied: Int64 = 0
    }

    /// Why a check has no decision.
    enum Failure: Int, Sendable, CaseIterable {
        /// An error reply with the code word `BUSY`.
        case busy
        /// Any other error reply.
        case refused
        /// The reply was not one of Sluice's.
        case malformed
        /// The connection broke before the answer came.
        case lost
        /// An open loop could not send it: its connection was down.
        case unsent
        /// No answer by the end of the run.
        case unanswered
    }

    private var decisions = Array(repeating: Decisions(), count: ReplySource.allCases.count)
    private var failures = Array(repeating: Int64(0), count: Failure.allCases.count)
    /// Reservations that were committed and cancelled, and those that the sidecar no longer knew.
    var committed: Int64 = 0
    var cancelled: Int64 = 0
    var unknownReservations: Int64 = 0
    /// Decisions that took longer than the sidecars' budget.
    var overBudget: Int64 = 0
    /// Those of them that took so long counted from when their checks were really sent; the others were sent late.
    var overBudgetSinceSent: Int64 = 0
    /// Connections that broke or could not be opened.
    var brokenConnections: Int64 = 0
    /// The first error reply or fault, for the report.
    var firstFault: String?
    /// From sending a check (in an open loop: from its intended time) to its answer, ns.
    var latency = LoadStatistics.makeHistogram()
    /// From when an open loop really sent a check to its answer, ns.
    var latencySinceSent = LoadStatistics.makeHistogram()
    /// From sending a settlement to its answer, ns; nil without any.
    private(set) var commitLatency: Histogram<UInt64>?
    private(set) var cancelLatency: Histogram<UInt64>?
    /// How much later than intended an open loop sent its checks, ns.
    var lateness = LoadStatistics.makeHistogram()

    /// 3 digits from 1 ns up: about 300 KiB.
    private static func makeHistogram() -> Histogram<UInt64> {
        Histogram(highestTrackableValue: LoadBounds.maxLatencyNs, numberOfSignificantValueDigits: .three)
    }

    subscript(source: ReplySource) -> Decisions { decisions[source.index] }
    subscript(failure: Failure) -> Int64 { failures[failure.rawValue] }

    var decided: Decisions {
        decisions.reduce(into: Decisions()) {
            $0.allowed += $1.allowed
            $0.denied += $1.denied
        }
    }
    /// How many decisions were read.
    var decisionCount: Int64 { decided.allowed + decided.denied }
    /// How many checks have no decision.
    var failureCount: Int64 { failures.reduce(0, +) }

    @inline(__always)
    mutating func count(_ source: ReplySource, isAllowed: Bool, latencyNs: Int64) {
        if isAllowed { decisions[source.index].allowed += 1 } else { decisions[source.index].denied += 1 }
        latency.record(min(UInt64(max(0, latencyNs)), LoadBounds.maxLatencyNs))
    }

    /// Counts the answer to a settlement: whether it was done.
    mutating func count(_ settlement: RequestPipeline.SettlementKind, isDone: Bool, latencyNs: Int64) {
        let value = min(UInt64(max(0, latencyNs)), LoadBounds.maxLatencyNs)
        switch settlement {
        case .commit:
            commitLatency = commitLatency ?? Self.makeHistogram()
            commitLatency?.record(value)
            if isDone { committed += 1 }
        case .cancel:
            cancelLatency = cancelLatency ?? Self.makeHistogram()
            cancelLatency?.record(value)
            if isDone { cancelled += 1 }
        }
        if !isDone { unknownReservations += 1 }
    }

    /// Counts a decision by the time since its check should have been sent, and since it really was.
    @inline(__always)
    mutating func judge(latencyNs: Int64, sinceSentNs: Int64, budgetNs: Int64, isOpenLoop: Bool) {
        if isOpenLoop { latencySinceSent.record(min(UInt64(max(0, sinceSentNs)), LoadBounds.maxLatencyNs)) }
        guard latencyNs > budgetNs else { return }
        overBudget += 1
        if sinceSentNs > budgetNs { overBudgetSinceSent += 1 }
    }

    mutating func count(_ failure: Failure, _ amount: Int64 = 1) {
        failures[failure.rawValue] += amount
    }

    mutating func note(fault: @autoclosure () -> String) {
        if firstFault == nil { firstFault = fault() }
    }

    private static func add(_ other: Histogram<UInt64>?, to sum: inout Histogram<UInt64>?) {
        guard let other else { return }
        if sum == nil { sum = other } else { sum?.add(other) }
    }

    mutating func recordLateness(_ ns: Int64) {
        lateness.record(min(UInt64(max(0, ns)), LoadBounds.maxLatencyNs))
    }

    mutating func add(_ other: borrowing LoadStatistics) {
        for index in decisions.indices {
            decisions[index].allowed += other.decisions[index].allowed
            decisions[index].denied += other.decisions[index].denied
        }
        for index in failures.indices { failures[index] += other.failures[index] }
        committed += other.committed
        cancelled += other.cancelled
        unknownReservations += other.unknownReservations
        overBudget += other.overBudget
        overBudgetSinceSent += other.overBudgetSinceSent
        brokenConnections += other.brokenConnections
        if firstFault == nil { firstFault = other.firstFault }
        latency.add(other.latency)
        lateness.add(other.lateness)
        latencySinceSent.add(other.latencySinceSent)
        Self.add(other.commitLatency, to: &commitLatency)
        Self.add(other.cancelLatency, to: &cancelLatency)
    }
}

extension ReplySource {
    @inline(__always)
    fileprivate var index: Int {
        switch self {
        case .shared: 0
        case .local: 1
        case .lease: 2
        case .cache: 3
        case .policy: 4
        }
    }
}
