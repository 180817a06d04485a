/// What clients make the sidecar hold, in bytes, and the bound on that. A value; the host acts on it.
///
/// Connections are counted by what they say of themselves; the engine's tables are asked when it matters.
struct MemoryBudget {
    /// For everything together.
    let limitBytes: Int
    /// What connections hold: buffers, replies that wait, output that is not read.
    private(set) var connectionBytes = 0
    /// Connections that were closed because they held most when the bound was met.
    var closed: Int64 = 0
    /// Connections that were told `BUSY` because there was no room for another one.
    var refused: Int64 = 0
    /// Connections that were closed because they did not read their answers.
    var unread: Int64 = 0

    init(limitBytes: Int) { self.limitBytes = limitBytes }

    /// What the engine's tables may take of it.
    var tableLimitBytes: Int { Self.tableLimitBytes(of: limitBytes) }

    static func tableLimitBytes(of limitBytes: Int) -> Int { limitBytes / 4 * ServerBounds.tableQuarters }

    @inline(__always)
    mutating func add(_ bytes: Int) { connectionBytes += bytes }

    /// How much connections must let go of when the bound is met: more than is over it, so that it is not met again at
    /// once.
    func excessBytes(tableBytes: Int) -> Int {
        guard connectionBytes + tableBytes > limitBytes else { return 0 }
        return connectionBytes + tableBytes - limitBytes / 8 * 7
    }

    /// Whether connections may hold so much more.
    func hasRoom(for bytes: Int, tableBytes: Int) -> Bool { connectionBytes + tableBytes + bytes <= limitBytes }
}
