/// What the store is to be told of one window (one bucket) of one counter, by itself and not for any check.
struct WriteBack: Equatable {
    enum Kind {
        /// What was admitted here without the store: it is added once.
        case increment
        /// What the store had told before it forgot: it is raised to that, and so may be told as often as one likes.
        case restore
    }

    var kind: Kind
    /// In units of cost; of a token bucket, as `Usage.used`.
    var amount: Int64
    /// A time within the window.
    var windowMs: Int64

    init(_ kind: Kind, _ amount: Int64, windowMs: Int64) {
        self.kind = kind
        self.amount = amount
        self.windowMs = windowMs
    }
}

extension Quota {
    /// A token bucket that is charged levels instead of costs, and has room for every one.
    var unlimitedLevel: Quota {
        var quota = self
        quota.lengthMs = 1
        quota.burst = Self.maxExact
        return quota
    }
}
