/// The pauses between attempts: half of `min(first * 2^failures, longest)`, plus up to as much again at random, so that
/// replicas that lost the store together do not come back together.
package struct Backoff: Sendable {
    /// Failures in a row.
    package private(set) var failures = 0
    private let longestNs: Int64
    private var random: SeededRandom

    package init(longestNs: Int64, seed: UInt64) {
        self.longestNs = longestNs
        random = SeededRandom(seed: seed)
    }

    /// Counts a failure.
    ///
    /// - Returns: the pause after it.
    package mutating func nextPauseNs() -> Int64 {
        let ceiling = min(EngineBounds.firstBackoffNs << Int64(min(failures, 20)), longestNs)
        failures += 1
        return ceiling / 2 + Int64.random(in: 0...ceiling / 2, using: &random)
    }

    /// Counts a failure that has no pause.
    package mutating func countFailure() { failures += 1 }

    package mutating func reset() { failures = 0 }
}
