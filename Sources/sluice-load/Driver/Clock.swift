import Glibc

/// The driver's clocks and its processor time.
enum Clock {
    /// CLOCK_MONOTONIC, ns.
    static func nowNs() -> Int64 { ns(CLOCK_MONOTONIC) }

    /// CLOCK_REALTIME, ns since 1970.
    static func wallNs() -> Int64 { ns(CLOCK_REALTIME) }

    /// The processor time of this process so far, user and system, ns.
    static func processorNs() -> Int64 {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return [usage.ru_utime, usage.ru_stime].reduce(0) {
            $0 + Int64($1.tv_sec) * 1_000_000_000 + Int64($1.tv_usec) * 1000
        }
    }

    /// The processor clock of the calling thread; any thread may read it with `ns` while the thread lives.
    static func ofThisThread() -> clockid_t {
        var clock = clockid_t()
        pthread_getcpuclockid(pthread_self(), &clock)
        return clock
    }

    /// What a clock shows, ns.
    static func ns(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
