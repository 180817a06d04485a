/// How often notices of one kind may come: some at once, then one in each pause. Whoever brings them about fills no log.
struct NoticePace {
    /// When all that were allowed so far will have had their pause, by the monotonic clock.
    private var paidNs = Int64.min / 2

    mutating func allows(now: ClockReading) -> Bool {
        let nextNs = max(paidNs, now.monotonicNs) + EngineBounds.noticePauseNs
        guard nextNs - now.monotonicNs <= EngineBounds.noticesAtOnce * EngineBounds.noticePauseNs else { return false }
        paidNs = nextNs
        return true
    }
}

/// What has happened since the start: plain tallies, for status, metrics and tests.
package struct Statistics: Sendable, Equatable {
    /// Answers by source, then verdict; peeks included.
    private var answers = [Int64](
        repeating: 0, count: Decision.Source.allCases.count * Decision.Verdict.allCases.count)
    /// Checks that were answered `BUSY`, whatever the cause.
    package var overloaded: Int64 = 0
    /// Checks that were answered after their budget had passed.
    package var late: Int64 = 0
    /// Checks whose time to wait for the store ran out, and that were then answered locally.
    package var timedOut: Int64 = 0
    package var batches: Int64 = 0
    package var entries: Int64 = 0
    /// Checks that went to the store in those entries.
    package var coalesced: Int64 = 0
    /// Batches that were sent again, whole or in part, because they had not run.
    package var resends: Int64 = 0
    /// Entries that failed by a fault of their own key.
    package var faults: Int64 = 0
    /// How often the store went away.
    package var outages: Int64 = 0
    /// How often something that was admitted locally was added to a counter of the store.
    package var settled: Int64 = 0
    /// How often windows went back because the store's clock stayed behind.
    package var clockFollows: Int64 = 0
    /// How often the store had lost its memory.
    package var forgotten: Int64 = 0

    /// Checks that were answered `BUSY`, by cause.
    private var busy = [Int64](repeating: 0, count: Busy.allCases.count)

    package init() {}

    package func busy(_ cause: Busy) -> Int64 { busy[cause.rawValue] }

    mutating func count(_ cause: Busy) {
        overloaded += 1
        busy[cause.rawValue] += 1
    }

    package func answers(_ source: Decision.Source, _ verdict: Decision.Verdict) -> Int64 {
        answers[Self.slot(source, verdict)]
    }

    package func answers(_ source: Decision.Source) -> Int64 {
        Decision.Verdict.allCases.reduce(0) { $0 + answers(source, $1) }
    }

    package var total: Int64 { answers.reduce(0, +) }

    mutating func count(_ decision: borrowing Decision) {
        answers[Self.slot(decision.source, decision.verdict)] += 1
    }

    private static func slot(_ source: Decision.Source, _ verdict: Decision.Verdict) -> Int {
        Int(source.rawValue) * Decision.Verdict.allCases.count + Int(verdict.rawValue)
    }
}
