import Foundation
import Support

/// Gateways that go on calling while a test does something to Redis.
///
/// Every client has a connection of its own to one sidecar, sends a few checks at a time, and notes all answers.
final class Traffic: Sendable {
    /// What one sidecar answered.
    struct Tally: Sendable {
        var answers = 0
        /// Answers that were no decision.
        var errors: [String] = []
        var sources: [String: Int] = [:]
        /// Admitted, by source and grant.
        var admitted: [String: [String: Int]] = [:]

        mutating func add(_ other: Tally) {
            answers += other.answers
            errors += other.errors
            sources.merge(other.sources, uniquingKeysWith: +)
            admitted.merge(other.admitted) { $0.merging($1, uniquingKeysWith: +) }
        }
    }

    let grants: [String]
    private let stop = StopSign()
    private let task: Task<[Tally], any Error>

    /// - Parameters:
    ///   - clients: how many call each sidecar.
    ///   - pauseMicroseconds: between a client's rounds: the machine has other work to do.
    init(to sidecars: [SidecarProcess], grants: [String], clients: Int = 2, pauseMicroseconds: UInt32 = 2_000) {
        self.grants = grants
        let stop = stop
        let sockets = sidecars.map(\.socketPath)
        task = Task {
            try await onThreads(sockets.count * clients) { index in
                try Self.call(
                    sockets[index % sockets.count], grants: grants, seed: UInt64(index), stop: stop,
                    pauseMicroseconds: pauseMicroseconds)
            }
        }
        count = sockets.count
    }

    private let count: Int

    /// Ends it.
    /// - Returns: for each sidecar what it answered.
    /// - Throws: if a check was not answered at all.
    func end() async throws -> [Tally] {
        stop.raise()
        let tallies = try await task.value
        return (0..<count).map { sidecar in
            stride(from: sidecar, to: tallies.count, by: count).reduce(into: Tally()) { $0.add(tallies[$1]) }
        }
    }

    deinit { stop.raise() }

    private static func call(
        _ socketPath: String, grants: [String], seed: UInt64, stop: StopSign, pauseMicroseconds: UInt32
    ) throws -> Tally {
        let client = try RedisClient(path: socketPath, answerLimit: 10)
        var tally = Tally()
        var turn = Int(seed)
        // At least once, however late this thread begins.
        repeat {
            let round = (0..<4).map { grants[(turn + $0) % grants.count] }
            turn += 3
            for (grant, answer) in zip(round, try client.pipeline(round.map { ["CHECK", $0, "run"] })) {
                tally.answers += 1
                guard let reply = try? CheckReply(answer) else {
                    tally.errors.append("\(answer)")
                    continue
                }
                tally.sources[reply.source, default: 0] += 1
                if reply.allowed { tally.admitted[reply.source, default: [:]][grant, default: 0] += 1 }
            }
            usleep(pauseMicroseconds)
        } while !stop.isRaised
        return tally
    }
}
