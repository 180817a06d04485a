import SluicePolicy

/// One counter that an operator clears, and what came of it.
package struct CounterClearing: Sendable, Equatable {
    package enum Outcome: Sendable, Equatable {
        /// What it held, in units of cost; for slots, how many are taken, which were left.
        case held(Int64)
        /// The store could not read it: its words.
        case fault(String)
    }

    /// As it was listed; if its window has ended since, the open one is cleared.
    package let key: CounterKey
    /// Without a window.
    let quota: Quota
    package internal(set) var outcome: Outcome?

    init(_ key: CounterKey, _ quota: Quota) {
        self.key = key
        self.quota = quota
    }

    /// The key of the open window, with its quota; those of the listed window if nothing of it counts any more, which the
    /// store then says.
    func open(atMs nowMs: Int64) -> (key: CounterKey, quota: Quota) {
        let open = key.open(atMs: nowMs) ?? key
        return (open, quota.at(Counter.bounds(of: open.window, open.algorithm, at: open.windowStartMs)))
    }
}
