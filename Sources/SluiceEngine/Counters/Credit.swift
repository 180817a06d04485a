/// What was given back without the store. It is subtracted from the known usage, and from the store's when that is back.
struct Credit {
    /// In units of the usage that it lowers: 0 to 2^53.
    private(set) var amount: Int64 = 0
    /// While it is not 0, a batch in flight may have given back some of it in the store.
    private var held: Int64 = 0

    /// What may be sent now.
    var unsent: Int64 { held == 0 ? amount : 0 }

    mutating func add(_ more: Int64) { amount = min(Quota.maxExact, amount + more) }

    /// The store has it.
    mutating func remove(_ less: Int64) { amount = max(0, amount - less) }

    /// No more can be given back than counts.
    mutating func bound(by usage: Int64) { amount = min(amount, max(0, usage)) }

    /// Keeps it from being sent; a negative amount ends that.
    mutating func hold(_ more: Int64) { held = max(0, min(Quota.maxExact, held + more)) }
}
