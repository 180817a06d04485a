import Glibc
package import SluiceEngine

/// The only place where the server reads a clock.
package enum SystemClock {
    package static func now() -> ClockReading {
        ClockReading(monotonicNs: nanoseconds(CLOCK_MONOTONIC), wallMs: nanoseconds(CLOCK_REALTIME) / 1_000_000)
    }

    package static func monotonicNs() -> Int64 { nanoseconds(CLOCK_MONOTONIC) }

    private static func nanoseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
