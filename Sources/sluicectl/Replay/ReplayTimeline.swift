/// Calls of a replay over time, in equal stretches, which become longer whenever there would be too many.
struct ReplayTimeline {
    struct Stretch: Equatable {
        var calls: Int64 = 0
        var newlyDenied: Int64 = 0
    }

    static let maxStretches = 120
    /// Lengths that people know, in seconds, each a multiple of the one before; then it doubles.
    private static let lengths: [Int64] = [1, 5, 15, 60, 300, 900, 3_600, 10_800, 43_200, 86_400]

    /// Begins a whole number of stretches after 1970; -1: there was no call.
    private(set) var firstMs: Int64 = -1
    private(set) var lengthMs: Int64 = 1_000
    private(set) var stretches: [Stretch] = []

    /// - Parameter ms: not before the first call.
    mutating func count(atMs ms: Int64, isNewlyDenied: Bool) {
        if firstMs < 0 { firstMs = ms / lengthMs * lengthMs }
        while (ms - firstMs) / lengthMs >= Int64(Self.maxStretches) { lengthen() }
        let place = max(0, Int((ms - firstMs) / lengthMs))
        while stretches.count <= place { stretches.append(Stretch()) }
        stretches[place].calls += 1
        if isNewlyDenied { stretches[place].newlyDenied += 1 }
    }

    private mutating func lengthen() {
        let longer = Self.lengths.first { $0 * 1_000 > lengthMs }.map { $0 * 1_000 } ?? lengthMs * 2
        let first = firstMs / longer * longer
        var merged: [Stretch] = []
        for (index, stretch) in stretches.enumerated() {
            let place = Int((firstMs + Int64(index) * lengthMs - first) / longer)
            while merged.count <= place { merged.append(Stretch()) }
            merged[place].calls += stretch.calls
            merged[place].newlyDenied += stretch.newlyDenied
        }
        (firstMs, lengthMs, stretches) = (first, longer, merged)
    }
}
