internal import NIOCore
internal import NIOPosix
internal import SluiceProtocol

/// A connection whose command is answered by any number of replies: `TAIL`.
public enum SluiceStream {
    /// Sends a command, its name first, and gives each reply after the first, `OK`, to a closure.
    ///
    /// While the closure runs nothing more is read from the socket than a few buffers, so a slow one holds little memory: the
    /// sidecar leaves out what is not read. Returns when the closure returns false.
    ///
    /// - Parameters:
    ///   - timeout: how long to try to connect; 5 seconds if not given.
    ///   - opened: called when the sidecar has accepted the command.
    ///   - receive: gets a reply; returns whether it wants more.
    /// - Throws: `connect`; `server` if the sidecar answers with an error; `closed` if it ends the stream; `cancelled`;
    ///   `malformedReply`.
    public static func run(
        path: String, timeout: Duration? = nil, _ arguments: [String],
        opened: @escaping @Sendable () -> Void = {}, receive: @escaping @Sendable (Reply) async -> Bool
    ) async throws(SluiceError) {
        guard !arguments.isEmpty else { throw .badRequest("a request needs the name of a command") }
        let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>
        do {
            channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(timeout.map(TimeAmount.init) ?? .seconds(ClientBounds.connectSeconds))
                .connect(unixDomainSocketPath: path) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                    }
                }
        } catch {
            throw .connect(path: path, reason: String(describing: error))
        }
        do {
            try await channel.executeThenClose { inbound, outbound in
                try await outbound.write(ByteBuffer(request: arguments))
                try await read(inbound, opened: opened, receive: receive)
            }
        } catch let error as SluiceError {
            throw error
        } catch is CancellationError {
            throw .cancelled
        } catch {
            throw .closed
        }
    }

    private static func read(
        _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>, opened: () -> Void, receive: (Reply) async -> Bool
    ) async throws {
        var parser = ReplyParser()
        var input = ByteBuffer()
        var isOpen = false
        for try await var bytes in inbound {
            input.writeBuffer(&bytes)
            while let reply = try next(&parser, &input) {
                if case .error(let code, let message) = reply { throw SluiceError.server(code: code, message: message) }
                guard isOpen else {
                    guard reply == .string("OK") else { throw SluiceError.malformedReply("expected OK") }
                    isOpen = true
                    opened()
                    continue
                }
                guard await receive(reply) else { return }
            }
            input.discardReadBytes()
        }
        throw Task.isCancelled ? SluiceError.cancelled : SluiceError.closed
    }

    private static func next(_ parser: inout ReplyParser, _ input: inout ByteBuffer) throws -> Reply? {
        do {
            return try parser.next(in: &input)
        } catch {
            throw SluiceError(error)
        }
    }
}
