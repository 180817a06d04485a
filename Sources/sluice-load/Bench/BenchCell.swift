/// One measurement of a benchmark: the processes, the loads in turn, and the comparisons.
struct BenchCell: Sendable, Equatable {
    /// Its name for `--only`.
    var name: String
    var stage = Setting()
    /// Loaded one after the other, round by round.
    var contenders: [Contender]
    /// The rate of an open loop for every contender; nil for closed loops.
    var rate: Rate?
    var measures: [Measure] = []
    /// If set, the sidecar's memory is measured instead of rounds.
    var memory: Memory?

    /// Measures the cost of local counters: between two numbers of live ones.
    struct Memory: Sendable, Equatable {
        /// One is four times the other: tables double, so they are equally full at both ends.
        var from: Int
        var to: Int

        init(from: Int) {
            self.from = from
            to = 4 * from
        }
    }

    /// The processes that are started for a cell, new for each.
    struct Setting: Sendable, Equatable {
        var sidecars = 1
        var redis = LocalCluster.RedisTransport.unix
        /// Redis Clusters beside that Redis, each with a sidecar of its own.
        var clusters: [RedisClusterPlan.Shape] = []
        /// How the limits count. With several, checks are of several tools, one for each, drawn alike.
        var algorithms = [Algorithm.fixedWindow]
        /// Limits that each check is counted by.
        var limits = 1
        /// Whether a check reserves ten times what is then committed.
        var reserves = false
        /// Whether they are counted in blocks.
        var isLeased = false
        /// Whether the maximum is so high that all is allowed, or so low that nearly all is denied.
        var isMostlyDenied = false

        /// The maximum of every limit. It stays far below what Redis and Lua count exactly, with the milliseconds of a day
        /// as well.
        var maximum: Int64 {
            if isMostlyDenied { return 10 }
            return algorithms == [.fixedWindow] ? 1_000_000_000 : 100_000_000
        }

        /// The kinds of checks.
        var kinds: [CheckKind] {
            algorithms.map {
                var kind = CheckKind(tool: $0.tool, cost: reserves ? 10 : 1, reserves: reserves)
                kind.baseline = reserves ? .reserve : $0.baseline(limits: limits)
                return kind
            }
        }
    }

    /// A way of counting, by its name in a policy.
    enum Algorithm: String, Sendable, CaseIterable {
        case fixedWindow = "fixed_window"
        case slidingWindow = "sliding_window"
        /// It leaks one call a day, and holds the maximum: so what is left of it at the end is what was charged.
        case tokenBucket = "token_bucket"

        var tool: String { self == .fixedWindow ? "opencode_run" : rawValue }

        func baseline(limits: Int) -> BaselineScript {
            switch self {
            case .fixedWindow: limits == 3 ? .threeFixedWindows : .fixedWindow
            case .slidingWindow: .slidingWindow
            case .tokenBucket: .tokenBucket
            }
        }

        var words: String { rawValue.replacing("_", with: " ") + "s" }
    }

    /// One of the loads that take turns.
    struct Contender: Sendable, Equatable {
        enum Target: String, Sendable {
            /// One script per check, directly at Redis.
            case direct
            /// Checks, dealt over all sidecars.
            case sluice
            /// `PING` to the sidecars, and to Redis.
            case pingSluice
            case pingRedis

            /// Those that charge counters.
            static let charging: [Target] = [.direct, .sluice]
        }

        var name: String
        var target: Target
        var load: Load
        /// Whether each grant is checked once before, so that all their counters exist.
        var isFilled = false
        /// Which of the setting's clusters its checks are counted in; nil: the Redis that is alone.
        var cluster: Int?

        init(_ name: String, _ target: Target, _ load: Load, isFilled: Bool = false, cluster: Int? = nil) {
            self.name = name
            self.target = target
            self.load = load
            self.isFilled = isFilled
            self.cluster = cluster
        }
    }

    struct Load: Sendable, Equatable {
        /// Over all sockets.
        var connections: Int = 64
        var pipeline: Int = 16
        var grants: Int = 100_000
        /// Exponent of Zipf's law; 0 for all grants alike.
        var skew = 0.0
    }

    /// A share of the rate that a contender reaches in a closed loop.
    struct Rate: Sendable, Equatable {
        var share: Double
        var peakOf: String
    }

    init(_ name: String, contenders: [Contender], measures: [Measure] = []) {
        self.name = name
        self.contenders = contenders
        self.measures = measures
    }

    /// A description of the cell.
    var about: String {
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
            if stage.algorithms != [.fixedWindow] {
                parts.append(stage.algorithms.map(\.words).joined(separator: " or "))
            }
            if stage.reserves { parts.append("reserved and committed") }
            if stage.isLeased { parts.append("leased") }
            parts.append(stage.isMostlyDenied ? "mostly denied" : "all allowed")
        }
        if stage.sidecars > 1 { parts.append("\(stage.sidecars) sidecars") }
        switch stage.redis {
        case .unix: parts.append("Redis by Unix socket")
        case .tcp: parts.append("Redis by TCP")
        case .none: parts.append("no Redis")
        }
        if let buckets = stage.clusters.first?.buckets { parts.append("clusters in \(buckets) partitions") }
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
    struct Measure: Sendable, Equatable {
        enum Figure: String, Sendable {
            case checksPerSecond
            case p50
            case p99
            /// CPU per check of all sidecars, of Redis, and of both.
            case sidecarProcessor
            case redisProcessor
            case processor
            /// How much more the busiest master of a cluster uses than the idlest, as a share of their mean.
            case masterSpread
            /// The part of the checks that Redis decided.
            case redisShare
        }

        enum Relation: Sendable, Equatable {
            /// One divided by the other.
            case ratio(of: String, to: String)
            /// The growth from one contender to another, divided by that between two others.
            case growth(from: String, to: String, againstFrom: String, againstTo: String)
            /// Of one contender, as it is.
            case value(of: String)
        }

        enum Bar: Sendable, Equatable {
            case atLeast(Double)
            case atMost(Double)

            func isMet(by value: Double) -> Bool {
                switch self {
                case .atLeast(let bar): value >= bar
                case .atMost(let bar): value <= bar
                }
            }
        }

        var name: String
        var figure: Figure
        var relation: Relation
        /// nil if it is only reported.
        var bar: Bar?

        init(_ name: String, _ figure: Figure, _ relation: Relation, _ bar: Bar? = nil) {
            self.name = name
            self.figure = figure
            self.relation = relation
            self.bar = bar
        }
    }
}
