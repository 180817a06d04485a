/// Which counters a person wants to see.
package struct CounterQuery: Sendable, Equatable {
    /// What the keys of all counters begin with: see `LimiterConfiguration.keyPrefix`.
    package let keyPrefix: String
    /// Only this grant's counters; nil: all, those that grants share as well.
    package let grant: String?
    /// Only this tool's counters; nil: all, those of limits over all tools as well.
    package let tool: String?
    /// At most so many.
    package let limit: Int
    /// How every key begins that may match.
    package let beginning: [UInt8]
    /// What comes behind the tag of every key that may match, if not anything.
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

    /// Whether a key may be one that matches: told by its bytes, for the many that do not.
    package func mayMatch(_ key: ArraySlice<UInt8>) -> Bool {
        guard key.starts(with: beginning) else { return false }
        guard let container else { return true }
        // No name holds a brace that is not encoded.
        guard let end = key.firstIndex(of: UInt8(ascii: "}")), key.index(after: end) < key.endIndex else {
            return false
        }
        return key[(end + 2)...].starts(with: container)
    }

    /// Names are compared by their bytes, as the store does: not as letters that look alike.
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
    /// Of the window that was open by the store's clock.
    package var key: CounterKey
    /// Of a token bucket, its level when it was last written.
    package var usage: Usage
    /// Of a token bucket: when that was, ms since the epoch.
    package var lastMs: Int64
    /// Of a log.
    package var log: UsageLog

    package init(key: CounterKey, usage: Usage, lastMs: Int64 = 0, log: UsageLog = UsageLog()) {
        self.key = key
        self.usage = usage
        self.lastMs = lastMs
        self.log = log
    }
}

/// What the store told of the counters that match a query.
package struct StoredCounters: Sendable, Equatable {
    package var counters: [StoredCounter]
    /// The store's clock when it told of the last of them, ms since the epoch.
    package var timeMs: Int64
    /// Whether it has told of all that match, or of as many as were wanted; else time ran out.
    package var isWhole: Bool

    package init(counters: [StoredCounter], timeMs: Int64, isWhole: Bool = true) {
        self.counters = counters
        self.timeMs = timeMs
        self.isWhole = isWhole
    }
}
