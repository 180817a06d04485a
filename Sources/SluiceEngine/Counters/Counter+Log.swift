/// What only a sliding log's counter has to do.
extension Counter {
    var log: LogUsage? { if case .log(let log)? = other?.value { log } else { nil } }

    /// Changes the log where it lies: while somebody else holds it, each change would copy it.
    mutating func changeLog(_ change: (inout LogUsage) -> Void) {
        guard case .log(var log)? = other?.value else { return }
        other?.value = .slots(SlotUsage())
        change(&log)
        other?.value = .log(log)
    }

    /// What the store told of it beside `observe`.
    ///
    /// - Parameter numbers: as `Batch.logUsageCount` says.
    mutating func observeLog(_ numbers: ArraySlice<Int64>) { changeLog { $0.observe(numbers) } }

    /// What was admitted here turned out to be in the store, as `settle` has it.
    mutating func settleLog(_ steps: [UsageLog.Step]) {
        changeLog { log in for step in steps { log.settle(step.units, atMs: step.ms) } }
    }

    /// A batch whose answer never came turned out to have run, as `resolve` has it.
    ///
    /// - Parameter chargedMs: when it ran at the latest.
    mutating func resolveLog(_ steps: [UsageLog.Step], chargedMs: Int64) {
        changeLog { log in for step in steps { log.resolve(step.units, atMs: step.ms, chargedMs: chargedMs) } }
        isSeen = true
    }

    /// What was spent of the share was charged by the store later than its windows were cut.
    mutating func moveShare(_ amount: Int64, fromMs: Int64, toMs: Int64) {
        changeLog { log in
            log.take(-amount, atMs: fromMs)
            log.take(amount, atMs: toMs)
        }
    }

    /// What of `boxedBytes` is the log's.
    var logBytes: Int { log?.countedBytes ?? 0 }

    /// Takes note of what the log has come to take.
    ///
    /// - Returns: how many bytes more that is.
    mutating func countLogBytes() -> Int {
        guard let log, log.bytes != log.countedBytes else { return 0 }
        let more = log.bytes - log.countedBytes
        changeLog { $0.countedBytes = $0.bytes }
        return more
    }
}
