import DequeModule

/// The changes of a limiter's state that the next records hold: see `Limiter.takeRecords`.
struct UnsavedChanges {
    /// Counters that changed since they were last recorded, each once, with a reference held by this list. Some of
    /// them may have been recorded since, together with a batch.
    var counters: Deque<Int32> = []
    /// Those of them that were changed by a batch's outcome, or that a batch in flight writes back: recorded next,
    /// together with the batch. Each once.
    var tied: [Int32] = []
    /// Counters of an earlier process, with a reference held by this list until nothing of them counts.
    var restored: [Int32] = []
    /// The next position in `restored` to examine for a counter that is over.
    var restoredPosition = 0
    /// All counters of the table before this one have been recorded, changed or not.
    var walkPosition = Int.max
    /// Batches to be recorded again, because the outcome of some checks changed.
    var unconfirmed: Set<Int64> = []
    /// Batches that must be recorded before they are sent.
    var departing: Set<Int64> = []
    /// Batches with a record that is not over.
    var recorded: Set<Int64> = []
    /// Whether to record the replica's progress even if nothing else changed.
    var wantsReplica = false
    /// The last recorded sequence.
    var recordedSequence: Int64 = 0
}
