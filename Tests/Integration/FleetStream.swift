import Support

/// Reservations that are settled when their window is often over, of a grant of its own: what a `COMMIT` is above its
/// reservation then counts in the window that is open, and nothing is given back.
///
/// Which window is open when a settlement comes is known but for a moment at its border, so the sum of all windows has a least
/// and a most.
struct FleetStream {
    static let grant = "brief"
    static let tool = "stream"
    static let windowSeconds = 2

    private struct Open {
        var reservation: String
        var cost: Int
        var window: Int
    }

    private var open: [Open] = []
    private var least = 0
    private var most = 0
    /// Settlements above a reservation whose window was over.
    private(set) var excesses = 0

    private func window(_ redis: RedisClient) throws -> Int {
        guard let seconds = try redis.command("TIME").elements?.first?.text.flatMap({ Int($0) }) else {
            throw SupportError("no time")
        }
        return seconds / Self.windowSeconds
    }

    mutating func reserve(cost: Int, by client: RedisClient) throws {
        let reply = try client.check(Self.grant, Self.tool, "COST", "\(cost)", "RESERVE", "TRACE")
        guard reply.allowed, let reservation = reply.reservation, let look = reply.trace?.first else {
            throw SupportError("not reserved: \(reply)")
        }
        open.append(Open(reservation: reservation, cost: cost, window: look.windowStartMs / 1_000 / Self.windowSeconds))
        least += cost
        most += cost
    }

    /// Settles the oldest reservation, to a cost or (nil) to nothing.
    /// - Returns: whether there was one, and it was done.
    mutating func settle(to cost: Int?, by client: RedisClient, redis: RedisClient) throws -> Bool {
        guard !open.isEmpty else { return true }
        let kept = open.removeFirst()
        let before = try window(redis)
        let words = [cost == nil ? "CANCEL" : "COMMIT", Self.grant, kept.reservation] + (cost.map { ["\($0)"] } ?? [])
        let isDone = try client.command(words) == .integer(1)
        let after = try window(redis)
        let change = (cost ?? 0) - kept.cost
        // It may have come in the reservation's own window, or later.
        let (mayBeOpen, mayBeOver) = (before == kept.window, after > kept.window)
        let changes = (mayBeOpen ? [change] : []) + (mayBeOver ? [max(0, change)] : [])
        least += changes.min() ?? 0
        most += changes.max() ?? 0
        if !mayBeOpen && change > 0 { excesses += 1 }
        return isDone && !changes.isEmpty
    }

    /// Whether the windows of all open reservations are over.
    func isOver(_ redis: RedisClient) throws -> Bool {
        let now = try window(redis)
        return open.allSatisfy { $0.window < now }
    }

    mutating func settleAll(to cost: Int, by clients: [RedisClient], redis: RedisClient) throws -> Bool {
        var areDone = true
        while !open.isEmpty {
            areDone = try settle(to: cost, by: clients[open.count % clients.count], redis: redis) && areDone
        }
        return areDone
    }

    /// What is wrong with Redis' counters of all windows: they outlive their windows by a minute.
    func fault(_ redis: RedisClient) throws -> String? {
        let keys = try redis.command("KEYS", "*{\(Self.grant)}:\(Self.tool):*").elements ?? []
        let sum = try keys.reduce(0) { try $0 + (Int(redis.command("GET", $1.text ?? "").text ?? "") ?? 0) }
        return (least...most).contains(sum)
            ? nil : "\(sum) counted in \(keys.count) windows, expected \(least)...\(most)"
    }
}
