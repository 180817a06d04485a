import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Limits of every kind, for histories that follow from a seed.
extension SeededRandom {
    mutating func limit(_ counter: String, of tool: String?) -> Limit {
        let algorithms: [Algorithm] = [.fixedWindow, .slidingWindow, .slidingLog, .tokenBucket, .concurrency]
        let algorithm = algorithms[Int(next() % 5)]
        var max: Int64 = one(of: [0, 1, 1, 2, 3, 5, 5, 10, 100])
        var window: Window = .seconds(one(of: [1, 1, 2, 3, 10, 60, 3600]))
        if algorithm != .slidingLog && once(in: 12) {
            // Near the end of the numbers.
            max = 1_000_000_000_000
            window = .seconds(one(of: [1, 9]))
        } else if algorithm == .fixedWindow && once(in: 3) {
            window = .calendar(
                one(of: [.day, .week, .month]), in: Zone(name: one(of: ["UTC", "Europe/Berlin"])) ?? .utc)
        }
        var (burst, holdMs): (Int64?, Int64?)
        if algorithm == .tokenBucket {
            burst = max == 0 ? 0 : one(of: [1, max, Swift.min(1_000_000_000_000, 2 * max)])
        }
        if algorithm == .concurrency { holdMs = one(of: [1000, 1500, 60_000]) }
        let scope: Limit.Scope = one(of: [.grant, .grant, .session, .server, .global, .attribute("team")])
        return StoreModel.limit(
            counter, max: max, of: tool, scope: scope, algorithm: algorithm, burst: burst,
            holdMs: holdMs, window: window, acrossGrants: ![.grant, .global].contains(scope) && once(in: 2),
            mode: once(in: 4) ? .shadow : .enforce,
            counts: algorithm != .concurrency && once(in: 4) ? .calls : .cost)
    }

    /// One or two tools, `t` and `u`, under up to three limits each, and perhaps one over all tools.
    mutating func policy() -> Policy {
        let tools = ["t", "u"].flatMap { tool in (1...one(of: [1, 1, 2, 3])).map { limit("c\($0)", of: tool) } }
        return StoreModel.policy(tools, allTools: once(in: 3) ? [limit("all", of: nil)] : [])
    }
}
