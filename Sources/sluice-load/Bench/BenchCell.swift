/// One measurement of a benchmark: the processes, the loads in turn, and the comparisons.
package struct BenchCell: Sendable, Equatable {
    /// Its name for `--only`.
    package var name: String
    package var stage = Setting()
    /// Loaded one after the other, round by round.
    package var contenders: [Contender]
    /// The rate of an open loop for every contender; nil for closed loops.
    package var rate: Rate?
    package var measures: [Measure] = []
    /// If set, the sidecar's memory is measured instead of rounds.
    package var memory: Memory?

    /// Measures the cost of local counters: between two numbers of live ones.
    package struct Memory: Sendable, Equatable {
        /// One is four times the other: tables double, so they are equally full at both ends.
        package var from: Int
        package var to: Int

        package init(from: Int) {
            self.from = from
            to = 4 * from
        }
    }

    /// The processes that are started for a cell, new for each.
    package struct Setting: Sendable, Equatable {
        package var sidecars = 1
        package var redis = LocalCluster.RedisTransport.unix
        /// Limits that each check is counted by.
        package var limits = 1
        /// Whether the maximum is so high that all is allowed, or so low that nearly all is denied.
        package var isMostlyDenied = false

        package init() {}

        /// The maximum of every limit. It stays far below what Redis and Lua count exactly.
        package var maximum: Int64 { isMostlyDenied ? 10 : 1_000_000_000 }
    }

    /// One of the loads that take turns.
    package struct Contender: Sendable, Equatable {
        package enum Target: String, Sendable {
            /// One script per check, directly at Redis.
            case direct
            /// Checks, dealt over all sidecars.
            case sluice
            /// `PING` to the sidecars, and to Redis.
            case pingSluice
            case pingRedis
        }

        package var name: String
        package var target: Target
        package var load: Load
        /// Whether each grant is checked once before, so that all their counters exist.
        package var isFilled = false

        package init(_ name: String, _ target: Target, _ load: Load, isFilled: Bool = false) {
            self.name = name
            self.target = target
            self.load = load
            self.isFilled = isFilled
        }
    }

    package struct Load: Sendable, Equatable {
        /// Over all sockets.
        package var connections: Int
        package var pipeline: Int
        package var grants: Int
        /// Exponent of Zipf's law; 0 for all grants alike.
        package var skew = 0.0

        package init(connections: Int = 64, pipeline: Int = 16, grants: Int = 100_000, skew: Double = 0) {
            self.connections = connections
            self.pipeline = pipeline
            self.grants = grants
            self.skew = skew
        }
    }

    /// A share of the rate that a contender reaches in a closed loop.
    package struct Rate: Sendable, Equatable {
        package var share: Double
        package var peakOf: String

        package init(share: Double, peakOf: String) {
            self.share = share
            self.peakOf = peakOf
        }
    }

    package init(_ name: String, contenders: [Contender], measures: [Measure] = []) {
        self.name = name
        self.contenders = contenders
        self.measures = measures
    }

    /// A description of the cell.
    package var about: String {
        if let memory {
            return "memory at rest, and from \(Format.count(Int64(memory.from))) to \(Format.count(Int64(memory.to))) "
                + "live local counters, no Redis"
        }
        var parts: [String] = []
        let loads = contenders.map(\.load)
        func add(_ texts: [String]) {
            var distinct: [String] = []
            for text in texts where !distinct.contains(text) { distinct.append(text) }
            parts.append(distinct.joined(separator: " or "))
        }
        add(loads.map { "\(Format.count(Int64($0.connections))) connection\($0.connections == 1 ? "" : "s")" })
        if rate == nil { add(loads.map { "pipeline \($0.pipeline)" }) } else { parts.append("open loop") }
        add(loads.map(\.grantWords))
        if contenders.contains(where: { $0.target == .direct || $0.target == .sluice }) {
            parts.append("\(stage.limits) limit\(stage.limits == 1 ? "" : "s")")
            parts.append(stage.isMostlyDenied ? "mostly denied" : "all allowed")
        }
        if stage.sidecars > 1 { parts.append("\(stage.sidecars) sidecars") }
        switch stage.redis {
        case .unix: parts.append("Redis by Unix socket")
        case .tcp: parts.append("Redis by TCP")
        case .none: parts.append("no Redis")
        }
        return parts.joined(separator: ", ")
    }
}

extension BenchCell.Load {
    fileprivate var grantWords: String {
        guard grants > 1 else { return "one hot grant" }
        return "\(Format.count(Int64(grants))) grants\(skew > 0 ? " by Zipf's law" : "")"
    }
}

extension BenchCell {
    /// A figure of some contenders compared with that of others, and its target.
    package struct Measure: Sendable, Equatable {
        package enum Figure: String, Sendable {
            case checksPerSecond
            case p50
            case p99
            /// CPU per check of all sidecars, of Redis, and of both.
            case sidecarProcessor
            case redisProcessor
            case processor
        }

        package enum Relation: Sendable, Equatable {
            /// One divided by the other.
            case ratio(of: String, to: String)
            /// The growth from one contender to another, divided by that between two others.
            case growth(from: String, to: String, againstFrom: String, againstTo: String)
        }

        package enum Bar: Sendable, Equatable {
            case atLeast(Double)
            case atMost(Double)

            package func isMet(by value: Double) -> Bool {
                switch self {
                case .atLeast(let bar): value >= bar
                case .atMost(let bar): value <= bar
                }
            }
        }

        package var name: String
        package var figure: Figure
        package var relation: Relation
        /// nil if it is only reported.
        package var bar: Bar?

        package init(_ name: String, _ figure: Figure, _ relation: Relation, _ bar: Bar? = nil) {
            self.name = name
            self.figure = figure
            self.relation = relation
            self.bar = bar
        }
    }
}
