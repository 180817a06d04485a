import SluiceEngine
import SluiceEnvoy
import SluicePolicy

/// A limiter without a store, asked as the server asks it.
struct Asker {
    private var limiter: Limiter
    private let now = ClockReading(monotonicNs: 1_000_000_000, wallMs: 1_700_000_011_683)

    static let policy = """
        {"version": "1", "default": "deny", "all_tools": {"limits": []}, "tools": {
          "opencode_run": {"limits": [{"counter": "opencode_run_rate", "window": "minute", "max": 10}]},
          "approve_me": {"action": "require_approval"},
          "slow": {"limits": [{"counter": "slow", "window": "15m", "max": 5000000000}]},
          "monthly": {"limits": [{"counter": "m", "window": "month", "max": 3}]},
          "free": {},
          "own_words": {"limits": [{"counter": "w", "window": "minute", "max": 1, "on_deny": "Wait {retry_after}!"}]},
          "tools/list": {"limits": [{"counter": "lists", "window": "hour", "max": 1}]}
        }}
        """

    init(policy: String = Self.policy) throws {
        let document = try PolicyDocument.parse(Array(policy.utf8), file: "policy.json")
        limiter = Limiter(
            configuration: LimiterConfiguration(
                keys: "t", budgetMs: 20, replicas: ReplicaView(own: 1, assumed: 1), usesStore: false, seed: 1),
            policies: PolicySet(single: document), now: now)
    }

    mutating func ask(_ check: GatewayCheck) -> GatewayAnswer {
        var identity = Identity()
        switch check.subject {
        case .call(let call):
            identity.fill(grant: call.grant.utf8.span, tool: call.tool.utf8.span, approved: false)
        case .ownLimit(let key, let max, let windowSeconds):
            guard let limit = Throttle(key: Array(key.utf8), max: max, windowSeconds: windowSeconds) else {
                return .busy("the limit cannot be counted")
            }
            identity.fill(limit)
        }
        let outcome = limiter.check(
            identity, cost: check.cost, isPeek: check.kind == .look, wantsTrace: false,
            ticket: Ticket(rawValue: 0), now: now)
        guard case .answered(let decision) = outcome else { return .busy("it was not answered") }
        return .decision(decision)
    }
}
