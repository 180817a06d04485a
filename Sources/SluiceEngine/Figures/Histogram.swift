/// How often a measured value was at most each of a few fixed bounds: for metrics.
package struct Histogram: Sendable, Equatable {
    /// Ascending. Values above the last are counted, too.
    package let bounds: [Int64]
    /// One for each bound, not cumulative, and one for what is above.
    package private(set) var counts: [Int64]
    /// Of all values; it stops at the largest number.
    package private(set) var sum: Int64 = 0

    package init(bounds: [Int64]) {
        self.bounds = bounds
        counts = [Int64](repeating: 0, count: bounds.count + 1)
    }

    package var count: Int64 { counts.reduce(0, +) }

    /// - Parameter times: how many values there are; they are equal.
    mutating func add(_ value: Int64, times: Int64 = 1) {
        var place = 0
        // Most values are at most the first bounds.
        while place < bounds.count && value > bounds[place] { place += 1 }
        counts[place] &+= times
        let (all, overflows) = value.multipliedReportingOverflow(by: times)
        let (total, isAbove) = sum.addingReportingOverflow(overflows ? .max : all)
        sum = isAbove ? .max : total
    }

    mutating func add(_ other: Histogram) {
        precondition(bounds == other.bounds)
        for place in counts.indices { counts[place] += other.counts[place] }
        let (total, isAbove) = sum.addingReportingOverflow(other.sum)
        sum = isAbove ? .max : total
    }
}
