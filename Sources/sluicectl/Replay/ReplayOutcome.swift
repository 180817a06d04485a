import SluiceDecisionLog
import SluiceEngine
import SluiceProtocol

/// What a replay found: what was answered then, and what would be answered.
struct ReplayOutcome {
    /// Calls of one tool.
    struct Tool {
        var calls: Int64 = 0
        var deniedThen: Int64 = 0
        var deniedNow: Int64 = 0
        /// Allowed then, and denied now; and the other way round.
        var newlyDenied: Int64 = 0
        var newlyAllowed: Int64 = 0
    }

    /// What one rule would deny of what was allowed.
    struct Rule {
        var calls: Int64 = 0
        var firstMs: Int64
        /// By the number of the grant.
        var grants: [Int: Int64] = [:]
    }

    private(set) var calls: Int64 = 0
    private(set) var total = Tool()
    private(set) var tools: [[UInt8]: Tool] = [:]
    private(set) var rules: [String: Rule] = [:]
    private var grantNumbers: [[UInt8]: Int] = [:]
    private(set) var grantNames: [[UInt8]] = []
    /// Calls that could not be decided again.
    private(set) var undecided: Int64 = 0
    /// Calls answered `BUSY` then.
    private(set) var busyThen: Int64 = 0
    var settlements: Int64 = 0
    private(set) var firstMs: Int64 = -1
    private(set) var lastMs: Int64 = -1
    private(set) var timeline = ReplayTimeline()

    /// Tools, and grants of a rule, beyond these are counted in the total only.
    private static let maxTools = 100_000
    private static let maxGrants = 1_000_000

    /// Grants that called.
    var grantCount: Int { grantNames.count }

    mutating func count(_ record: DecisionLogRecord, _ decision: Decision?, in bytes: [UInt8], atMs: Int64) {
        // Peeks charge nothing, and no call depends on them; what gives back is never denied.
        guard record.action == .check else { return }
        calls += 1
        if firstMs < 0 { firstMs = atMs }
        lastMs = atMs
        let grant = number(ofGrant: bytes[record.grant])
        guard let decision else {
            undecided += 1
            return timeline.count(atMs: atMs, isNewlyDenied: false)
        }
        var wasAllowed = false
        switch record.verdict {
        case .busy: busyThen += 1
        case .decided(let verdict): wasAllowed = verdict == .allow
        }
        let change = Tool(
            calls: 1, deniedThen: wasAllowed ? 0 : 1, deniedNow: decision.allowed ? 0 : 1,
            newlyDenied: wasAllowed && !decision.allowed ? 1 : 0, newlyAllowed: !wasAllowed && decision.allowed ? 1 : 0)
        total.add(change)
        timeline.count(atMs: atMs, isNewlyDenied: change.newlyDenied > 0)
        let tool = Array(bytes[record.tool])
        if tools.count < Self.maxTools || tools[tool] != nil { tools[tool, default: Tool()].add(change) }
        guard change.newlyDenied > 0 else { return }
        rules[decision.rule, default: Rule(firstMs: atMs)].calls += 1
        if let grant { rules[decision.rule]?.grants[grant, default: 0] += 1 }
    }

    private mutating func number(ofGrant name: ArraySlice<UInt8>) -> Int? {
        let name = Array(name)
        if let number = grantNumbers[name] { return number }
        guard grantNames.count < Self.maxGrants else { return nil }
        grantNumbers[name] = grantNames.count
        grantNames.append(name)
        return grantNames.count - 1
    }
}

extension ReplayOutcome.Tool {
    fileprivate mutating func add(_ other: Self) {
        calls += other.calls
        deniedThen += other.deniedThen
        deniedNow += other.deniedNow
        newlyDenied += other.newlyDenied
        newlyAllowed += other.newlyAllowed
    }
}
