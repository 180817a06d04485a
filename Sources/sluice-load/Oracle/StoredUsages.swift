/// What the store has counted, read at the end of a run.
struct StoredUsages: Sendable {
    struct Key: Sendable, Hashable {
        var subject: Int
        var rule: String
        var startMs: Int64
    }

    struct Usage: Sendable, Equatable {
        var used: Int64
        /// Whether the window has not ended.
        var isOpen: Bool
    }

    /// Where they were read.
    enum Origin: String, Sendable {
        case redis = "Redis"
        /// From the sidecar's `COUNTERS`, which reports open windows only.
        case sidecar = "a sidecar"
    }

    var origin: Origin
    var usages: [Key: Usage] = [:]
    /// By rule, the start of the open window: a window without a counter was charged nothing. Empty if that is unknown.
    var openStartMs: [String: Int64] = [:]
    /// Whether there were more than were read.
    var isTruncated = false

    /// The usage of a window; nil if it is unknown.
    func usage(of key: Key) -> Usage? {
        if let usage = usages[key] { return usage }
        guard !isTruncated, openStartMs[key.rule] == key.startMs else { return nil }
        return Usage(used: 0, isOpen: true)
    }
}

/// The result of reading them.
enum CounterReading: Sendable {
    case read(StoredUsages)
    /// The reason for a failure.
    case unread(String)
}
