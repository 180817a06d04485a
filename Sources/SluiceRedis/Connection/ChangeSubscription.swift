internal import NIOCore
internal import SluiceEngine

/// Subscribes, on a connection of its own, to the channel on which scripts publish counters that they lowered. Used
/// once: `SUBSCRIBE`, then messages, and a `PING` for each liveness probe.
///
/// It uses RESP2, in which messages and the answers to both commands are arrays of strings.
final class ChangeSubscription: RedisConnectionOwner {
    typealias Report = (ChangeFeedEvent) -> Void

    private let channel: String
    private var connection: RedisConnection?
    private let report: Report

    /// Begins to open it; `report` is called on the event loop, not from inside a call, and `closed` comes last.
    init(
        channel: String, target: RedisTarget, handshake: @escaping RedisTarget.MakeHandshake, limits: RedisTimeLimits,
        eventLoop: any EventLoop, report: @escaping Report
    ) {
        self.channel = channel
        self.report = report
        connection = RedisConnection(
            to: target, handshake: handshake, limits: limits, eventLoop: eventLoop, owner: self)
    }

    /// Closes it without an event.
    func close() {
        connection?.close()
        connection = nil
    }

    /// Closes it with an event.
    func leave(_ reason: String) { connection?.fail(reason) }

    /// Results in `alive` if the server answers.
    func probe() {
        var command = ByteBuffer()
        command.writeCommand("PING")
        connection?.write(command)
    }

    func connectionReady(_ server: RedisServer) {
        var command = ByteBuffer()
        command.writeCommand("SUBSCRIBE", channel)
        connection?.write(command)
    }

    func connectionClosed(_ reason: String) {
        connection = nil
        report(.closed(reason: reason))
    }

    func connectionReceived(_ reply: FlatReply) {
        if let error = reply.error {
            connection?.fail("Redis does not let this user subscribe: \(error.reason)")
            return
        }
        guard let array = reply.items.first, array.kind == .array, reply.items.count == array.value + 1,
            reply.items.count >= 3, reply.items[1].kind == .string
        else {
            connection?.fail("Redis answered a subscription with other than a message")
            return
        }
        switch reply.words(of: reply.items[1]) {
        case "subscribe": report(.opened)
        case "pong": report(.alive)
        case "message" where reply.items.count == 4 && reply.items[3].kind == .string:
            let message = reply.bytes(of: reply.items[3])
            if message.count <= RedisBounds.maxChangeBytes { report(.changed(Array(message))) }
        default: break
        }
    }
}
