@testable import sluice_load
import SluiceProtocol

/// An oracle with its own clock that gets one answer after the other: each check is sent 1 ms after the answer before
/// it was read, and answered 1 ms later, unless said otherwise.
struct OracleFixture {
    static let rule = "/tools/t/limits/c"

    var oracle: Oracle
    var nowNs: Int64 = 1_000_000_000

    init(
        subjects: Int = 2, sidecars: Int = 2, replicas: Int = 2, limits: [String: JudgedLimit] = [:],
        startsEmpty: Bool = false
    ) {
        oracle = Oracle(
            subjects: subjects, sidecars: sidecars, replicas: replicas, budgetNs: 20_000_000,
            limits: limits, startsEmpty: startsEmpty)
    }

    mutating func answer(
        _ isAllowed: Bool, _ source: ReplySource, used: Int64, max: Int64 = 10, window: Int64 = 1, subject: Int = 0,
        sidecar: Int = 0, cost: Int64 = 1, rule: String = rule, tookNs: Int64 = 1_000_000, agoNs: Int64? = nil
    ) {
        answer(
            isAllowed, source, [TraceEntry(rule: rule, windowStartMs: window * 1000, used: used, max: max)],
            subject: subject, sidecar: sidecar, cost: cost, tookNs: tookNs, agoNs: agoNs)
    }

    mutating func answer(
        _ isAllowed: Bool, _ source: ReplySource, _ trace: [TraceEntry]?, subject: Int = 0, sidecar: Int = 0,
        kind: Int = 0, cost: Int64 = 1, tookNs: Int64 = 1_000_000, agoNs: Int64? = nil
    ) {
        nowNs += 1_000_000 + tookNs
        let sentNs = nowNs - (agoNs ?? tookNs)
        let answer = Oracle.Answer(
            subject: subject, sidecar: sidecar, kind: kind, isAllowed: isAllowed, source: source, cost: cost,
            sentNs: sentNs, receivedNs: nowNs)
        oracle.observe(answer, trace: trace)
    }

    /// Admits 1 to `count` of a window with shared answers.
    mutating func admitShared(_ tallies: ClosedRange<Int64>, window: Int64 = 1, subject: Int = 0, sidecar: Int = 0) {
        for used in tallies {
            answer(true, .shared, used: used, window: window, subject: subject, sidecar: sidecar)
        }
    }

    /// Admits so many with local answers.
    mutating func admitLocally(
        _ count: Int, window: Int64 = 1, sidecar: Int = 0, max: Int64 = 10, tookNs: Int64 = 1_000_000
    ) {
        for _ in 0..<count {
            answer(true, .local, used: 0, max: max, window: window, sidecar: sidecar, tookNs: tookNs)
        }
    }

    /// Settles a reservation of a window to a cost.
    /// - Parameter isDone: how that is answered; nil if it is not.
    mutating func settle(cost: Int64 = 1, to committed: Int64, window: Int64 = 1, isDone: Bool? = true) {
        let answer = Oracle.Answer(
            subject: 0, sidecar: 0, isAllowed: true, source: .shared, cost: cost, sentNs: nowNs, receivedNs: nowNs)
        let trace = [TraceEntry(rule: Self.rule, windowStartMs: window * 1000, used: 0, max: 10)]
        oracle.settle(answer, to: committed, trace: trace)
        if let isDone { oracle.settled(subject: 0, isDone: isDone) }
    }

    /// Makes windows 1 to 3 of another grant seen, so that 2 lies wholly in the run.
    mutating func surround() {
        for window: Int64 in 1...3 { answer(true, .shared, used: 1, window: window, subject: 1) }
    }

    /// Whether no promise was broken, and no sidecar returned without its local admissions.
    consuming func isSettled() -> Bool {
        let report = oracle.finish()
        return report.isKept && report.unsettledWindows == 0
    }

    /// The promises that were found broken at the end.
    consuming func broken() -> [OracleReport.Break.Promise] { oracle.finish().breaks.map(\.promise) }
}
