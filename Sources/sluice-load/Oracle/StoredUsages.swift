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

    package struct Usage: Sendable, Equatable {
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
        /// From the sidecar's `COUNTERS`, which reports open windows only.
        case sidecar = "a sidecar"
    }

    package var origin: Origin
    package var usages: [Key: Usage] = [:]
    /// By rule, the start of the open window: a window without a counter was charged nothing. Empty if that is unknown.
    package var openStartMs: [String: Int64] = [:]
    /// Whether there were more than were read.
    package var isTruncated = false

    package init(origin: Origin) { self.origin = origin }

    /// The usage of a window; nil if it is unknown.
    func usage(of key: Key) -> Usage? {
        if let usage = usages[key] { return usage }
        guard !isTruncated, openStartMs[key.rule] == key.startMs else { return nil }
        return Usage(used: 0, isOpen: true)
    }
}

/// The result of reading them.
package enum CounterReading: Sendable {
    case read(StoredUsages)
    /// The reason for a failure.
    case unread(String)
}
