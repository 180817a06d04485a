import SluiceClient

/// Questions to Redis and to sidecars beside the measured traffic.
extension SluiceConnection {
    /// Asks on a connection that is closed afterwards.
    static func with<Answer>(
        _ path: String, _ body: (SluiceConnection) async throws(SluiceError) -> Answer
    ) async throws(SluiceError) -> Answer {
        let limit = Duration.seconds(LoadBounds.askTimeoutSeconds)
        // The last reference closes it.
        return try await body(try await connect(path: path, timeout: limit, requestTimeout: limit))
    }

    /// One command on a connection of its own.
    static func ask(_ path: String, _ words: [String]) async throws(SluiceError) -> Reply {
        try await with(path) { connection throws(SluiceError) in try await connection.send(words) }
    }
}
