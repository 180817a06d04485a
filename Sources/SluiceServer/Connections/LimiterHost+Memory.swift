import Logging
import NIOCore
import SluiceEngine
import SluiceProtocol

extension LimiterHost {
    /// Records that connections hold so many bytes more than before.
    @inline(__always)
    func hold(_ bytes: Int) {
        memory.add(bytes)
        if bytes > 0, memory.connectionBytes > memory.limitBytes / 4 { watchMemory() }
    }

    /// Below a quarter of the budget connections never reach the bound.
    private func watchMemory() {
        guard !wantsRelief, memory.excessBytes(tableBytes: limiter.heldBytes) > 0 else { return }
        wantsRelief = true
        scheduleTurnsEnd()
    }

    func noteUnread() { memory.unread += 1 }

    /// A connection is closed because its peer sends and does not read. One line in a while, so that many such peers do not
    /// fill the log.
    func noteStalled(now: ClockReading) {
        memory.unread += 1
        let pauseNs = ServerBounds.flapWindowNs
        if let stallLoggedNs, now.monotonicNs - stallLoggedNs < pauseNs { return }
        stallLoggedNs = now.monotonicNs
        logger.warning(
            "a client sends more and does not read its answers, the connection is closed",
            metadata: ["unread_bytes": "\(ProtocolBounds.maxUnreadOutputBytes)"])
    }

    /// The bound is reached: closes the connections that hold most, until there is room again.
    func relieveMemory() {
        wantsRelief = false
        let all = connections.all
        for connection in all { connection.verifyUnread() }
        let excessBytes = memory.excessBytes(tableBytes: limiter.heldBytes)
        guard excessBytes > 0 else { return }
        var freedBytes = 0
        var count = 0
        for connection in all.sorted(by: { $0.heldBytes > $1.heldBytes }) {
            guard freedBytes < excessBytes, connection.heldBytes > ServerBounds.bytesPerConnection else { break }
            freedBytes += connection.heldBytes
            count += 1
            connection.cutOff()
        }
        guard count > 0 else { return }
        memory.closed += Int64(count)
        logger.warning(
            "the memory for clients is used up, connections that held most of it were closed",
            metadata: ["memory": "\(memory.limitBytes)", "closed": "\(count)", "freed": "\(freedBytes)"])
    }

    // MARK: - Once a second

    /// Sweeps the connections regularly until the host stops.
    func sweepConnections() {
        guard !isStopped else { return }
        let now = SystemClock.now()
        // One part at a time, so that no check waits for it.
        for connection in connections.part(sweptPart, of: ServerBounds.sweepParts) { connection.sweep(now: now) }
        sweptPart = (sweptPart + 1) % ServerBounds.sweepParts
        if sweptPart == 0 { giveBackMemory() }
        let pauseNs = ServerBounds.sweepIntervalNs / Int64(ServerBounds.sweepParts)
        eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(pauseNs)) { [self] in
            sweepConnections()
        }
    }

    private func giveBackMemory() {
        let heldBytes = limiter.heldBytes + memory.connectionBytes
        guard freedMemory.isDue(heldBytes: heldBytes, checks: limiter.statistics.total) else { return }
        FreedMemory.giveBack()
    }
}
