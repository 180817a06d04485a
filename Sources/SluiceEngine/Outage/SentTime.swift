/// When a batch was sent, by the monotonic clock: rounded down to some 67 ms, so that each counter has room for it.
struct SentTime: Equatable {
    private let rawValue: UInt32
    private static let shift: Int64 = 26

    /// Long before any batch.
    static let never = SentTime(ns: 0)

    init(ns: Int64) { rawValue = UInt32(truncatingIfNeeded: ns >> Self.shift) }

    /// The earliest time that it may be, ns.
    var ns: Int64 { Int64(rawValue) << Self.shift }
}
