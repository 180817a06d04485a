import ArgumentParser
import Foundation
import NIOConcurrencyHelpers
import SluiceTerminal
import UnixSignals

/// `sluice-load` from its arguments to its exit code.
enum LoadProgram {
    enum ExitCode {
        static let ok: Int32 = 0
        /// The oracle found a broken promise.
        static let brokenPromise: Int32 = 1
        static let couldNotRun: Int32 = 2
        /// The oracle had nothing to judge.
        static let nothingJudged: Int32 = 3
        /// EX_USAGE.
        static let usage: Int32 = 64
        /// The exit code that a shell reports for a program ended by Ctrl-C.
        static let interrupted: Int32 = 130
    }

    /// - Parameter arguments: without the program's name.
    static func run(arguments: [String]) async -> Int32 {
        if arguments.first == BenchProgram.word {
            return await BenchProgram.run(arguments: Array(arguments.dropFirst()))
        }
        let command: LoadCommand
        var settings: LoadSettings
        let plan: ClusterPlan?
        do {
            command = try LoadCommand.parse(arguments)
            settings = try command.settings(chance: UInt64.random(in: 0...999_999))
            plan = try command.clusterPlan(settings)
        } catch {
            return report(error, of: LoadCommand.self)
        }
        signal(SIGPIPE, SIG_IGN)
        let isTerminal = Style.isTerminal(descriptor: STDERR_FILENO)
        let progress = NIOLockedValueBox(LoadProgress(isTerminal: isTerminal))
        let show: @Sendable (consuming LoadProgress.Sample) -> Void = { sample in
            if let text = progress.withLockedValue({ $0.take(sample) }) { writeError(text) }
        }
        let note = { @Sendable (text: String) in
            writeError("\(LoadProgress(isTerminal: isTerminal).ending)\(TerminalText.visible(text))\n")
        }
        var cluster: LocalCluster?
        do {
            if let plan {
                let made = try LocalCluster(sidecars: plan.sidecars, policy: plan.policy, budgetNs: settings.budgetNs)
                cluster = made
                settings.socketPaths = settings.target == .redis ? [made.redisSocket] : made.sidecarSockets
            }
            let runner = LoadRunner(
                settings, cluster: cluster, faults: plan?.faults ?? FaultScript(), onSample: show, onNote: note)
            let summary = try await untilInterrupted { [cluster] in
                try await cluster?.start()
                return try await runner.run()
            }
            await cluster?.end()
            writeError(LoadProgress(isTerminal: isTerminal).ending)
            // The summary first, because it cannot be recreated: a file may turn out not to be writable.
            print(command.verdict.json ? summary.json() : summary.table(style: style), terminator: "")
            if command.verdict.timeline, !command.verdict.json {
                print("\n" + summary.timelineTable(style: style), terminator: "")
            }
            if let path = command.traces.record { try save(Trace.text(of: summary.recorded, settings), to: path) }
            if let path = command.verdict.report { try save(summary.html(), to: path) }
            if !summary.isKept { return ExitCode.brokenPromise }
            return summary.nothingJudged == nil ? ExitCode.ok : ExitCode.nothingJudged
        } catch {
            await cluster?.end()
            if error is CancellationError { return ExitCode.interrupted }
            note("sluice-load: \(error)")
            return ExitCode.couldNotRun
        }
    }

    static func save(_ text: String, to path: String) throws {
        do {
            try WholeFile.save(text, to: path)
        } catch {
            throw LocalClusterFailure(error.description)
        }
    }

    /// Help goes to standard output; an argument's fault is one line on standard error.
    static func report(_ error: any Error, of command: (some ParsableCommand).Type) -> Int32 {
        guard command.exitCode(for: error) != .success else {
            print(command.fullMessage(for: error))
            return ExitCode.ok
        }
        let message = command.message(for: error).split(separator: "\n").joined(separator: " ")
        let name = command.configuration.commandName ?? "sluice-load"
        writeError("\(name): \(message) (\(name) --help shows all options)\n")
        return ExitCode.usage
    }

    /// The first Ctrl-C or SIGTERM cancels what runs, the second one ends the process.
    static func untilInterrupted<Result: Sendable>(
        _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        let run = Task { try await body() }
        let watch = Task {
            var hasEnded = false
            for await _ in await UnixSignalsSequence(trapping: .sigint, .sigterm) {
                if hasEnded { exit(ExitCode.interrupted) }
                hasEnded = true
                run.cancel()
            }
        }
        defer { watch.cancel() }
        return try await run.value
    }

    /// How standard output is written.
    static var style: Style {
        Style(
            isTerminal: Style.isTerminal(descriptor: STDOUT_FILENO), environment: ProcessInfo.processInfo.environment)
    }

    static func writeError(_ text: String) { StandardStream.write(text, to: STDERR_FILENO) }
}
