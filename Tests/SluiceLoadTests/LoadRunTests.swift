import Histogram
import NIOConcurrencyHelpers
@testable import sluice_load
import SluiceProtocol
import SluiceTerminal
import Support
import Testing

/// Whole runs against a stub on a Unix socket.
@Suite struct LoadRunTests {
    private let folder: TemporaryFolder
    private var settings: LoadSettings

    init() throws {
        folder = try TemporaryFolder()
        settings = LoadSettings(socketPaths: [folder.path("a.sock")])
        settings.connectionsPerSocket = 4
        settings.pipeline = 8
        settings.grantCount = 5
        settings.seed = 1
        settings.warmUpNs = 0
        // Runs are ended by the tests, when they have seen enough.
        settings.durationNs = 600_000_000_000
    }

    private func stub(_ conduct: StubSidecar.Conduct) async throws -> StubSidecar {
        try await StubSidecar(path: settings.socketPaths[0], conduct)
    }

    /// Runs until the stub has read so many checks, as Ctrl-C would end it.
    private func run(until checks: Int = 6000, of stub: StubSidecar) async throws -> Summary {
        let runner = LoadRunner(settings)
        let run = Task { try await runner.run() }
        do {
            try await waitUntil("the stub has read \(checks) checks", timeout: .seconds(300)) {
                stub.checkCount >= checks
            }
        } catch {
            run.cancel()
            throw error
        }
        run.cancel()
        return try await within(.seconds(300), "the run ends") { try await run.value }
    }

    @Test func anHonestSidecarKeepsEveryPromise() async throws {
        let stub = try await stub(.honest)
        let summary = try await run(of: stub)
        #expect(summary.isKept && summary.isInterrupted)
        #expect(summary.statistics.decisionCount == Int64(stub.checkCount))
        #expect(summary.statistics.failureCount == 0)
        #expect(summary.statistics[.shared].allowed > 0 && summary.statistics[.shared].denied > 0)
        #expect(summary.statistics.latency.totalCount == UInt64(stub.checkCount))
        let oracle = try #require(summary.oracle)
        #expect(oracle.answers == Int64(stub.checkCount))
        #expect(oracle.fullWindows > 0 && oracle.exactWindows == oracle.fullWindows)
    }

    @Test func answersMayComeInPieces() async throws {
        let stub = try await stub(.drips)
        let summary = try await run(until: 1500, of: stub)
        #expect(summary.isKept && summary.statistics.failureCount == 0)
        #expect(summary.statistics.decisionCount == Int64(stub.checkCount))
    }

    @Test func oneAdmissionTooManyIsCaught() async throws {
        let stub = try await stub(.admitsOneTooMany)
        let summary = try await run(of: stub)
        #expect(!summary.isKept)
        let first = try #require(summary.oracle?.breaks.first)
        #expect(first.promise == .neverOver && first.rule == "/tools/t/limits/c")
        #expect(summary.table(style: .plain).contains("never over: grant load-"))
    }

    @Test func aLostChargeIsCaught() async throws {
        let stub = try await stub(.losesCharges)
        let summary = try await run(of: stub)
        #expect(summary.oracle?.breaks.contains { $0.promise == .everyChargeCounts } == true)
    }

    @Test func severalSidecarsAndThreadsAreCountedTogether() async throws {
        let counters = NIOLockedValueBox(StubCounters())
        var settings = settings
        settings.socketPaths = [folder.path("a.sock"), folder.path("b.sock")]
        settings.threadCount = 2
        let stubs = [
            try await StubSidecar(path: settings.socketPaths[0], counters: counters),
            try await StubSidecar(path: settings.socketPaths[1], counters: counters),
        ]
        var suite = self
        suite.settings = settings
        let summary = try await suite.run(of: stubs[0])
        #expect(summary.isKept && summary.statistics.decisionCount == Int64(stubs[0].checkCount))
    }

    @Test func garbageClosesTheConnectionAndTheRunGoesOn() async throws {
        let stub = try await stub(.answersGarbage)
        let summary = try await run(until: 300, of: stub)
        #expect(summary.isKept && summary.statistics[.malformed] > 0 && summary.statistics.brokenConnections > 1)
        #expect(summary.statistics.firstFault?.hasPrefix("an answer that is not Sluice's") == true)
    }

    @Test func aConnectionThatBreaksIsOpenedAgain() async throws {
        let stub = try await stub(.closes)
        // More than the first connections can have seen.
        let summary = try await run(until: 2000, of: stub)
        #expect(summary.isKept && summary.statistics[.lost] > 0 && summary.statistics.brokenConnections > 4)
    }

    @Test func busyIsCounted() async throws {
        let stub = try await stub(.answersBusy)
        await #expect(throws: LoadFailure.noDecision(fault: "BUSY too many checks are waiting")) {
            try await run(until: 100, of: stub)
        }
    }

    @Test func somethingElseThanASidecarCannotBeMeasured() async throws {
        let stub = try await stub(.answersErrors)
        await #expect(throws: LoadFailure.noDecision(fault: "ERR unknown command 'CHECK'")) {
            try await run(until: 100, of: stub)
        }
    }

    @Test func aSilentSidecarDoesNotHoldUpTheEnd() async throws {
        let stub = try await stub(.isSilent)
        await #expect(throws: LoadFailure.noDecision(fault: nil)) { try await run(until: 32, of: stub) }
    }

    @Test func aSocketThatIsNotThereCannotBeMeasured() async throws {
        let path = settings.socketPaths[0]
        await #expect(
            throws: LoadFailure.cannotConnect(path: path, reason: "No such file or directory", target: .sluice)
        ) {
            _ = try await LoadRunner(settings).run()
        }
        let arguments = ["--socket", path, "--duration", "1"]
        #expect(await LoadProgram.run(arguments: arguments) == LoadProgram.ExitCode.couldNotRun)
    }

    /// The run is over before the connections that were opened are closed.
    @Test func aSecondSocketThatIsNotThereEndsTheRun() async throws {
        let stub = try await stub(.honest)
        var settings = settings
        settings.connectionsPerSocket = 50
        settings.socketPaths.append(folder.path("b.sock"))
        await #expect(throws: LoadFailure.self) { _ = try await LoadRunner(settings).run() }
        try await stub.stop()
    }

    /// More connections than the stub's listener lets wait to be accepted.
    @Test func manyConnectionsAreOpened() async throws {
        let counters = NIOLockedValueBox(StubCounters(checksPerWindow: 100_000))
        let stub = try await StubSidecar(path: settings.socketPaths[0], counters: counters)
        var suite = self
        suite.settings.connectionsPerSocket = 600
        let summary = try await suite.run(of: stub)
        #expect(summary.isKept && summary.statistics.brokenConnections == 0)
        #expect(summary.statistics.decisionCount == Int64(stub.checkCount))
    }

    @Test func anOpenLoopSendsWhatWasMeant() async throws {
        let stub = try await stub(.honest)
        var suite = self
        suite.settings.ratePerSecond = 5000
        suite.settings.threadCount = 2
        let summary = try await suite.run(until: 1000, of: stub)
        #expect(summary.isKept && summary.statistics.decisionCount == Int64(stub.checkCount))
        #expect(summary.statistics.lateness.totalCount == UInt64(stub.checkCount))
    }

    @Test func aRunEndsByItselfAndShowsItsProgress() async throws {
        let stub = try await stub(.honest)
        var settings = settings
        settings.warmUpNs = 50_000_000
        settings.durationNs = 50_000_000
        let samples = NIOLockedValueBox<[Bool]>([])
        let runner = LoadRunner(settings) { sample in
            let isWarmUp = sample.isWarmUp
            samples.withLockedValue { $0.append(isWarmUp) }
        }
        let summary = try await runner.run()
        #expect(!summary.isInterrupted && summary.isKept)
        #expect(samples.withLockedValue { $0.first } == true && samples.withLockedValue { $0.last } == false)
        // The oracle has seen the warm-up, too.
        #expect(summary.oracle?.answers == Int64(stub.checkCount))
        try await stub.stop()
    }
}
