/// The settings of a run, validated.
struct LoadSettings: Sendable, Equatable {
    /// What the policy's limits count by: the oracle sums up the answers of each.
    enum Scope: String, Sendable, CaseIterable {
        case grant
        case session
        case global
    }

    /// What happens to checks' reservations.
    struct Reservations: Sendable, Equatable {
        /// Share of checks that reserve, 0 to 1.
        var share = 0.0
        /// Share of reservations that are cancelled, 0 to 1; the others are committed to a random cost from 1 to the
        /// reserved one.
        var cancelShare = 0.5
        /// The cost that all others are committed to instead; nil for a random one.
        var committedCost: Int64?
        /// How long a reservation is held, ns.
        var holdNs: Int64 = 0
    }

    /// Checks that are sent together at every boundary of a window, in addition to all others.
    struct Burst: Sendable, Equatable {
        var count: Int
        /// Boundaries are its multiples since 1970.
        var periodNs: Int64
    }

    /// What happens to charges: the share of them that is given back, 0 to 1.
    var refundShare = 0.0
    var target = LoadTarget.sluice
    /// The maximum for the scripts of `LoadTarget.redis`.
    var baselineMax: Int64 = 10
    var baselineWindowMs: Int64 = 60_000
    /// Paths of Unix sockets, or `tcp://host:port`.
    var socketPaths: [String]
    var connectionsPerSocket = 16
    var pipeline = 16
    var grantCount = 50
    var grantPrefix = "load-"
    /// Grants by name instead of by number; `grantCount` is how many.
    var namedGrants: GrantList?
    /// Exponent of Zipf's law; 0 for all grants alike.
    var skew = 0.0
    /// Whether grants are checked one after the other instead of by chance.
    var isInOrder = false
    /// The run ends within a second after so many decisions; nil to use all of its duration.
    var enoughDecisions: Int64?
    /// The kinds of checks and their weights; at least one.
    var kinds = [CheckKind(tool: "opencode_run", cost: 1)]
    var reservations = Reservations()
    var burst: Burst?
    /// Sessions of each grant; 0 for none.
    var sessionCount = 0
    var durationNs: Int64 = 10_000_000_000
    var warmUpNs: Int64 = 1_000_000_000
    /// Checks a second in all for an open loop; nil for a closed one. A search begins with it.
    var ratePerSecond: Int?
    /// An open loop's rate goes from `ratePerSecond` to this over the duration.
    var rampToPerSecond: Int?
    /// Recorded checks to send instead of others, with their timing.
    var replay: Trace?
    /// Whether what is sent is recorded.
    var isRecorded = false
    /// The p99 that a search of the highest rate must keep, ns.
    var searchedP99Ns: Int64?
    var threadCount = 1
    var seed: UInt64 = 0
    var usesOracle = true
    var scope = Scope.grant
    /// The known limits, by their path in the policy.
    var limits: [String: JudgedLimit] = [:]
    /// The limits that count each kind of check; empty if they are unknown.
    var countedLimits: [[CountedLimit]] = []
    /// The number of replicas among which sidecars split the rest of a limit while Redis is unavailable.
    var replicaCount = 1
    /// The sidecars' own budget for a check, ns.
    var budgetNs: Int64 = 20_000_000

    init(socketPaths: [String]) {
        self.socketPaths = socketPaths
        replicaCount = max(1, socketPaths.count)
    }

    /// Whether checks are sent at their times, independently of the answers.
    var isOpenLoop: Bool { ratePerSecond != nil || replay != nil }
    var connectionCount: Int { connectionsPerSocket * socketPaths.count }

    /// The requested search, before its first step.
    var search: RateSearch? {
        searchedP99Ns.map { RateSearch(goalNs: $0, firstRate: ratePerSecond ?? 1) }
    }

    /// The rate of an open loop over time.
    var schedule: RateSchedule? {
        guard let ratePerSecond, replay == nil else { return nil }
        guard let rampToPerSecond else { return RateSchedule(ratePerSecond: ratePerSecond) }
        return RateSchedule(
            holdNs: warmUpNs, fromPerSecond: ratePerSecond, toPerSecond: rampToPerSecond, rampNs: durationNs)
    }

    /// How many identities are counted separately.
    var subjectCount: Int {
        switch scope {
        case .global: 1
        case .grant: grantCount
        case .session: grantCount * max(1, sessionCount)
        }
    }

    /// The number of the identity that a check is counted under.
    @inline(__always)
    func subject(of target: CheckTarget) -> Int {
        switch scope {
        case .global: 0
        case .grant: Int(target.grant)
        case .session: Int(target.grant) * max(1, sessionCount) + Int(target.session)
        }
    }

    func grantName(_ index: Int) -> String {
        replay?.grants[index] ?? namedGrants?.names[index] ?? CheckFrames.grantName(grantPrefix, index)
    }
    func sessionName(_ index: Int) -> String { replay?.sessions[index] ?? CheckFrames.sessionName(index) }

    /// The name of that identity.
    func subjectName(_ subject: Int) -> String {
        switch scope {
        case .global: return "all grants"
        case .grant: return "grant \(grantName(subject))"
        case .session:
            let (grant, sessionIndex) = subject.quotientAndRemainder(dividingBy: max(1, sessionCount))
            let name = "grant \(grantName(grant))"
            guard sessionCount > 0 else { return name }
            let session = sessionName(sessionIndex)
            return session.isEmpty ? name : "\(name), session \(session)"
        }
    }
}
