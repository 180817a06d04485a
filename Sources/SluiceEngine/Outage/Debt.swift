/// What the store is to be told of one window (one bucket) of one counter, by itself and not for any check.
struct Debt: Equatable {
    enum Kind {
        /// What was admitted here without the store: it is added once.
        case addition
        /// What the store had told before it forgot: it is raised to that, and so may be told as often as one likes.
        case offer
    }

    var kind: Kind
    /// In units of cost; of a token bucket, as `Tally.used`.
    var amount: Int64
    /// A time within the window.
    var windowMs: Int64

    init(_ kind: Kind, _ amount: Int64, windowMs: Int64) {
        self.kind = kind
        self.amount = amount
        self.windowMs = windowMs
    }
}

extension Terms {
    /// A token bucket that is charged levels instead of costs, and has room for every one.
    var unlimitedLevel: Terms {
        var terms = self
        terms.lengthMs = 1
        terms.burst = Self.maxExact
        return terms
    }
}
