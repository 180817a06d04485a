import Foundation
import Support
import Testing

/// Real processes: `sluiced`, Redis, and clients over real sockets.
///
/// One test after the other: each starts several processes, and what they do must not depend on how many others run.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct Integration {}

/// Grants of a test's own.
enum Grants {
    private static let lock = NSLock()
    nonisolated(unsafe) private static var last = 0

    /// A grant that nobody else in this process has.
    static func next(_ name: String = #function) -> String {
        lock.withLock {
            last += 1
            return "\(name.prefix { $0 != "(" })-\(last)"
        }
    }
}

/// Two sidecars that count in one Redis.
struct Pair {
    let redis: RedisProcess
    let one: SidecarProcess
    let other: SidecarProcess

    var both: [SidecarProcess] { [one, other] }

    init(
        policy: String, configuration: [String] = [], budget: String = "5s", arguments: [String] = []
    ) async throws {
        redis = try await RedisProcess(configuration: configuration)
        one = try await SidecarProcess(policy: policy, over: redis, budget: budget, arguments: arguments)
        other = try await SidecarProcess(policy: policy, over: redis, budget: budget, arguments: arguments)
        try await one.waitUntilShared()
        try await other.waitUntilShared()
    }

    /// How many keys Redis has for what is counted: beside them are both replicas' markers and their list, and from some
    /// heartbeat on when each had nothing to write back.
    func countedKeys() throws -> Int {
        let count = "return redis.call('DBSIZE') - redis.call('EXISTS', 'sluice:2:replicas', 'sluice:2:written-back')"
        return (try redis.command("EVAL", count, "0").integer ?? 0) - both.count
    }
}
