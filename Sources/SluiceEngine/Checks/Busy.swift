/// Why a check was answered `BUSY`: nothing was decided and nothing charged.
package enum Busy: Int, Sendable, CaseIterable {
    /// Too many checks wait for the store.
    case waiting
    /// The grant has its full part of the table of identities, and none of its rows may be evicted.
    case grant
    /// The same for `CL.THROTTLE`, whose keys share one part.
    case throttle
    /// The table of identities is full, and none of the rows examined may be evicted.
    case table
    /// The same, by bytes: see `LimiterConfiguration.maxTableBytes`.
    case memory
    /// Too many unsettled reservations were made here: by this grant, or by all.
    case grantReservations
    case reservations
}

/// Reports a full table once per episode, which ends when the table has not been full for a while.
struct BusyEpisodes {
    /// When each cause was last met, by the monotonic clock.
    private var lastNs = [Int64](repeating: .min / 2, count: Busy.allCases.count + 1)

    /// Notes that checks were answered `BUSY` just now, or rows evicted.
    ///
    /// - Parameter cause: nil if rows were evicted instead.
    /// - Returns: whether this begins an episode.
    mutating func begins(_ cause: Busy?, now: ClockReading) -> Bool {
        let place = cause?.rawValue ?? Busy.allCases.count
        defer { lastNs[place] = now.monotonicNs }
        return now.monotonicNs - lastNs[place] > EngineBounds.busyEpisodeNs
    }
}
