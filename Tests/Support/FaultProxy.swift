import Foundation
import NIOCore
import NIOPosix
import SluiceEngine

/// A proxy between a sidecar and Redis, both on Unix sockets, that does to connections what networks and broken servers
/// do. What it does can be changed at any time.
///
/// Safe to use from any thread.
package final class FaultProxy: Sendable {
    package enum Mode: Sendable, Equatable {
        case forward
        /// Connections are closed as soon as they are there.
        case refuse
        /// Everything is accepted and nothing is answered.
        case silent
        /// Whatever is sent is answered by bytes that are no RESP.
        case garbage(seed: UInt64)
        /// Every request is answered by this alone.
        case answer(String)
        /// Forwards, and closes in the middle of a reply, after so many bytes of replies on one connection.
        case cut(afterReplyBytes: Int)
    }

    private let folder: TemporaryFolder
    private let eventLoop: any EventLoop
    private let confined: NIOLoopBound<Confined>
    private let changeFeed: any Channel
    /// It must not end before this does.
    private let redis: RedisProcess

    /// Everything that its event loop owns.
    fileprivate final class Confined {
        let target: String
        var mode = Mode.forward
        var connections: [ObjectIdentifier: any Channel] = [:]

        init(target: String) { self.target = target }
    }

    /// Where sidecars connect.
    package var socketPath: String { folder.path("proxy.sock") }
    /// As `--redis` takes it.
    package var url: String { "unix://\(socketPath)" }

    package init(to redis: RedisProcess) async throws {
        self.redis = redis
        let target = redis.socketPath
        folder = try TemporaryFolder()
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        self.eventLoop = eventLoop
        let confined = try await eventLoop.submit {
            NIOLoopBound(Confined(target: target), eventLoop: eventLoop)
        }.get()
        self.confined = confined
        changeFeed = try await ServerBootstrap(group: eventLoop)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(FrontHandler(confined.value))
                }
            }
            .bind(unixDomainSocketPath: folder.path("proxy.sock")).get()
    }

    deinit { changeFeed.close(promise: nil) }

    /// Changes what happens to connections from now on.
    /// - Parameter cutsAll: closes those that are open.
    package func set(_ mode: Mode, cutsAll: Bool = false) async throws {
        try await eventLoop.submit { [confined] in
            confined.value.mode = mode
            if cutsAll { for channel in confined.value.connections.values { channel.close(promise: nil) } }
        }.get()
    }
}

/// A sidecar's end of one connection.
private final class FrontHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let confined: FaultProxy.Confined
    private var context: ChannelHandlerContext?
    private var back: (any Channel)?
    private var early = ByteBuffer()
    private var repliedBytes = 0

    init(_ confined: FaultProxy.Confined) { self.confined = confined }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        confined.connections[ObjectIdentifier(self)] = context.channel
        if confined.mode == .refuse { return context.close(promise: nil) }
        let own = NIOLoopBound(self, eventLoop: context.eventLoop)
        ClientBootstrap(group: context.eventLoop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(BackHandler(front: own.value))
                }
            }
            .connect(unixDomainSocketPath: confined.target)
            .assumeIsolated().whenComplete { self.connected($0) }
    }

    private func connected(_ result: Result<any Channel, any Error>) {
        switch result {
        case .success(let channel):
            guard context != nil else { return channel.close(promise: nil) }
            back = channel
            if early.readableBytes > 0 { channel.writeAndFlush(early, promise: nil) }
        case .failure:
            // A connection that is rejected or silenced does not need Redis.
            if confined.mode == .forward { context?.close(promise: nil) }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        switch confined.mode {
        case .forward, .cut:
            if let back { back.writeAndFlush(bytes, promise: nil) } else { early.writeBuffer(&bytes) }
        case .refuse: context.close(promise: nil)
        case .silent: break
        case .garbage(let seed):
            var random = SeededRandom(seed: seed)
            let noise = (0..<64).map { _ in UInt8.random(in: 0...255, using: &random) }
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: noise)), promise: nil)
        case .answer(let text): context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
        }
    }

    /// Redis replied.
    func replied(_ bytes: ByteBuffer) {
        guard let context else { return }
        switch confined.mode {
        case .forward: context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        case .cut(let limit):
            let room = max(0, limit - repliedBytes)
            repliedBytes += bytes.readableBytes
            guard bytes.readableBytes > room else {
                return context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
            }
            if let head = bytes.getSlice(at: bytes.readerIndex, length: room), room > 0 {
                context.writeAndFlush(wrapOutboundOut(head), promise: nil)
            }
            context.close(promise: nil)
        case .refuse, .silent, .garbage, .answer: break
        }
    }

    func backClosed() { if confined.mode == .forward { context?.close(promise: nil) } }

    func channelInactive(context: ChannelHandlerContext) {
        confined.connections[ObjectIdentifier(self)] = nil
        self.context = nil
        back?.close(promise: nil)
        back = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Redis' end of it.
private final class BackHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let front: FrontHandler

    init(front: FrontHandler) { self.front = front }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { front.replied(unwrapInboundIn(data)) }

    func channelInactive(context: ChannelHandlerContext) { front.backClosed() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
