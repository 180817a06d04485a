internal import NIOCore

/// Asks one server something, over a connection of its own. Used once.
final class RedisQuery: RedisConnectionOwner {
    /// In one line: the server did not answer.
    struct Failure: Error {
        let reason: String
    }

    typealias Completion = (Result<[FlatReply], Failure>) -> Void

    private let commands: [[String]]
    private let timeLimit: TimeAmount
    private let eventLoop: any EventLoop
    private var connection: RedisConnection?
    private var limit: Scheduled<Void>?
    private var replies: [FlatReply] = []
    private var completion: Completion?

    /// - Parameter timeLimit: from the begin of the connection to the last answer.
    init(_ commands: [[String]], timeLimit: TimeAmount, eventLoop: any EventLoop) {
        self.commands = commands
        self.timeLimit = timeLimit
        self.eventLoop = eventLoop
    }

    /// The completion is called once, with a reply for each command, and not from inside this call.
    /// - Parameter connection: one that this object owns.
    func start(_ connection: RedisConnection, completion: @escaping Completion) {
        self.connection = connection
        self.completion = completion
        limit = eventLoop.assumeIsolated().scheduleTask(in: timeLimit) {
            self.finish(.failure(Failure(reason: "no answer within \(self.timeLimit.inMilliseconds)")))
        }
    }

    func connectionReady(_ server: RedisServer) {
        var buffer = ByteBuffer()
        for command in commands { buffer.writeCommand(command.map { Array($0.utf8) }) }
        connection?.write(buffer)
    }

    func connectionClosed(_ reason: String) { finish(.failure(Failure(reason: reason))) }

    func connectionReceived(_ reply: FlatReply) {
        replies.append(reply)
        if replies.count == commands.count { finish(.success(replies)) }
    }

    private func finish(_ result: Result<[FlatReply], Failure>) {
        guard let completion else { return }
        self.completion = nil
        limit?.cancel()
        connection?.close()
        connection = nil
        completion(result)
    }
}
