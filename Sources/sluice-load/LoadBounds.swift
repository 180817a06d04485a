import SluiceProtocol

/// Every bound of the load driver, with its unit, its reason, and what happens when it is exceeded.
enum LoadBounds {
    /// Most sidecars of one run: far more than one machine runs. Over it: rejected.
    static let maxSockets = 64
    /// Most connections of one run, over all sockets: descriptors of one process. Over it: rejected.
    static let maxConnections = 10_000
    /// Most checks in flight on one connection: at this number the sidecar stops reading. Over it: rejected.
    static let maxPipeline = ProtocolBounds.maxPipelinedRequests
    /// Most counted identities (grants times sessions) of one run: each has its own windows in the oracle, about 1 KiB.
    /// Over it: rejected.
    static let maxSubjects = 1_000_000
    /// Most event loops. Over it: rejected.
    static let maxThreads = 64
    /// Highest rate of an open loop, checks a second: ten times what one sidecar answers. Over it: rejected.
    static let maxRate = 20_000_000
    /// Highest cost of a check, the protocol's own.
    static let maxCost = ProtocolBounds.maxCost
    /// Longest name, in bytes, the protocol's own.
    static let maxNameBytes = ProtocolBounds.maxNameBytes
    /// Most replicas to assume. Over it: rejected.
    static let maxReplicas = 10_000
    /// Steepest skew: at 10 the second grant gets a thousandth of the first's checks. Over it: rejected.
    static let maxSkew = 10.0
    /// Most kinds of checks of one run: tools times costs, with and without a reservation. Over it: rejected.
    static let maxKinds = 256
    /// Most checks of one burst: the connections' room is used, the rest counts as not sent. Over it: rejected.
    static let maxBurst = 1_000_000
    /// Longest path of a Unix socket, in bytes: SwiftNIO's bound, because some systems' `sockaddr_un` has room for 104,
    /// the last a NUL. Over it: rejected.
    static let maxSocketPathBytes = 103
    /// Most steps of a search for a rate: from 1 to `maxRate` by doubling takes 25, and closing in 5, each failure with
    /// a repetition. Past it: the best so far is used.
    static let maxSearchSteps = 40
    /// How long a step of a search sends before it measures, ns: until then the previous step's checks are answered.
    static let settleNs: Int64 = 500_000_000
    /// How long a step of a search measures, ns: a thousand checks at 500 a second, so that ten of them determine the
    /// p99.
    static let searchStepNs: Int64 = 2_000_000_000
    /// Highest weight of a grant: sums over the most grants stay exact enough for drawing. Over it: rejected.
    static let maxWeight = 1e9
    /// Longest file of grants, in bytes: the most grants with the longest names and a weight. Over it: rejected.
    static let maxGrantsFileBytes = maxSubjects * (maxNameBytes + 32)
    /// Most judged windows that are kept for the comparison with the store's counters at the end, about 15 MiB. Past
    /// it: the oldest are not compared.
    static let maxComparedWindows = 200_000
    /// Most counters that are read at the end, through a sidecar (its own bound) and from Redis. Past it: the others
    /// are not compared, and that is reported.
    static let maxReportedCounters = 10_000
    static let maxStoredCounters = 1_000_000
    /// Keys per request to Redis when its counters are read.
    static let keysPerScan = 1000
    /// How long a sidecar or Redis may take to answer an unmeasured question, s. Past it: as if it did not answer.
    static let askTimeoutSeconds = 2
    /// Most points of a run's timeline: an hour and a half of seconds, a few hundred KiB. Past it: every other one is
    /// dropped.
    static let maxTimelinePoints = 5400
    /// Most checks of a trace, replayed or recorded: about 300 MiB of memory. Over it: a trace is rejected, and a
    /// record ends.
    static let maxTraceChecks = 10_000_000
    /// Most actions of a fault script. Over it: rejected.
    static let maxFaults = 1000
    /// Most sidecars that the driver starts itself. Over it: rejected.
    static let maxSpawned = 16
    /// How long a process that the driver started may take until it answers, ns. Past it: the run does not start.
    static let startTimeoutNs: Int64 = 20_000_000_000
    /// How long such a process may take to end by itself, ns. Past it: it is killed.
    static let endTimeoutNs: Int64 = 5_000_000_000
    /// Rows of windows in a report, over all rules. Past it: the first are kept, and that is reported.
    static let maxWindowRows = 2000
    /// Longest run or warm-up, in seconds: a week of soaking. Over it: rejected.
    static let maxSeconds: Int64 = 7 * 86_400

    /// Most rounds of a benchmark: an hour for most cells. Over it: rejected.
    static let maxBenchRounds = 1000
    /// How long a benchmark may take to check every grant once, ns: a million at 9,000 a second. Past it: the cell
    /// fails.
    static let maxFillNs: Int64 = 120_000_000_000
    /// Most grants that a benchmark's oracle judges: it keeps about 1 KiB for each. Its round does not check others.
    static let maxJudgedGrants = 100_000

    /// How long to try the first connection to each socket, ns. Past it: the run does not start.
    static let connectTimeoutNs: Int64 = 5_000_000_000
    /// Pause before retrying a socket whose queue of callers is full, ns: a sidecar accepts dozens of them in it.
    static let fullQueuePauseNs: Int64 = 5_000_000
    /// First pause before a broken connection is opened again, ns; doubles with each failure in a row.
    static let firstBackoffNs: Int64 = 20_000_000
    /// Longest pause before a broken connection is opened again, ns: a sidecar that is back is under load within it.
    static let maxBackoffNs: Int64 = 1_000_000_000
    /// How long to wait for outstanding answers after the last check was sent, ns: fifty times a sidecar's budget. Past
    /// it they count as unanswered.
    static let graceNs: Int64 = 1_000_000_000
    /// A check that has been outstanding for so long may have been charged unseen, ns: the oracle is notified long
    /// before it judges the windows concerned.
    static let staleAfterNs: Int64 = 500_000_000
    /// How often to search for such checks, ns.
    static let sweepIntervalNs: Int64 = 250_000_000
    /// Most checks that an open loop sends in one turn before it reads its answers.
    static let maxSendsPerTurn = 4096
    /// Highest latency that the histogram distinguishes, ns: longer ones count as this.
    static let maxLatencyNs: UInt64 = 600_000_000_000

    /// Greatest difference between the sidecars' returns from an outage at which all are known to have waited for each
    /// other, ns: less than the two seconds that each waits, because the driver sees a return later than it happened.
    static let returnSpreadNs: Int64 = 1_000_000_000
    /// Windows without complete write-backs that are reported in full; the rest is counted.
    static let maxReportedNotSettled = 3
    /// How far Redis's clock may be from this machine's, ns: a charge this close to a window's border may be in either.
    static let clockSlackNs: Int64 = 5_000_000
    /// Windows of one counter that the oracle keeps open. Answers are in order except for the differences between
    /// connections and sidecars, which are far below the shortest window. Older windows are judged and folded into
    /// totals; an answer for a folded window is counted as late and not judged.
    static let keptWindows = 4
    /// Most separate intervals of one window's usage that the oracle keeps: answers to checks in flight arrive in
    /// another order than they were charged in. Beyond it, charges of that window are no longer distinguished, and that
    /// is reported.
    static let maxStretches = 4096
    /// Rules of one run: limits of one tool and of all tools. More are not judged, and that is reported.
    static let maxRules = 256
    /// Broken promises that are reported in full; the rest is counted.
    static let maxBreaks = 10
    /// Batches of a sidecar that may be in flight when the store stops answering. Each can be answered late and start a
    /// new local share without the driver seeing a shared answer (the engine's own bound is the same).
    static let hiddenLooks: Int64 = 2
}
