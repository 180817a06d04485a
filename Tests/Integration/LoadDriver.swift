import Foundation
import Glibc
import SluiceProcesses
import Support

/// A real `sluice-load`, as a person runs it and ends it with Ctrl-C.
struct LoadDriver {
    let process: ChildProcess
    private let folder: TemporaryFolder

    /// What it printed at its end, and its exit status.
    struct Outcome {
        let status: Int32
        let output: String
    }

    /// Begins to load these sidecars with few checks at a time, and goes on until it is ended.
    /// - Parameters:
    ///   - grants: lines of `--grants-file`.
    ///   - judgeBy: the document that the sidecars are meant to hold.
    init(
        _ sidecars: [SidecarProcess], grants: [String], judgeBy: String? = nil, _ arguments: [String] = []
    ) throws {
        folder = try TemporaryFolder()
        var words = sidecars.flatMap { ["--socket", $0.socketPath] }
        words += ["--grants-file", try folder.write(grants.joined(separator: "\n"), to: "grants"), "--tool", "run"]
        words += ["--connections", "2", "--pipeline", "4", "--warm-up", "0", "--duration", "200s"]
        if let judgeBy { words += ["--judge-by", try folder.write(judgeBy, to: "judge.json")] }
        process = try ChildProcess(Self.program(), words + arguments)
    }

    /// Runs it with exactly these arguments until it ends by itself.
    static func run(_ arguments: [String]) async throws -> Outcome {
        try await outcome(of: ChildProcess(program(), arguments))
    }

    /// Ctrl-C.
    func interrupt() async throws -> Outcome {
        process.signal(SIGINT)
        return try await Self.outcome(of: process)
    }

    private static func outcome(of process: ChildProcess) async throws -> Outcome {
        guard case .exited(let status) = try await process.wait(timeout: .seconds(60)) else {
            throw SupportError("sluice-load was killed: \(process.errors)")
        }
        return Outcome(status: status, output: process.output + process.errors)
    }

    /// The one that was built beside the tests.
    private static func program() throws -> String {
        if let path = ChildProgram.builtBeside("sluice-load") { return path }
        throw SupportError("there is no sluice-load beside the tests: run swift build")
    }
}
