import NIOCore

/// Stands between a connection's socket and HTTP/2. What fits into the service's share of this turn goes on at once. What
/// does not waits here for a larger one, whole, so that its answers leave in few pieces; nothing more is read meanwhile.
///
/// What waits when the peer closes is dropped: nobody is left to take its answers.
final class GRPCIntake: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer

    private let service: any GRPCService
    private var meter = FrameMeter()
    private var waiting = ByteBuffer()
    private var goesOnLater = false
    private var holdsBackRead = false
    private var context: ChannelHandlerContext?

    init(_ service: any GRPCService) { self.service = service }

    var heldBytes: Int { waiting.readableBytes == 0 ? 0 : waiting.storageCapacity }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if waiting.readableBytes == 0 { waiting = bytes } else { waiting.writeBuffer(&bytes) }
        guard !goesOnLater else { return }
        service.arrived()
        pass(context, whole: true)
    }

    func read(context: ChannelHandlerContext) {
        if goesOnLater { holdsBackRead = true } else { context.read() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        waiting = ByteBuffer()
        self.context = nil
        context.fireChannelInactive()
    }

    /// Lets through what the next share allows.
    func goOn() {
        goesOnLater = false
        guard let context else { return }
        pass(context, whole: false)
        context.fireChannelReadComplete()
        if holdsBackRead && !goesOnLater {
            holdsBackRead = false
            context.read()
        }
    }

    private func pass(_ context: ChannelHandlerContext, whole: Bool) {
        let share = service.share
        if share > 0 && waiting.readableBytes > 0 {
            var meter = meter
            let (count, work) = waiting.withUnsafeReadableBytes { meter.take($0, share: share) }
            if count == waiting.readableBytes || !whole {
                self.meter = meter
                service.willWork(work)
                pass(count, context)
            }
        }
        guard waiting.readableBytes > 0 else { return }
        goesOnLater = true
        service.hasMore()
    }

    private func pass(_ count: Int, _ context: ChannelHandlerContext) {
        if count == waiting.readableBytes {
            // With a second owner, what is read next would be copied.
            let bytes = waiting
            waiting = ByteBuffer()
            context.fireChannelRead(wrapInboundOut(bytes))
        } else if let bytes = waiting.readSlice(length: count) {
            context.fireChannelRead(wrapInboundOut(bytes))
        }
    }
}
