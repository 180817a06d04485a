import Foundation
import SluiceProcesses

/// A real `sluiced` of a test's own, on a socket in a temporary folder.
///
/// The program is the one that was built beside the tests; `SLUICE_TEST_SLUICED` names another. Safe to use from any
/// thread. It ends with the last reference, or with the test process, or after five minutes.
package final class SidecarProcess: Sendable {
    package let folder: TemporaryFolder
    package let socketPath: String
    package let process: ChildProcess
    /// It must not end before this does.
    private let store: (any Sendable & AnyObject)?

    package var pid: Int32 { process.pid }

    /// How long its threads have been ready to run without a processor, in total: from Linux' `schedstat`.
    package func waitedForProcessor() throws -> Duration {
        let tasks = "/proc/\(pid)/task"
        let waits = try FileManager.default.contentsOfDirectory(atPath: tasks).map { task in
            // A thread may end meanwhile.
            let text = (try? String(contentsOfFile: "\(tasks)/\(task)/schedstat", encoding: .utf8)) ?? ""
            return text.split(separator: " ").dropFirst().first.flatMap { Int64($0) } ?? 0
        }
        return .nanoseconds(waits.reduce(0, +))
    }
    /// What it has logged so far.
    package var log: String { process.errors }

    /// Starts it, and waits until it is ready.
    /// - Parameters:
    ///   - policy: the document's text; empty if `arguments` name the policies.
    ///   - documents: the files of a folder of policies by their names, instead of `policy`.
    ///   - redis: as `--redis` takes it; nil leaves it out.
    ///   - store: what is behind that address; is kept alive.
    ///   - budget: as `--budget` takes it. The default is long, so that a machine that is busy with something else does
    ///     not turn a shared answer into a local one; tests of outages set a short one.
    ///   - arguments: further ones.
    ///   - wrapper: a command that runs the program, such as `prlimit`.
    package init(
        policy: String, documents: [String: String] = [:], redis: String? = nil,
        store: (any Sendable & AnyObject)? = nil, replicas: Int = 2, budget: String = "5s", arguments: [String] = [],
        environment: [String: String] = [:], wrapper: [String] = []
    ) async throws {
        self.store = store
        folder = try TemporaryFolder()
        socketPath = folder.path("sluice.sock")
        var words =
            wrapper + [try Self.program(), "--socket", socketPath, "--replicas", "\(replicas)", "--budget", budget]
        if documents.isEmpty, !policy.isEmpty { words += ["--policy", try folder.write(policy, to: "policy.json")] }
        if !documents.isEmpty { words += ["--policies", try folder.write(documents, toFolder: "policies")] }
        if let redis { words += ["--redis", redis] }
        words += arguments
        process = try ChildProcess(words[0], Array(words.dropFirst()), environment: environment)
        try await Self.waitUntilReady(process)
    }

    /// Starts `sluiced` with exactly these arguments, and waits for nothing.
    package static func launch(_ arguments: [String], environment: [String: String] = [:]) throws -> ChildProcess {
        try ChildProcess(program(), arguments, environment: environment)
    }

    /// Starts `sluiced` with exactly these arguments, which must end by itself.
    /// - Returns: its exit status, and the lines of its standard error.
    package static func outcome(
        _ arguments: [String], environment: [String: String] = [:]
    ) async throws -> (status: Int32, errors: [String]) {
        let process = try launch(arguments, environment: environment)
        guard case .exited(let status) = try await process.wait(timeout: .seconds(20)) else {
            throw SupportError("sluiced was killed: \(process.errors)")
        }
        return (
            status, process.errors.split(separator: "\n", omittingEmptySubsequences: false).map(String.init).dropLast()
        )
    }

    /// Starts `sluiced` with exactly these arguments, which must end by itself, with this exit status.
    /// - Returns: the lines of its standard error.
    package static func startErrors(_ arguments: [String], status: Int32 = 78) async throws -> [String] {
        let outcome = try await outcome(arguments)
        guard outcome.status == status else { throw SupportError("ended with \(outcome.status): \(outcome.errors)") }
        return outcome.errors
    }

    /// The same, over a Redis of the test's own.
    package convenience init(
        policy: String, over redis: RedisProcess, budget: String = "5s", arguments: [String] = [],
        environment: [String: String] = [:]
    ) async throws {
        try await self.init(
            policy: policy, redis: redis.url, store: redis, budget: budget, arguments: arguments,
            environment: environment)
    }

    /// Waits for the log line that it listens.
    package static func waitUntilReady(_ process: ChildProcess) async throws {
        try await waitUntil("sluiced is ready", timeout: .seconds(20)) {
            if process.errors.split(whereSeparator: \.isNewline).contains(where: isReadyLine) { return true }
            guard process.isRunning else {
                throw SupportError("sluiced did not start:\n\(process.output)\(process.errors)")
            }
            return false
        }
    }

    private static func isReadyLine(_ line: Substring) -> Bool {
        line.contains(" ready") || line.contains("\"message\":\"ready\"")
    }

    /// The path of the built program.
    package static func program() throws -> String {
        if let path = ProcessInfo.processInfo.environment["SLUICE_TEST_SLUICED"] { return path }
        if let path = ChildProgram.builtBeside("sluiced") { return path }
        throw SupportError("there is no sluiced beside the tests: run swift build, or set SLUICE_TEST_SLUICED")
    }

    /// A connection.
    package func client(answerLimit: Int = 10) throws -> RedisClient {
        try RedisClient(path: socketPath, answerLimit: answerLimit, server: self)
    }

    /// One field of `INFO`, as a number.
    package func figure(_ field: String) throws -> Int {
        guard let text = try client().info(field), let number = Int(text) else {
            throw SupportError("INFO has no figure \(field)")
        }
        return number
    }

    package func waitUntilShared(timeout: Duration = .seconds(15)) async throws {
        try await waitUntil("counting is shared\n\(log)", timeout: timeout) {
            try self.client().info("counting") == "shared"
        }
    }

    /// Waits until its change feed is up, and so its denial cache on.
    package func waitUntilSubscribed(timeout: Duration = .seconds(15)) async throws {
        try await waitUntil("changes are heard of\n\(log)", timeout: timeout) {
            try self.client().info("subscription") == "up"
        }
    }

    package func waitUntilLocal(timeout: Duration = .seconds(15)) async throws {
        try await waitUntil("counting is local\n\(log)", timeout: timeout) {
            try self.client().info("counting") == "local"
        }
    }
}
