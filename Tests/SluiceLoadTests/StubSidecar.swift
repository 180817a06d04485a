import NIOConcurrencyHelpers
import SluiceProtocol
import Support

/// A sidecar that counts in memory: every grant may make `max` calls in a window, and a window is over after so many checks,
/// whatever the time, so that tests do not depend on it.
final class StubSidecar: Sendable {
    enum Conduct: Sendable {
        case honest
        /// Honest, and writes a few bytes at a time.
        case drips
        /// Admits one check more than the maximum, and counts it.
        case admitsOneTooMany
        /// Forgets the fifth charge of every window.
        case losesCharges
        /// Answers every fifth check with something that is no reply of Sluice.
        case answersGarbage
        /// Closes the connection instead of answering every hundredth check.
        case closes
        case answersBusy
        case answersErrors
        /// Reads, and answers nothing.
        case isSilent
    }

    static let max: Int64 = 10

    private let server: StubServer
    private let counters: NIOLockedValueBox<StubCounters>

    /// How many checks it has read.
    var checkCount: Int { counters.withLockedValue { $0.checkCount } }

    /// - Parameter counters: shared by the sidecars of one store.
    init(
        path: String, _ conduct: Conduct = .honest, counters: NIOLockedValueBox<StubCounters> = .init(StubCounters())
    ) async throws {
        self.counters = counters
        server = try await StubServer(path: path) { words in
            guard words.first == "CHECK", words.count > 1 else { return .ignore }
            let (decision, number) = counters.withLockedValue { ($0.decide(words[1], conduct), $0.checkCount) }
            let honest = StubServer.decision(decision)
            switch conduct {
            case .honest, .admitsOneTooMany, .losesCharges: return .answer(honest)
            case .drips: return .drip(honest, pieceBytes: 7)
            case .answersGarbage: return .answer(number % 5 == 0 ? "+PONG\r\n" : honest)
            case .closes: return number % 100 == 0 ? .close : .answer(honest)
            case .answersBusy: return .answer("-BUSY too many checks are waiting\r\n")
            case .answersErrors: return .answer("-ERR unknown command 'CHECK'\r\n")
            case .isSilent: return .ignore
            }
        }
    }

    func stop() async throws { try await server.stop() }
}

/// What a stub, or several of them, have counted.
struct StubCounters: Sendable {
    private let checksPerWindow: Int
    private(set) var checkCount = 0
    private var window: Int64 = 1
    private var used: [String: Int64] = [:]

    /// - Parameter checksPerWindow: many more than are ever in flight; otherwise answers come for windows that the oracle
    ///   has judged already.
    init(checksPerWindow: Int = 500) { self.checksPerWindow = checksPerWindow }

    mutating func decide(_ grant: String, _ conduct: StubSidecar.Conduct) -> DecisionFields {
        checkCount += 1
        if checkCount % checksPerWindow == 0 {
            window += 1
            used = [:]
        }
        var tally = used[grant, default: 0]
        var most = StubSidecar.max
        if case .admitsOneTooMany = conduct { most += 1 }
        let isAllowed = tally < most
        if isAllowed { tally += 1 }
        if case .losesCharges = conduct, tally == 5, isAllowed { used[grant] = 4 } else { used[grant] = tally }
        return DecisionFields(
            allowed: isAllowed, limit: StubSidecar.max, remaining: Swift.max(0, StubSidecar.max - tally),
            retryAfterMs: isAllowed ? 0 : 10, resetMs: 10, verdict: isAllowed ? .allow : .limit,
            rule: "/tools/t/limits/c",
            source: .shared,
            trace: [
                TraceEntry(rule: "/tools/t/limits/c", windowStartMs: window * 1000, used: tally, max: StubSidecar.max)
            ])
    }
}
