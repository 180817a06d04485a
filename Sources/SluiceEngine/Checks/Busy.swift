/// Why a check was answered `BUSY`: nothing was decided and nothing charged.
package enum Busy: Int, Sendable, CaseIterable {
    /// Too many checks wait for the store.
    case waiting
    /// The grant has taken its part of the table of identities, and none of its rows may go.
    case grant
    /// The same of `CL.THROTTLE`, whose keys are held to one part together.
    case throttle
    /// The table of identities is full, and none of the rows that were looked at may go.
    case table
    /// The same, by bytes: see `LimiterConfiguration.maxTableBytes`.
    case memory
    /// Too many reservations were made here that are not settled: by this grant, or by all.
    case grantReservations
    case reservations
}

/// Tells a person once of each stretch of time in which a table was full: it ends when that has not been so for a while.
struct BusyEpisodes {
    /// When it was last so, by cause; by the monotonic clock.
    private var lastNs = [Int64](repeating: .min / 2, count: Busy.allCases.count + 1)

    /// Checks were answered so just now.
    ///
    /// - Parameter cause: nil where rows were evicted instead.
    /// - Returns: whether that begins an episode.
    mutating func begins(_ cause: Busy?, now: ClockReading) -> Bool {
        let place = cause?.rawValue ?? Busy.allCases.count
        defer { lastNs[place] = now.monotonicNs }
        return now.monotonicNs - lastNs[place] > EngineBounds.busyEpisodeNs
    }
}
