/// The parts of a counter that only sliding logs need.
extension Counter {
    var log: LogUsage? { if case .log(let log)? = other?.value { log } else { nil } }

    /// Changes the log in place: while anything else refers to it, each change would copy it.
    mutating func changeLog(_ change: (inout LogUsage) -> Void) {
        guard case .log(var log)? = other?.value else { return }
        other?.value = .slots(SlotUsage())
        change(&log)
        other?.value = .log(log)
    }

    /// The part of a reply that `observe` does not read.
    ///
    /// - Parameter numbers: as in `Batch.logUsageCount`.
    mutating func observeLog(_ numbers: ArraySlice<Int64>) { changeLog { $0.observe(numbers) } }

    /// Local admissions turned out to be in the store, as in `markStored`.
    mutating func markLogStored(_ steps: [UsageLog.Step]) {
        changeLog { log in for step in steps { log.markStored(step.units, atMs: step.ms) } }
    }

    /// An unanswered batch turned out to have run, as in `confirm`.
    ///
    /// - Parameter chargedMs: the latest time at which it may have run.
    mutating func confirmLog(_ steps: [UsageLog.Step], chargedMs: Int64) {
        changeLog { log in for step in steps { log.confirm(step.units, atMs: step.ms, chargedMs: chargedMs) } }
        isSeen = true
    }

    /// The store charged what was spent of the share later than its windows were cut.
    mutating func moveShare(_ amount: Int64, fromMs: Int64, toMs: Int64) {
        changeLog { log in
            log.take(-amount, atMs: fromMs)
            log.take(amount, atMs: toMs)
        }
    }

    /// The log's part of `boxedBytes`.
    var logBytes: Int { log?.countedBytes ?? 0 }

    /// Updates the count of the log's bytes.
    ///
    /// - Returns: by how many bytes it grew.
    mutating func countLogBytes() -> Int {
        guard let log, log.bytes != log.countedBytes else { return 0 }
        let more = log.bytes - log.countedBytes
        changeLog { $0.countedBytes = $0.bytes }
        return more
    }
}
