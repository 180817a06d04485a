/// Which counters an operator asks for.
package struct CounterQuery: Sendable, Equatable {
    /// Prefix of all counters' keys: see `LimiterConfiguration.keyPrefix`.
    package let keyPrefix: String
    /// Only this grant's counters; nil: all, including those that grants share.
    package let grant: String?
    /// Only this tool's counters; nil: all, including those of limits over all tools.
    package let tool: String?
    /// The most counters to return.
    package let limit: Int
    /// The prefix of every key that may match.
    package let beginning: [UInt8]
    /// The container, after the hash tag, of every key that may match; nil for any.
    package let container: [UInt8]?

    package init(keyPrefix: String, grant: String? = nil, tool: String? = nil, limit: Int) {
        self.keyPrefix = keyPrefix
        self.grant = grant
        self.tool = tool
        self.limit = limit
        beginning =
            grant.map { CounterKey.grantPrefix(prefix: keyPrefix, grant: $0.utf8) } ?? CounterKey.prefix(keyPrefix)
        container = tool.map { CounterKey.container(ofTool: $0) + ":".utf8 }
    }

    /// Whether a key may match, by its bytes alone: quickly skips the many that do not.
    package func mayMatch(_ key: ArraySlice<UInt8>) -> Bool {
        guard key.starts(with: beginning) else { return false }
        guard let container else { return true }
        // Names contain no unencoded brace.
        guard let end = key.firstIndex(of: UInt8(ascii: "}")), key.index(after: end) < key.endIndex else {
            return false
        }
        return key[(end + 2)...].starts(with: container)
    }

    /// Compares names by their bytes, as the store does, not by Unicode equivalence.
    package func matches(_ key: CounterKey) -> Bool {
        func isSame(_ wanted: String?, _ name: String?) -> Bool {
            guard let wanted else { return true }
            return name.map { $0.utf8.elementsEqual(wanted.utf8) } ?? false
        }
        return isSame(grant, key.grant) && isSame(tool, key.tool)
    }
}

/// A counter as the store holds it.
package struct StoredCounter: Sendable, Equatable {
    /// The key of the window that was open by the store's clock.
    package var key: CounterKey
    /// For a token bucket, its level when it was last written.
    package var usage: Usage
    /// For a token bucket: when that was, ms since the epoch.
    package var lastMs: Int64
    /// For a log.
    package var log: UsageLog

    package init(key: CounterKey, usage: Usage, lastMs: Int64 = 0, log: UsageLog = UsageLog()) {
        self.key = key
        self.usage = usage
        self.lastMs = lastMs
        self.log = log
    }
}

/// The store's counters that match a query.
package struct StoredCounters: Sendable, Equatable {
    package var counters: [StoredCounter]
    /// The store's clock when it reported the last of them, ms since the epoch.
    package var timeMs: Int64
    /// Whether it reported all that match, or as many as were asked for; else time ran out.
    package var isWhole: Bool

    package init(counters: [StoredCounter], timeMs: Int64, isWhole: Bool = true) {
        self.counters = counters
        self.timeMs = timeMs
        self.isWhole = isWhole
    }
}
