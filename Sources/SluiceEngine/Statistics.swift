/// Counts events since the start, for status, metrics and tests.
package struct Statistics: Sendable, Equatable {
    /// Answers by source, then verdict; peeks included.
    private var answers = [Int64](
        repeating: 0, count: Decision.Source.allCases.count * Decision.Verdict.allCases.count)
    /// Checks answered `BUSY`, for any cause.
    package var overloaded: Int64 = 0
    /// Checks answered after their budget had passed.
    package var late: Int64 = 0
    /// Checks that waited too long for the store, and were then answered locally.
    package var timedOut: Int64 = 0
    package var batches: Int64 = 0
    package var entries: Int64 = 0
    /// Checks sent to the store in those entries.
    package var coalesced: Int64 = 0
    /// Batches sent again, whole or in part, because they had not run.
    package var resends: Int64 = 0
    /// Entries that failed because of a faulty key.
    package var faults: Int64 = 0
    /// Outages of the store.
    package var outages: Int64 = 0
    /// Write-backs of local admissions to a counter of the store.
    package var settled: Int64 = 0
    /// How often windows went back because the store's clock stayed behind.
    package var clockFollows: Int64 = 0
    /// Data losses of the store.
    package var dataLosses: Int64 = 0
    /// What only metrics report.
    package internal(set) var figures = Figures()

    /// Checks answered `BUSY`, by cause.
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
        figures.rules.count(decision)
    }

    /// The same for a decision that was combined from those of several partitions.
    mutating func countCombined(_ decision: borrowing Decision) {
        answers[Self.slot(decision.source, decision.verdict)] += 1
        figures.rules.countByName(decision)
    }

    /// Takes back a decision that was counted, because it is only a part of a check's.
    mutating func uncount(_ decision: borrowing Decision) {
        answers[Self.slot(decision.source, decision.verdict)] -= 1
        figures.rules.uncount(decision)
    }

    /// Adds the counts of another partition.
    mutating func add(_ other: Statistics) {
        for index in answers.indices { answers[index] += other.answers[index] }
        for index in busy.indices { busy[index] += other.busy[index] }
        overloaded += other.overloaded
        late += other.late
        timedOut += other.timedOut
        batches += other.batches
        entries += other.entries
        coalesced += other.coalesced
        resends += other.resends
        faults += other.faults
        outages += other.outages
        settled += other.settled
        clockFollows += other.clockFollows
        dataLosses += other.dataLosses
        figures.add(other.figures)
    }

    private static func slot(_ source: Decision.Source, _ verdict: Decision.Verdict) -> Int {
        Int(source.rawValue) * Decision.Verdict.allCases.count + Int(verdict.rawValue)
    }
}
