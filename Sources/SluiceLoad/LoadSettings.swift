/// What a run does, once its options were found valid.
package struct LoadSettings: Sendable, Equatable {
    /// What the limits of the policy count by: whose answers the oracle adds up.
    package enum Scope: String, Sendable, CaseIterable {
        case grant
        case session
        case global
    }

    package var socketPaths: [String]
    package var connectionsPerSocket = 16
    package var pipeline = 16
    package var grantCount = 50
    package var grantPrefix = "load-"
    /// Exponent of Zipf's law; 0 for all grants alike.
    package var skew = 0.0
    package var tool = "opencode_run"
    package var cost: Int64 = 1
    /// Sessions of each grant; 0 for none.
    package var sessionCount = 0
    package var durationNs: Int64 = 10_000_000_000
    package var warmUpNs: Int64 = 1_000_000_000
    /// Checks a second in all for an open loop; nil for a closed one.
    package var ratePerSecond: Int?
    package var threadCount = 1
    package var seed: UInt64 = 0
    package var usesOracle = true
    package var scope = Scope.grant
    /// Replicas among which sidecars split what is left while Redis is away.
    package var replicaCount = 1
    /// The sidecars' own budget for a check, ns.
    package var budgetNs: Int64 = 20_000_000

    package init(socketPaths: [String]) {
        self.socketPaths = socketPaths
        replicaCount = max(1, socketPaths.count)
    }

    package var connectionCount: Int { connectionsPerSocket * socketPaths.count }

    /// How many identities are counted apart.
    package var subjectCount: Int {
        switch scope {
        case .global: 1
        case .grant: grantCount
        case .session: grantCount * max(1, sessionCount)
        }
    }

    /// The identity that a check is counted under, as the oracle numbers them.
    @inline(__always)
    package func subject(of target: CheckTarget) -> Int {
        switch scope {
        case .global: 0
        case .grant: Int(target.grant)
        case .session: Int(target.grant) * max(1, sessionCount) + Int(target.session)
        }
    }

    /// How a person calls that identity.
    package func subjectName(_ subject: Int) -> String {
        switch scope {
        case .global: return "all grants"
        case .grant: return "grant \(CheckFrames.grantName(grantPrefix, subject))"
        case .session:
            let (grant, session) = subject.quotientAndRemainder(dividingBy: max(1, sessionCount))
            let name = "grant \(CheckFrames.grantName(grantPrefix, grant))"
            return sessionCount > 0 ? "\(name), session \(CheckFrames.sessionName(session))" : name
        }
    }
}
