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

extension Server {
    /// Listens for HTTP before the store is waited for, so that it can be asked what the sidecar waits for.
    func listenHTTP() async throws {
        let (path, address) = (configuration.http.socketPath, configuration.http.address)
        try await listen(path: path, address: address, door: "http", for: httpListeners) { [self] address in
            makeHTTPBootstrap(address.map { $0.isLoopback ? .loopback : .remote } ?? .unixSocket)
        }
        let bound = try await eventLoop.submit { [httpListeners] in httpListeners.value.addresses }.get()
        if let path { logger.info("listens for http", metadata: ["socket": "\(path)"]) }
        if address != nil, let bound = bound.last { logger.info("listens for http", metadata: ["address": "\(bound)"]) }
    }

    private func makeHTTPBootstrap(_ origin: HTTPOrigin) -> ServerBootstrap {
        ServerBootstrap(group: eventLoop)
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
        httpListeners.value.close()
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
