import Foundation
import Support

/// Callers that ask one check after the other while a sidecar is replaced by another: half of them on connections that they
/// keep, the others on a new one each time. A request that could not be sent was not taken, and is asked again on another
/// connection; one that was sent must be answered.
final class PersistentCallers: @unchecked Sendable {
    private let lock = NSLock()
    private let sign = StopSign()
    private var answerCount = 0
    private var failureTexts: [String] = []

    private var answers: Int { lock.withLock { answerCount } }
    /// What went wrong.
    var failures: [String] { lock.withLock { failureTexts } }

    func stop() { sign.raise() }

    /// Asks until `stop` is called.
    func ask(_ path: String) async throws {
        _ = try await onThreads(8) { [self] index in ask(path, keepsConnection: index % 2 == 0) }
    }

    func waitForAnswers(_ count: Int) async throws {
        let before = answers
        try await waitUntil("\(count) checks are answered") { self.answers >= before + count }
    }

    private func ask(_ path: String, keepsConnection: Bool) {
        var client: RedisClient?
        let request = RedisClient.frame(["CHECK", "alice", "run"])
        while !sign.isRaised {
            do {
                if client == nil || !keepsConnection { client = try RedisClient(path: path) }
                guard (try? client?.send(request)) != nil else {
                    client = nil
                    continue
                }
                if let client { _ = try CheckReply(client.answer()) }
                lock.withLock { answerCount += 1 }
            } catch {
                lock.withLock { failureTexts.append("\(error)") }
                client = nil
            }
        }
    }
}
