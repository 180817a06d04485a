import DequeModule

/// What of a limiter's state is to be recorded next, so that it outlives the process: see `Limiter.takeRecords`.
struct UnsavedChanges {
    /// Counters that changed since they were last recorded: each once, and used by this as by a plan. Beside them some that
    /// were recorded since, out of their turn.
    var counters: Deque<Int32> = []
    /// Those of them that changed by what became of a batch, or that one on its way is to settle: they are recorded next,
    /// with the batch. Each once.
    var tied: [Int32] = []
    /// Counters that were there before this process began: each is used by this as by a plan, until nothing of it counts.
    var restored: [Int32] = []
    /// Where in `restored` is looked next for one that is over.
    var restoredPosition = 0
    /// Every counter of the table before this one has been recorded, whether it changed or not.
    var walkPosition = Int.max
    /// Batches to be recorded anew because of what became of their checks.
    var unconfirmed: Set<Int64> = []
    /// Batches that must be recorded before they leave.
    var departing: Set<Int64> = []
    /// Batches of which there is a record that is not over.
    var recorded: Set<Int64> = []
    /// Whether how far the replica got is to be recorded even if nothing else is.
    var wantsReplica = false
    /// The last sequence that was recorded.
    var recordedSequence: Int64 = 0
}
