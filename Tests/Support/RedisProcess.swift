import Foundation

/// A real redis-server of a test's own, on a Unix socket in a temporary folder, keeping nothing on disk.
///
/// `SLUICE_REDIS_SERVER` names the program to run instead of the installed one. Safe to use from any thread. It ends
/// with the last reference, or with the test process, or after five minutes.
package final class RedisProcess: @unchecked Sendable {
    private let folder: TemporaryFolder
    private let configuration: [String]
    private let password: String?
    private let wrapper: [String]
    private let lock = NSLock()
    private var process: ChildProcess

    /// The Unix socket that it listens on.
    package var socketPath: String { folder.path("redis.sock") }
    /// As `RedisAddress` takes it.
    package var url: String { "unix://\(socketPath)" }
    package var pid: Int32 { lock.withLock { process.pid } }

    /// Starts it, and waits until it answers.
    /// - Parameters:
    ///   - configuration: lines of redis.conf, such as `maxmemory 10mb`.
    ///   - password: that of the default user, for this helper's own commands; the configuration must set it.
    ///   - wrapper: a command that runs the program, such as `ip netns exec`.
    package init(configuration: [String] = [], password: String? = nil, wrapper: [String] = []) async throws {
        folder = try TemporaryFolder()
        self.configuration = configuration
        self.password = password
        self.wrapper = wrapper
        process = try Self.start(in: folder, configuration, wrapper)
        try await waitUntilReady()
    }

    /// It goes before its folder does.
    deinit { process.endAtOnce() }

    /// Ends it at once, as a crash would (SIGKILL), and waits for that.
    package func kill() async throws { try await current.end() }

    /// Hangs it: connections are still accepted by the kernel, and nothing is answered (SIGSTOP).
    package func stop() { current.signal(SIGSTOP) }

    /// Ends `stop`: it does first what came in meanwhile (SIGCONT).
    package func `continue`() { current.signal(SIGCONT) }

    /// Starts it again on the same socket, with nothing remembered; ends it first if it still runs.
    package func restartEmpty() async throws { try await restart() }

    /// The same, with what its configuration made it write down.
    package func restart() async throws {
        try await current.end()
        let next = try Self.start(in: folder, configuration, wrapper)
        lock.withLock { process = next }
        try await waitUntilReady()
    }

    /// Runs one command on a connection of its own.
    @discardableResult
    package func command(_ words: String...) throws -> RedisAnswer { try command(words) }

    @discardableResult
    package func command(_ words: [String]) throws -> RedisAnswer { try client().command(words) }

    /// A connection for many commands.
    package func client() throws -> RedisClient {
        let client = try RedisClient(path: socketPath, server: self)
        if let password { _ = try client.command(["AUTH", password]) }
        return client
    }

    /// One field of `INFO`.
    package func info(_ field: String) throws -> String? {
        guard case .string(let text) = try command("INFO", "everything") else { return nil }
        return text.split(whereSeparator: \.isNewline).first { $0.hasPrefix("\(field):") }
            .map { String($0.dropFirst(field.count + 1)) }
    }

    private var current: ChildProcess { lock.withLock { process } }

    private static func start(
        in folder: TemporaryFolder, _ configuration: [String], _ wrapper: [String]
    ) throws -> ChildProcess {
        let lines =
            [
                "port 0", "unixsocket \(folder.path("redis.sock"))", "dir \(folder.path)", "save \"\"",
                "appendonly no", "daemonize no",
            ] + configuration
        let file = try folder.write(lines.joined(separator: "\n") + "\n", to: "redis.conf")
        let words = wrapper + [ProcessInfo.processInfo.environment["SLUICE_REDIS_SERVER"] ?? "redis-server", file]
        return try ChildProcess(words[0], Array(words.dropFirst()))
    }

    private func waitUntilReady() async throws {
        let process = current
        try await waitUntil("redis-server answers PING") {
            guard process.isRunning else {
                throw SupportError("redis-server did not start:\n\(process.output)\(process.errors)")
            }
            return (try? self.command("PING")) == .string("PONG")
        }
    }
}
