import Foundation

/// Finds out whether the machine keeps its processes waiting for a processor: a thread that sleeps for a millisecond at a
/// time and remembers by how much it overslept at worst.
///
/// A test of promises about milliseconds cannot hold a process to them while others have the processors.
package final class StallWatch: Sendable {
    private let stop = StopSign()
    private let worst = Worst()

    private final class Worst: @unchecked Sendable {
        private let lock = NSLock()
        private var value = Duration.zero

        func note(_ stall: Duration) { lock.withLock { value = max(value, stall) } }
        func read() -> Duration { lock.withLock { value } }
    }

    package init() {
        let (stop, worst) = (stop, worst)
        Thread {
            while !stop.isRaised {
                let began = ContinuousClock.now
                usleep(1_000)
                worst.note(ContinuousClock.now - began - .milliseconds(1))
            }
        }.start()
    }

    deinit { stop.raise() }

    /// The longest that it had to wait so far.
    package var longestStall: Duration { worst.read() }
}
