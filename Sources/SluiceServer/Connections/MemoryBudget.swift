/// The bytes that clients make the sidecar hold, and their bound. A value; the host acts on it.
///
/// Connections report their own bytes; the engine's tables are measured when needed.
struct MemoryBudget {
    /// For connections and tables together.
    let limitBytes: Int
    /// Bytes held by connections: buffers, waiting replies, unread output.
    private(set) var connectionBytes = 0
    /// Connections closed because they held most when the bound was reached.
    var closed: Int64 = 0
    /// Connections answered with `BUSY` because there was no room for another one.
    var refused: Int64 = 0
    /// Connections closed because they did not read their answers.
    var unread: Int64 = 0

    init(limitBytes: Int) { self.limitBytes = limitBytes }

    /// The share that the engine's tables may take.
    var tableLimitBytes: Int { Self.tableLimitBytes(of: limitBytes) }

    static func tableLimitBytes(of limitBytes: Int) -> Int { limitBytes / 4 * ServerBounds.tableQuarters }

    @inline(__always)
    mutating func add(_ bytes: Int) { connectionBytes += bytes }

    /// How many bytes connections must free when the bound is reached: more than the excess, so that it is not reached
    /// again at once.
    func excessBytes(tableBytes: Int) -> Int {
        guard connectionBytes + tableBytes > limitBytes else { return 0 }
        return connectionBytes + tableBytes - limitBytes / 8 * 7
    }

    /// Whether connections may hold so many bytes more.
    func hasRoom(for bytes: Int, tableBytes: Int) -> Bool { connectionBytes + tableBytes + bytes <= limitBytes }
}
