/// Counts events since the start, for status, metrics and tests.
package struct Statistics: Sendable, Equatable {
    /// How many decisions by each source have no duration yet, `undatedBits` for each: see `date`.
    private var undated: UInt64 = 0
    private static let undatedBits: UInt64 = 12

    /// Checks that waited equally long for one source, and are not in the durations yet: see `dateWaited`.
    private struct Waited: Sendable, Equatable {
        var tookNs: Int64 = 0
        var source = Decision.Source.shared
        var count: Int64 = 0
    }

    private var waited = Waited()
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
    /// Blocks that the store granted, of any size.
    package var leases: Int64 = 0
    /// Units of blocks that stay charged until their windows end, because the answers to their batches never came.
    package var lostLeaseUnits: Int64 = 0
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
    /// Single counters that the store had lost.
    package var counterLosses: Int64 = 0
    /// Counters that operators cleared through this replica, and that held something.
    package var clearedCounters: Int64 = 0
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

    /// Answers by source and verdict; peeks included.
    package func answers(_ source: Decision.Source, _ verdict: Decision.Verdict) -> Int64 {
        figures.rules.total(source, verdict)
    }

    package func answers(_ source: Decision.Source) -> Int64 {
        Decision.Verdict.allCases.reduce(0) { $0 + answers(source, $1) }
    }

    package var total: Int64 { Decision.Source.allCases.reduce(0) { $0 + answers($1) } }

    /// Counts a decision. It has no duration until `date` is called.
    ///
    /// Never inlined: the checks that call it would become too long to be inlined themselves.
    @inline(never)
    mutating func count(_ decision: borrowing Decision) {
        figures.rules.count(decision)
        undated &+= 1 &<< (UInt64(decision.source.rawValue) &* Self.undatedBits)
    }

    /// A check that waited is decided: counts the decision, and how long it took.
    mutating func count(_ decision: borrowing Decision, tookNs: Int64) {
        figures.rules.count(decision)
        // Checks that came together and are answered by one batch have waited equally long.
        if tookNs == waited.tookNs, decision.source == waited.source {
            waited.count &+= 1
        } else {
            dateWaited()
            waited = Waited(tookNs: tookNs, source: decision.source, count: 1)
        }
    }

    /// Gives the checks that waited their duration: before the figures are read.
    mutating func dateWaited() {
        if waited.count > 0 { figures.addDuration(waited.tookNs, waited.source, times: waited.count) }
        waited.count = 0
    }

    /// Gives the decisions that were made at once in this run of checks, which has at most
    /// `EngineBounds.maxIdentitiesPerRun`, one duration.
    @inline(__always)
    mutating func date(tookNs: Int64) {
        guard undated != 0 else { return }
        for source in Decision.Source.allCases {
            let shift = UInt64(source.rawValue) &* Self.undatedBits
            let count = Int64(undated >> shift & (1 << Self.undatedBits - 1))
            if count > 0 { figures.addDuration(tookNs, source, times: count) }
        }
        undated = 0
    }

    /// Counts a decision that was combined from those of several partitions.
    mutating func countCombined(_ decision: borrowing Decision) { figures.rules.countByName(decision) }

    /// Takes back a decision that was counted, because it is only a part of a check's.
    mutating func uncount(_ decision: borrowing Decision) { figures.rules.uncount(decision) }

    /// Adds the counts of another partition.
    mutating func add(_ other: Statistics) {
        for index in busy.indices { busy[index] += other.busy[index] }
        overloaded += other.overloaded
        late += other.late
        timedOut += other.timedOut
        batches += other.batches
        entries += other.entries
        coalesced += other.coalesced
        leases += other.leases
        lostLeaseUnits = min(Quota.maxExact, lostLeaseUnits + other.lostLeaseUnits)
        resends += other.resends
        faults += other.faults
        outages += other.outages
        settled += other.settled
        clockFollows += other.clockFollows
        dataLosses += other.dataLosses
        counterLosses += other.counterLosses
        clearedCounters += other.clearedCounters
        figures.add(other.figures)
    }
}
