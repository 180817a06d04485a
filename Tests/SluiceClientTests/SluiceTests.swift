import NIOConcurrencyHelpers
import SluiceProtocol
import Support
import Testing

@testable import SluiceClient

@Suite struct SluiceTests {
    private static let allowed = StubServer.decision(.init(allowed: true, verdict: .allow, rule: "/r", source: .shared))

    /// Answers, but closes the connection instead of the first answers.
    private final class Losing: Sendable {
        private let state: NIOLockedValueBox<(losses: Int, received: [String])>

        init(_ losses: Int) { state = NIOLockedValueBox((losses, [])) }

        var received: [String] { state.withLockedValue(\.received) }

        func respond(_ words: [String]) -> StubServer.Action {
            state.withLockedValue { state in
                state.received.append(words.joined(separator: " "))
                guard state.losses > 0 else {
                    return .answer(["COMMIT", "CANCEL", "RELEASE"].contains(words[0]) ? ":1\r\n" : SluiceTests.allowed)
                }
                state.losses -= 1
                return .close
            }
        }
    }

    /// However busy the machine is, what is to come comes in this time.
    private func sluice(_ path: String) -> Sluice { Sluice(path: path, timeout: .seconds(300)) }

    @Test func aCheckIsSentOnceAndTheNextOpensAnotherConnection() async throws {
        let losing = Losing(1)
        try await StubServer.with({ losing.respond($0) }) { server in
            let sluice = sluice(server.path)
            await #expect(throws: SluiceError.closed) { try await sluice.check(grant: "g", tool: "t") }
            #expect(losing.received == ["CHECK g t"])
            let next = try await sluice.check(grant: "g", tool: "u")
            #expect(next.allowed)
            #expect(losing.received == ["CHECK g t", "CHECK g u"])
        }
    }

    @Test func whatHappensOnceIsSentOnceMore() async throws {
        typealias Request = @Sendable (Sluice) async throws -> Void
        let withID = CheckOptions(id: "k")
        let requests: [(String, Request)] = [
            ("CHECK g t ID k", { _ = try await $0.check(grant: "g", tool: "t", options: withID) }),
            ("CHARGE g t 2 ID k", { _ = try await $0.charge(grant: "g", tool: "t", cost: 2, options: withID) }),
            ("REFUND g t 2 ID k", { _ = try await $0.refund(grant: "g", tool: "t", cost: 2, options: withID) }),
            ("PEEK g t", { _ = try await $0.peek(grant: "g", tool: "t") }),
            ("COMMIT g r 1", { _ = try await $0.commit(grant: "g", reservation: "r", cost: 1) }),
            ("CANCEL g r", { _ = try await $0.cancel(grant: "g", reservation: "r") }),
            ("RELEASE g r", { _ = try await $0.release(grant: "g", reservation: "r") }),
        ]
        for (words, request) in requests {
            let once = Losing(1)
            try await StubServer.with({ once.respond($0) }) { server in try await request(sluice(server.path)) }
            #expect(once.received == [words, words])
            let always = Losing(.max)
            try await StubServer.with({ always.respond($0) }) { server in
                let sluice = sluice(server.path)
                await #expect(throws: SluiceError.closed) { try await request(sluice) }
            }
            #expect(always.received == [words, words])
        }
    }

    @Test func chargesWithoutAnIDAreSentOnce() async throws {
        let losing = Losing(.max)
        try await StubServer.with({ losing.respond($0) }) { server in
            let sluice = sluice(server.path)
            await #expect(throws: SluiceError.closed) { try await sluice.charge(grant: "g", tool: "t", cost: 2) }
            await #expect(throws: SluiceError.closed) { try await sluice.refund(grant: "g", tool: "t", cost: 2) }
            await #expect(throws: SluiceError.closed) { try await sluice.send(["PING"]) }
        }
        #expect(losing.received == ["CHARGE g t 2", "REFUND g t 2", "PING"])
    }

    @Test func tasksShareOneConnection() async throws {
        let server = try await StubServer { _ in .answer("+PONG\r\n") }
        let sluice = sluice(server.path)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<100 { group.addTask { _ = try await sluice.send(["PING"]) } }
            try await group.waitForAll()
        }
        #expect(server.connectionCount == 1)
        await sluice.close()
        #expect(try await sluice.send(["PING"]) == .string("PONG"))
        #expect(server.connectionCount == 2)
        try await server.stop()
    }

    @Test func aMissingSocketIsFoundOnceItIsThere() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("s.sock")
        let sluice = sluice(path)
        for _ in 0..<2 {
            do {
                _ = try await sluice.check(grant: "g", tool: "t")
                Issue.record("there is no sidecar")
            } catch {
                guard case .connect(path, _) = error else { throw error }
            }
        }
        let server = try await StubServer(path: path) { _ in .answer(Self.allowed) }
        try await waitUntil("it has connected") {
            (try? await sluice.check(grant: "g", tool: "t"))?.allowed == true
        }
        try await server.stop()
    }

    @Test func pausesDoubleUpToASecond() {
        var pause = ReconnectPause()
        var now = ContinuousClock.now
        #expect(pause.isOver(at: now))
        for milliseconds in [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000] {
            pause.failed(at: now, chance: 1)
            #expect(!pause.isOver(at: now + .milliseconds(milliseconds - 1)))
            now += .milliseconds(milliseconds)
            #expect(pause.isOver(at: now))
        }
        pause.failed(at: now, chance: 0)
        #expect(!pause.isOver(at: now + .milliseconds(499)) && pause.isOver(at: now + .milliseconds(500)))
        pause.succeeded()
        #expect(pause.isOver(at: now))
        pause.failed(at: now, chance: 1)
        #expect(!pause.isOver(at: now + .milliseconds(9)) && pause.isOver(at: now + .milliseconds(10)))
    }
}
