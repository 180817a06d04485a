/// An increment, a decrement or a restore of one window (or bucket) of one counter in the store, not for any check.
struct WriteBack: Equatable {
    enum Kind {
        /// Local admissions without the store: added once.
        case increment
        /// What was given back without the store: subtracted once.
        case decrement
        /// The usage last seen before a data loss. The counter is raised to it, so it may be sent repeatedly.
        case restore
    }

    var kind: Kind
    /// In units of cost; for a token bucket, as `Usage.used`.
    var amount: Int64
    /// A time within the window.
    var windowMs: Int64

    init(_ kind: Kind, _ amount: Int64, windowMs: Int64) {
        self.kind = kind
        self.amount = amount
        self.windowMs = windowMs
    }
}
