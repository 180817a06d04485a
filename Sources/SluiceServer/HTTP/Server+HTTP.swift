import Glibc
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix

/// Where the HTTP door listens; nowhere if neither is set.
package struct HTTPConfiguration: Sendable {
    package var socketPath: String?
    package var address: ListenAddress?

    package init() {}

    var isOn: Bool { socketPath != nil || address != nil }
}

/// A TCP address cannot be listened on.
package struct ListenFailure: Error, CustomStringConvertible {
    package var setting: String
    package var address: ListenAddress
    package var reason: String
    /// Whether another program listens there.
    package var isInUse: Bool

    package var description: String {
        "--\(setting): cannot listen on \(address): \(reason)" + (isInUse ? ", choose another port" : "")
    }
}

/// The listeners of the HTTP door.
struct HTTPListeners {
    var channels: [any Channel] = []
    var socketFile: SocketFile?
}

extension Server {
    /// Listens for HTTP before the store is waited for, so that it can be asked what the sidecar waits for.
    func listenHTTP() async throws {
        guard configuration.http.isOn else { return }
        if let path = configuration.http.socketPath {
            let (file, bound) = try await NIOThreadPool.singleton.runIfActive { [self] in
                try SocketFile.make(
                    path: path, mode: configuration.socketMode, groupID: configuration.socketGroupID
                ) { socket in
                    let bound = try makeHTTPBootstrap(.unixSocket).withBoundSocket(socket).wait()
                    Glibc.listen(socket, ServerBounds.listenBacklog)
                    return bound
                }
            }
            try await eventLoop.submit { [httpListeners] in
                httpListeners.value.channels.append(bound)
                httpListeners.value.socketFile = file
            }.get()
            logger.info("listens for http", metadata: ["socket": "\(path)"])
        }
        if let address = configuration.http.address {
            let bound: any Channel
            do {
                bound = try await makeHTTPBootstrap(address.isLoopback ? .loopback : .remote)
                    .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                    .bind(host: address.host, port: address.port).get()
            } catch {
                throw ListenFailure("http-listen", address, error)
            }
            try await eventLoop.submit { [httpListeners] in httpListeners.value.channels.append(bound) }.get()
            logger.info(
                "listens for http", metadata: ["address": "\(address.host):\(bound.localAddress?.port ?? address.port)"]
            )
        }
    }

    private func makeHTTPBootstrap(_ origin: HTTPOrigin) -> ServerBootstrap {
        ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: ServerBounds.listenBacklog)
            .childChannelOption(.socketOption(.tcp_nodelay), value: origin == .unixSocket ? 0 : 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 2048, maximum: ServerBounds.maxReadBytes)
            )
            .childChannelInitializer { [http] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let door = http.value else { return }
                    try HTTPConnection.addHandlers(to: channel, door: door, origin: origin)
                }
            }
    }

    /// On the event loop: the HTTP door takes no more requests.
    func beginHTTPDrain() {
        for channel in httpListeners.value.channels { channel.close(promise: nil) }
        httpListeners.value.socketFile?.remove()
        http.value?.beginDrain()
    }

    /// Waits until every request has its answer, for a bounded time.
    func endHTTPDrain() async throws {
        let drained = eventLoop.makePromise(of: Void.self)
        try await eventLoop.submit { [http, eventLoop] in
            let box = NIOLoopBoundBox(Optional(drained), eventLoop: eventLoop)
            let complete = {
                box.value?.succeed()
                box.value = nil
            }
            guard let door = http.value else { return complete() }
            door.onDrained(complete)
            eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.httpDrainLimitNs), complete)
        }.get()
        try await drained.futureResult.get()
    }
}

extension HTTPConnection {
    /// NIO's parser and its handler for pipelined requests, then this one.
    static func addHandlers(to channel: any Channel, door: HTTPDoor, origin: HTTPOrigin) throws {
        guard door.hasRoom else { return try channel.pipeline.syncOperations.addHandler(HTTPRefusal()) }
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = ServerBounds.maxHTTPHeadBytes
        limits.maxHeaderListSize = ServerBounds.maxHTTPHeadBytes
        limits.maxHeaderFieldCount = ServerBounds.maxHTTPHeaders
        let pipeline = channel.pipeline.syncOperations
        try pipeline.configureHTTPServerPipeline(
            position: .last, withPipeliningAssistance: true, withServerUpgrade: nil, withErrorHandling: false,
            withOutboundHeaderValidation: true, withEncoderConfiguration: .init(),
            withDecoderLimitConfiguration: limits)
        try pipeline.addHandler(HTTPConnection(door: door, origin: origin))
    }
}

extension ListenFailure {
    init(_ setting: String, _ address: ListenAddress, _ error: any Error) {
        let number = (error as? IOError)?.errnoCode
        self.init(
            setting: setting, address: address,
            reason: number.map { String(cString: strerror($0)) } ?? "\(error)", isInUse: number == EADDRINUSE)
    }
}
