internal import NIOCore

/// Finds out that a master has moved: subscribes to `+switch-master` at one sentinel, and asks now and then, since a
/// sentinel that is cut off reports nothing. Used once, for one connection to a master.
final class SentinelWatch: RedisConnectionOwner {
    private static let channel = "+switch-master"

    private let sentinels: Sentinels
    private let endpoint: RedisAddress.Endpoint
    private let eventLoop: any EventLoop
    /// Called when the master is another one, with the reason to leave the connection.
    private var moved: ((String) -> Void)?
    private var connection: RedisConnection?
    /// How many subscriptions failed: the next one is tried at another sentinel.
    private var failures = 0

    init(
        _ sentinels: Sentinels, connectedTo endpoint: RedisAddress.Endpoint, eventLoop: any EventLoop,
        moved: @escaping (String) -> Void
    ) {
        self.sentinels = sentinels
        self.endpoint = endpoint
        self.eventLoop = eventLoop
        self.moved = moved
        subscribe()
        poll()
    }

    func stop() {
        moved = nil
        connection?.close()
        connection = nil
    }

    func connectionReady(_ server: RedisServer) {
        var command = ByteBuffer()
        command.writeCommand("SUBSCRIBE", Self.channel)
        connection?.write(command)
    }

    func connectionClosed(_ reason: String) {
        connection = nil
        failures += 1
        eventLoop.assumeIsolated().scheduleTask(in: RedisBounds.sentinelRetryPause) { self.subscribe() }
    }

    /// `message`, the channel, and `NAME OLD-HOST OLD-PORT NEW-HOST NEW-PORT`.
    func connectionReceived(_ reply: FlatReply) {
        if let error = reply.error { connection?.fail(error.reason) }
        guard reply.items.count == 4, reply.items[3].kind == .string else { return }
        let words = reply.words(of: reply.items[3]).split(separator: " ")
        guard words.count == 5, words[0] == sentinels.master, let port = Int(words[4]) else { return }
        found(.tcp(host: String(words[3]), port: port))
    }

    private func subscribe() {
        guard moved != nil, connection == nil else { return }
        let addresses = sentinels.addresses
        connection = sentinels.connection(to: addresses[failures % addresses.count], owner: self)
    }

    private func poll() {
        eventLoop.assumeIsolated().scheduleTask(in: RedisBounds.sentinelPollInterval) {
            guard self.moved != nil else { return }
            self.sentinels.find { result in
                // Sentinels that do not answer are no reason to leave a master that does.
                if case .success(let endpoint) = result { self.found(endpoint) }
                self.poll()
            }
        }
    }

    private func found(_ newest: RedisAddress.Endpoint) {
        guard newest != endpoint, let moved else { return }
        stop()
        moved("the sentinels name another master: \(newest)")
    }
}
