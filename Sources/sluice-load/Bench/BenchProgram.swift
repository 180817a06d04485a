import ArgumentParser
import Foundation
import SluiceTerminal

/// `sluice-load bench` from its arguments to its exit code.
enum BenchProgram {
    /// The first argument of `sluice-load` that selects it.
    static let word = "bench"

    /// - Parameter arguments: behind the word.
    static func run(arguments: [String]) async -> Int32 {
        let command: BenchCommand
        let plan: BenchPlan
        let cells: [BenchCell]
        do {
            command = try BenchCommand.parse(arguments)
            plan = try command.plan()
            cells = try command.cells()
        } catch {
            return LoadProgram.report(error, of: BenchCommand.self)
        }
        let style = LoadProgram.style
        if command.list {
            for cell in cells { print("\(cell.name): \(cell.about)") }
            return LoadProgram.ExitCode.ok
        }
        signal(SIGPIPE, SIG_IGN)
        do {
            return try await LoadProgram.untilInterrupted {
                let run = await measure(cells, plan, style)
                if Task.isCancelled { return LoadProgram.ExitCode.interrupted }
                let commit = command.commit
                print(BenchReport.measures(run.results, style), terminator: "")
                let origin = BenchReport.origin(run.results, machine: .current, commit: commit)
                print(style.apply(.faint, to: origin), terminator: "")
                // Also written when it happened, but that is far above by now.
                for failure in run.failures { LoadProgram.writeError("sluice-load bench: \(failure)\n") }
                if let path = command.json {
                    try LoadProgram.save(
                        BenchReport.json(run.results, plan: plan, machine: .current, commit: commit), to: path)
                }
                if !run.failures.isEmpty { return LoadProgram.ExitCode.couldNotRun }
                return run.results.allSatisfy(\.counts.isClean)
                    ? LoadProgram.ExitCode.ok : LoadProgram.ExitCode.brokenPromise
            }
        } catch {
            LoadProgram.writeError("sluice-load bench: \(error)\n")
            return LoadProgram.ExitCode.couldNotRun
        }
    }

    /// If a cell cannot be measured, the others still are.
    private static func measure(
        _ cells: [BenchCell], _ plan: BenchPlan, _ style: Style
    ) async -> (results: [BenchResult], failures: [String]) {
        var results: [BenchResult] = []
        var failures: [String] = []
        let startNs = Clock.nowNs()
        for (index, cell) in cells.enumerated() where !Task.isCancelled {
            let elapsed = index > 0 ? " (\((Clock.nowNs() - startNs) / 1_000_000_000) s so far)" : ""
            LoadProgram.writeError("[\(index + 1)/\(cells.count)] \(cell.name)\(elapsed)\n")
            do {
                let result = try await BenchRunner.run(cell, plan: plan) { LoadProgram.writeError("  \($0)\n") }
                results.append(result)
                print(BenchReport.section(result, style), terminator: "")
                fflush(nil)
            } catch {
                // Any error during the shutdown is a result of the shutdown.
                if Task.isCancelled || error is CancellationError {
                    LoadProgram.writeError("\(cell.name): interrupted, no result\n")
                    break
                }
                let failure = "\(cell.name): not measured: \(error)"
                LoadProgram.writeError("\(failure)\n")
                failures.append(failure)
            }
        }
        return (results, failures)
    }
}
