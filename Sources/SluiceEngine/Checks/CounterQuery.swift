import SluicePolicy

/// Where a reading of the store's counters goes on: in a page of its keys, in the order of their hashes. A key that is there
/// all the time is not missed, whatever else comes and goes; one may be read twice.
package struct StorePlace: Sendable, Equatable {
    /// As the store numbers its pages; 0 is the first.
    package var page: UInt64 = 0
    /// Of that page, keys with a hash up to this one were read; nil: none.
    package var after: UInt64?

    package static let beginning = StorePlace()

    package init(page: UInt64 = 0, after: UInt64? = nil) {
        self.page = page
        self.after = after
    }
}

/// Which counters come first.
package enum CounterOrder: Sendable, Equatable {
    /// The most used.
    case used
    /// Those with the least left.
    case remaining
    /// By grant, tool, counter and subject.
    case grant
}

/// Which counters an operator asks for.
package struct CounterQuery: Sendable, Equatable {
    /// What all counters' keys begin with.
    package let keys: KeySpace
    /// Only this grant's counters; nil: all, including those that grants share.
    package let grant: String?
    /// Only this tool's counters; nil: all, including those of limits over all tools.
    package let tool: String?
    /// The most counters that the store returns.
    package let limit: Int
    /// Where in the store to begin.
    package var place = StorePlace.beginning
    /// Only counters of which nothing is left. That depends on the policy, so it is not the store that selects them.
    package var isAtLimit = false
    /// Which of all that match are reported; nil: those found first. The store knows no order.
    package var order: CounterOrder?
    /// The prefix of every key that may match.
    package let beginning: [UInt8]
    /// The containers, after the owner and the server, of keys that may match: of a name with `*` the tool's and the
    /// pattern's. Empty for any.
    package let containers: [[UInt8]]

    package init(in keys: KeySpace, grant: String? = nil, tool: String? = nil, limit: Int) {
        self.keys = keys
        self.grant = grant
        self.tool = tool
        self.limit = limit
        beginning = grant.map { keys.grantPrefix($0.utf8) } ?? keys.beginning
        containers =
            tool.map { tool in
                ([.tool(tool)] + (NamePattern.isPattern(tool) ? [.pattern(tool)] : [])).map { CounterKey.spelt($0) }
            } ?? []
    }

    /// A pattern for `SCAN` that covers every key that may match; characters special to patterns are escaped.
    package var pattern: [UInt8] {
        // Before it there may be a server. The `*` of a pattern's container is left as it is: it then matches the tool's
        // container, too.
        let container = containers.last.map {
            "*".utf8 + (grant == nil ? keys.ownerEnd + "*".utf8 : []) + (containers.count == 1 ? Self.escaped($0) : $0)
                + ":".utf8
        }
        return Self.escaped(beginning) + (container ?? []) + "*".utf8
    }

    private static func escaped(_ bytes: [UInt8]) -> [UInt8] {
        bytes.flatMap { "*?[]\\^-".utf8.contains($0) ? [UInt8(ascii: "\\"), $0] : [$0] }
    }

    /// Whether a key may match, by its bytes alone: quickly skips the many that do not.
    package func mayMatch(_ key: ArraySlice<UInt8>) -> Bool {
        guard key.starts(with: beginning) else { return false }
        if containers.isEmpty { return true }
        guard let place = keys.afterOwner(of: key)?.prefix(while: { $0 != UInt8(ascii: ":") }) else { return false }
        // Of a tool of a server what follows the server's name.
        let container = place.lastIndex(of: CounterKey.serverEnd).map { place[($0 + 1)...] } ?? place
        return containers.contains { container.elementsEqual($0) }
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
    /// Where the reading goes on behind it.
    package var place = StorePlace.beginning

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
    /// Where the reading goes on; nil: it came to the end.
    package var next: StorePlace?

    package init(counters: [StoredCounter], timeMs: Int64, isWhole: Bool = true) {
        self.counters = counters
        self.timeMs = timeMs
        self.isWhole = isWhole
    }
}
