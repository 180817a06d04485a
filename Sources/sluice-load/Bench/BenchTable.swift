/// All cells: those that `bench` measures by default, and those that `--full` adds.
enum BenchTable {
    private typealias Load = BenchCell.Load
    private typealias Measure = BenchCell.Measure

    private static let direct = "direct"
    private static let sluice = "sluice"
    private static let ping = "PING sluice"

    /// The cells of a default run, in this order.
    static let standard: [BenchCell] = [
        socket("socket", Load()),
        against(
            "distinct-p16", Load(),
            measures: [
                compared("checks/s", .checksPerSecond, .atLeast(1.5)),
                compared("CPU of Redis per check", .redisProcessor, .atMost(0.5)),
                compared("CPU of sidecar and Redis per check", .processor, .atMost(0.9)),
            ]),
        against(
            "distinct-p1", Load(pipeline: 1),
            measures: [
                compared("checks/s", .checksPerSecond, .atLeast(0.75)),
                compared("CPU of Redis per check", .redisProcessor, .atMost(0.5)),
            ]),
        against(
            "hot-p16", Load(grants: 1),
            measures: [
                compared("checks/s", .checksPerSecond, .atLeast(3)),
                compared("CPU of Redis per check", .redisProcessor, .atMost(0.05)),
            ]),
        against("zipf-p16", Load(skew: 1.1), measures: reported),
        against("two-p16", Load(), measures: reported) { $0.sidecars = 2 },
        against("tcp-p16", Load(), measures: reported) { $0.redis = .tcp },
        against("limits-p16", Load(), measures: byScript(0.6)) { $0.limits = 3 },
        against("sliding-p16", Load(), measures: byScript(0.7)) { $0.algorithms = [.slidingWindow] },
        against("bucket-p16", Load(), measures: byScript(0.7)) { $0.algorithms = [.tokenBucket] },
        against("mixed-p16", Load(), measures: byScript(0.7)) { $0.algorithms = BenchCell.Algorithm.allCases },
        against("reserve-p16", Load(), measures: byScript(0.7)) { $0.reserves = true },
        against("lone", Load(connections: 1, pipeline: 1), measures: [compared("p50", .p50, .atMost(1.8))]),
        halfPeak("half-peak", Load()),
        againstPing("denied-p16", Load(grants: 1000), bar: 2.5) { $0.isMostlyDenied = true },
        againstPing("denied-p1", Load(pipeline: 1, grants: 1000), bar: 1.2) { $0.isMostlyDenied = true },
        leased("leased-p16", Load(grants: 1000), bar: 2),
        leased("leased-p1", Load(pipeline: 1, grants: 1000), bar: 1.2),
        leased("leased-many-p16", Load(), bar: 2),
        leasedLone("leased-lone", Load(connections: 1, pipeline: 1, grants: 1)),
        againstPing("local-p16", Load(grants: 1000), bar: 2.5) { $0.redis = .none },
        againstPing("local-p1", Load(pipeline: 1, grants: 1000), bar: 1.2) { $0.redis = .none },
        // The same with checks that wait for memory, which a PING never does.
        againstPing("local-many-p16", Load(), bar: 2.5) { $0.redis = .none },
        growth("growth-grants", ("1,000", Load(grants: 1000)), ("1,000,000", Load(grants: 1_000_000)), isFilled: true),
        growth("growth-connections", ("16", Load(connections: 16)), ("1,000", Load(connections: 1000))),
        cluster(buckets: 16), cluster(buckets: 64), cluster(buckets: 256),
        memory,
    ]

    /// Every combination of the options, named after them: `c64-p16-uniform-l1-allowed-unix-s1`.
    static let combinations: [BenchCell] = {
        var cells: [BenchCell] = []
        let connections = [1, 16, 64, 1000]
        let pipelines = [1, 16, 64]
        for count in connections {
            for pipeline in pipelines {
                let load = Load(connections: count, pipeline: pipeline)
                cells.append(socket("c\(count)-p\(pipeline)-ping", load))
                for setting in settings {
                    for (grants, load) in [
                        ("uniform", load), ("zipf", Load(connections: count, pipeline: pipeline, skew: 1.1)),
                        ("hot", Load(connections: count, pipeline: pipeline, grants: 1)),
                    ] {
                        let name = "c\(count)-p\(pipeline)-\(grants)-\(setting.words)"
                        // Each connection is to one sidecar.
                        guard count >= setting.sidecars else { continue }
                        cells.append(against(name, load, measures: reported) { $0 = setting })
                    }
                }
            }
        }
        return cells
    }()

    static var all: [BenchCell] { standard + combinations }

    private static var settings: [BenchCell.Setting] {
        var settings: [BenchCell.Setting] = []
        for limits in [1, 3] {
            for isMostlyDenied in [false, true] {
                for redis in LocalCluster.RedisTransport.allCases {
                    // Without Redis, sidecars share no window.
                    for sidecars in redis == .none ? [1] : [1, 2] {
                        var setting = BenchCell.Setting()
                        setting.limits = limits
                        setting.isMostlyDenied = isMostlyDenied
                        setting.redis = redis
                        setting.sidecars = sidecars
                        settings.append(setting)
                    }
                }
            }
        }
        return settings
    }

    // MARK: - Kinds of cells

    /// The limit that the socket sets.
    private static func socket(_ name: String, _ load: BenchCell.Load) -> BenchCell {
        BenchCell(
            name,
            contenders: [
                BenchCell.Contender("PING Redis", .pingRedis, load), BenchCell.Contender(ping, .pingSluice, load),
            ],
            measures: [
                Measure("PING's checks/s, Sluice against Redis", .checksPerSecond, .ratio(of: ping, to: "PING Redis"))
            ])
    }

    /// Sluice against one script per check on Redis. Without Redis there is no direct way.
    private static func against(
        _ name: String, _ load: BenchCell.Load, measures: [BenchCell.Measure],
        _ change: (inout BenchCell.Setting) -> Void = { _ in }
    ) -> BenchCell {
        var cell = BenchCell(
            name, contenders: [BenchCell.Contender(direct, .direct, load), BenchCell.Contender(sluice, .sluice, load)],
            measures: measures)
        change(&cell.stage)
        if cell.stage.redis == .none {
            cell.contenders.removeFirst()
            cell.measures = []
        }
        return cell
    }

    private static func compared(
        _ what: String, _ figure: BenchCell.Measure.Figure, _ bar: BenchCell.Measure.Bar? = nil
    ) -> BenchCell.Measure {
        Measure("\(what) against direct", figure, .ratio(of: sluice, to: direct), bar)
    }

    /// Against the cheapest script of the same algorithm.
    private static func byScript(_ bar: Double) -> [BenchCell.Measure] {
        [compared("checks/s", .checksPerSecond), compared("CPU of Redis per check", .redisProcessor, .atMost(bar))]
    }

    private static let reported = [
        compared("checks/s", .checksPerSecond), compared("CPU of Redis per check", .redisProcessor),
    ]

    /// A sidecar's own answers against the limit that its socket sets.
    private static func againstPing(
        _ name: String, _ load: BenchCell.Load, bar: Double, _ change: (inout BenchCell.Setting) -> Void
    ) -> BenchCell {
        var cell = BenchCell(
            name,
            contenders: [BenchCell.Contender(ping, .pingSluice, load), BenchCell.Contender(sluice, .sluice, load)],
            measures: [
                Measure(
                    "CPU of the sidecar per check, against PING on its socket", .sidecarProcessor,
                    .ratio(of: sluice, to: ping), .atMost(bar))
            ])
        change(&cell.stage)
        return cell
    }

    /// Answers from blocks that were charged ahead of time.
    private static func leased(_ name: String, _ load: BenchCell.Load, bar: Double) -> BenchCell {
        var cell = againstPing(name, load, bar: bar) { $0.isLeased = true }
        cell.measures.append(
            Measure("part of the checks that ask Redis", .redisShare, .value(of: sluice), .atMost(0.01)))
        return cell
    }

    private static func leasedLone(_ name: String, _ load: BenchCell.Load) -> BenchCell {
        var cell = leased(name, load, bar: 1.2)
        cell.measures[0] = Measure("p50 against PING on its socket", .p50, .ratio(of: sluice, to: ping), .atMost(1.2))
        return cell
    }

    private static func halfPeak(_ name: String, _ load: BenchCell.Load) -> BenchCell {
        var cell = against(
            name, load, measures: [compared("p99 at half of direct's peak rate", .p99, .atMost(2))])
        cell.rate = BenchCell.Rate(share: 0.5, peakOf: direct)
        return cell
    }

    /// A check's total CPU: of sidecar and Redis together, against Redis alone.
    private static func growth(
        _ name: String, _ small: (String, BenchCell.Load), _ large: (String, BenchCell.Load), isFilled: Bool = false
    ) -> BenchCell {
        func contender(_ name: String, _ target: BenchCell.Contender.Target, _ size: (String, BenchCell.Load))
            -> BenchCell.Contender
        {
            BenchCell.Contender("\(name) \(size.0)", target, size.1, isFilled: isFilled)
        }
        return BenchCell(
            name,
            contenders: [
                contender(direct, .direct, small), contender(sluice, .sluice, small),
                contender(direct, .direct, large), contender(sluice, .sluice, large),
            ],
            measures: [
                Measure(
                    "growth of CPU per check, against direct's own growth", .processor,
                    .growth(
                        from: "\(sluice) \(small.0)", to: "\(sluice) \(large.0)", againstFrom: "\(direct) \(small.0)",
                        againstTo: "\(direct) \(large.0)"), .atMost(1.1))
            ])
    }

    /// The same load on one Redis, directly and by a sidecar, and on clusters of one master and of three.
    private static func cluster(buckets: Int) -> BenchCell {
        let (one, three) = ("1 master", "3 masters")
        let load = Load()
        var cell = BenchCell(
            "cluster-\(buckets)",
            contenders: [
                BenchCell.Contender(direct, .direct, load), BenchCell.Contender(sluice, .sluice, load),
                BenchCell.Contender(one, .sluice, load, cluster: 0),
                BenchCell.Contender(three, .sluice, load, cluster: 1),
            ],
            measures: [one, three].flatMap { name in
                [
                    Measure(
                        "CPU of Redis per check, \(name) against one Redis", .redisProcessor,
                        .ratio(of: name, to: sluice), .atMost(1.5)),
                    Measure(
                        "CPU of Redis per check, \(name) against direct", .redisProcessor,
                        .ratio(of: name, to: direct), .atMost(1)),
                    Measure(
                        "CPU of the sidecar per check, \(name) against one Redis", .sidecarProcessor,
                        .ratio(of: name, to: sluice), .atMost(1.3)),
                ]
            } + [
                Measure("CPU of the busiest master above the idlest's", .masterSpread, .value(of: three), .atMost(0.1))
            ])
        cell.stage.redis = .tcp
        cell.stage.clusters = [1, 3].map { RedisClusterPlan.Shape(masters: $0, buckets: buckets) }
        return cell
    }

    private static let memory: BenchCell = {
        var cell = BenchCell("memory", contenders: [])
        cell.stage.redis = .none
        cell.memory = BenchCell.Memory(from: 100_000)
        return cell
    }()
}

extension BenchCell.Setting {
    /// The form in a combination's name.
    fileprivate var words: String {
        "l\(limits)-\(isMostlyDenied ? "denied" : "allowed")-\(redis.rawValue)-s\(sidecars)"
    }
}
