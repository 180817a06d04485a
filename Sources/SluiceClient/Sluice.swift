/// A sidecar, for as long as the gateway runs: the connection is opened when it is needed, and again when it was lost.
///
/// ```swift
/// let sluice = Sluice(path: "/run/sluice/sluice.sock")
/// do {
///     let decision = try await sluice.check(grant: "alice-laptop", tool: "opencode_run")
///     if !decision.allowed { return .tooManyRequests(decision.message) }
/// } catch {
///     return .serviceUnavailable  // or let the call pass: the gateway's choice
/// }
/// ```
///
/// Any number of tasks share one connection. A check is sent once: if the connection is lost before its answer, it may have
/// been charged, and the error is thrown. What happens once however often it is sent (a check or charge with an id, a
/// settlement, a peek) is sent once more over a new connection. While no connection can be opened, requests fail at once
/// between attempts, which become rarer, up to one in a second.
public actor Sluice: SluiceCommands {
    private let path: String
    private let timeout: Duration
    private var connection: SluiceConnection?
    /// The attempt that is under way: requests that need a connection wait for it.
    private var attempt: Task<Result<SluiceConnection, SluiceError>, Never>?
    private var pause = ReconnectPause()
    private var lastError: SluiceError?

    /// - Parameters:
    ///   - path: of the sidecar's Unix socket.
    ///   - timeout: how long to try to connect, and how long an answer may take. A sidecar answers within its budget, 20 ms
    ///     by default: after 250 ms something is stuck.
    public init(path: String, timeout: Duration = .milliseconds(250)) {
        self.path = path
        self.timeout = timeout
    }

    public nonisolated func send(_ arguments: [String], isRepeatable: Bool) async throws(SluiceError) -> Reply {
        let connection = try await connected()
        do throws(SluiceError) {
            return try await connection.send(arguments, isRepeatable: isRepeatable)
        } catch .closed where isRepeatable {
            return try await connected().send(arguments, isRepeatable: true)
        } catch {
            throw error
        }
    }

    /// Closes the connection; pending requests throw `SluiceError.closed`. The next request opens another.
    public func close() async {
        let closed = connection
        connection = nil
        await closed?.close()
    }

    /// The open connection, or a new one.
    private func connected() async throws(SluiceError) -> SluiceConnection {
        if let connection, connection.isOpen { return connection }
        if let attempt { return try await attempt.value.get() }
        if let lastError, !pause.isOver(at: .now) { throw lastError }
        let attempt = Task { [path, timeout] () async -> Result<SluiceConnection, SluiceError> in
            do throws(SluiceError) {
                return .success(try await .connect(path: path, timeout: timeout, requestTimeout: timeout))
            } catch {
                return .failure(error)
            }
        }
        self.attempt = attempt
        let result = await attempt.value
        self.attempt = nil
        switch result {
        case .success(let opened):
            connection = opened
            lastError = nil
            pause.succeeded()
            return opened
        case .failure(let error):
            lastError = error
            pause.failed(at: .now, chance: .random(in: 0...1))
            throw error
        }
    }
}

/// How long to wait before the next attempt to connect.
struct ReconnectPause {
    /// After the first attempt that failed; it doubles with each further one.
    static let first = Duration.milliseconds(10)
    static let longest = Duration.seconds(1)

    private var length = first
    private var end: ContinuousClock.Instant?

    func isOver(at now: ContinuousClock.Instant) -> Bool { end.map { now >= $0 } ?? true }

    /// - Parameter chance: 0 to 1: from half of the pause to the whole of it, so that gateways do not all come at once.
    mutating func failed(at now: ContinuousClock.Instant, chance: Double) {
        end = now + length * (0.5 + chance / 2)
        length = min(length * 2, Self.longest)
    }

    mutating func succeeded() { self = ReconnectPause() }
}
