internal import NIOCore
internal import SluiceEngine

/// Listens, on a connection of its own, to the channel on which scripts tell of counters that they lowered. It is used
/// once: `SUBSCRIBE`, then messages, and a `PING` whenever it is to show that it is still there.
///
/// Spoken is RESP2, in which messages and the answers to both commands are arrays of strings.
final class ChangeSubscription: RedisConnectionOwner {
    typealias Tell = (ChangeFeedEvent) -> Void

    private let channel: String
    private var connection: RedisConnection?
    private let tell: Tell

    /// Begins to open it; `tell` is called on the event loop, not from inside a call, and `closed` comes last.
    init(
        channel: String, address: RedisAddress, handshake: RedisHandshake, limits: RedisTimeLimits,
        eventLoop: any EventLoop, tell: @escaping Tell
    ) {
        self.channel = channel
        self.tell = tell
        connection = RedisConnection(
            to: address, handshake: handshake, limits: limits, eventLoop: eventLoop, owner: self)
    }

    /// Ends it without a word.
    func close() {
        connection?.close()
        connection = nil
    }

    /// Ends in `alive`, if the server is there.
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
        tell(.closed(reason: reason))
    }

    func connectionReceived(_ reply: FlatReply) {
        if let error = reply.error {
            connection?.fail("Redis does not let this user subscribe: \(error.message)")
            return
        }
        guard let array = reply.items.first, array.kind == .array, reply.items.count == array.value + 1,
            reply.items.count >= 3, reply.items[1].kind == .string
        else {
            connection?.fail("Redis answered a subscription with other than a message")
            return
        }
        switch reply.words(of: reply.items[1]) {
        case "subscribe": tell(.opened)
        case "pong": tell(.alive)
        case "message" where reply.items.count == 4 && reply.items[3].kind == .string:
            let message = reply.bytes(of: reply.items[3])
            if message.count <= RedisBounds.maxChangeBytes { tell(.changed(Array(message))) }
        default: break
        }
    }
}
