/// The intervals of one window's usage that the observed answers charged.
///
/// An admitted check of cost c that reports a usage of u took (u - c, u]. No two checks may have taken the same unit:
/// if two intervals overlap, a charge was lost. Adjacent intervals are joined, so a complete log has one.
struct ChargeLog: Sendable, Equatable {
    enum Outcome: Sendable, Equatable {
        /// No other check had taken any of it.
        case new
        /// Another check had taken some of it.
        case overlaps
        /// There are too many separate intervals to decide.
        case unknown
    }

    /// Ascending, separate, none empty. `used` of a range's last unit is its upper bound.
    private var stretches: [Range<Int64>] = []
    private let maxStretches: Int

    init(maxStretches: Int = LoadBounds.maxStretches) { self.maxStretches = maxStretches }

    var stretchCount: Int { stretches.count }

    /// - Parameters:
    ///   - used: the usage after the check.
    ///   - cost: at least 1, at most `used`.
    mutating func insert(used: Int64, cost: Int64) -> Outcome {
        let taken = used - cost..<used
        guard let last = stretches.last, taken.lowerBound <= last.upperBound else {
            return append(taken)
        }
        if taken.lowerBound == last.upperBound {
            stretches[stretches.count - 1] = last.lowerBound..<taken.upperBound
            return .new
        }
        return insertBetween(taken)
    }

    private mutating func append(_ taken: Range<Int64>) -> Outcome {
        guard stretches.count < maxStretches else { return .unknown }
        stretches.append(taken)
        return .new
    }

    private mutating func insertBetween(_ taken: Range<Int64>) -> Outcome {
        // The first interval that ends above this one's beginning.
        var low = 0
        var high = stretches.count
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].upperBound <= taken.lowerBound { low = middle + 1 } else { high = middle }
        }
        if low < stretches.count && stretches[low].lowerBound < taken.upperBound { return .overlaps }
        let joinsBefore = low > 0 && stretches[low - 1].upperBound == taken.lowerBound
        let joinsAfter = low < stretches.count && stretches[low].lowerBound == taken.upperBound
        switch (joinsBefore, joinsAfter) {
        case (true, true):
            stretches[low - 1] = stretches[low - 1].lowerBound..<stretches[low].upperBound
            stretches.remove(at: low)
        case (true, false):
            stretches[low - 1] = stretches[low - 1].lowerBound..<taken.upperBound
        case (false, true):
            stretches[low] = taken.lowerBound..<stretches[low].upperBound
        case (false, false):
            guard stretches.count < maxStretches else { return .unknown }
            stretches.insert(taken, at: low)
        }
        return .new
    }
}
