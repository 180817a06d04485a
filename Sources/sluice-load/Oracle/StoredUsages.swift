/// What the store has counted, read at the end of a run.
package struct StoredUsages: Sendable {
    package struct Key: Sendable, Hashable {
        package var subject: Int
        package var rule: String
        package var startMs: Int64

        package init(subject: Int, rule: String, startMs: Int64) {
            self.subject = subject
            self.rule = rule
            self.startMs = startMs
        }
    }

    package struct LoadStatistics: Sendable, Equatable {
        package var used: Int64
        /// Whether the window has not ended.
        package var isOpen: Bool

        package init(used: Int64, isOpen: Bool) {
            self.used = used
            self.isOpen = isOpen
        }
    }

    /// Where they were read.
    package enum Origin: String, Sendable {
        case redis = "Redis"
        /// By the sidecar's `COUNTERS`, which tells open windows only.
        case sidecar = "a sidecar"
    }

    package var origin: Origin
    package var tallies: [Key: LoadStatistics] = [:]
    /// By rule, the start of the window that is open: one without a tally was charged nothing. Empty where that cannot be
    /// told.
    package var openStartMs: [String: Int64] = [:]
    /// Whether there were more than are read.
    package var isTruncated = false

    package init(origin: Origin) { self.origin = origin }

    /// The tally of a window; nil where nothing is known of it.
    func tally(of key: Key) -> LoadStatistics? {
        if let tally = tallies[key] { return tally }
        guard !isTruncated, openStartMs[key.rule] == key.startMs else { return nil }
        return LoadStatistics(used: 0, isOpen: true)
    }
}

/// What came of reading them.
package enum CounterReading: Sendable {
    case read(StoredUsages)
    /// Why not.
    case unread(String)
}
