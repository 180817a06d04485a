import NIOCore

/// One connection to a sidecar: carries bytes between its channel and its `RequestPipeline`. The worker handles the
/// answers.
///
/// Confined to the worker's event loop.
final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Which of the worker's lanes this connection serves.
    let lane: Int
    /// Kept until the channel has released this handler: channels close some turns after the worker has closed them, or
    /// when their event loop ends, and their last events still need it.
    private var worker: LoadWorker?
    var pipeline: RequestPipeline
    private var answered: [RequestPipeline.Answered] = []
    private var context: ChannelHandlerContext?

    init(lane: Int, worker: LoadWorker) {
        self.lane = lane
        self.worker = worker
        pipeline = RequestPipeline(target: worker.target, frames: worker.frames)
    }

    var isOpen: Bool { context != nil }
    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        worker = nil
    }

    /// Sends what was added to the pipeline's output.
    func flush() {
        guard let context, pipeline.output.readableBytes > 0 else { return }
        // A failed write may close the channel, and end this pipeline, before it returns.
        context.writeAndFlush(wrapOutboundOut(pipeline.output), promise: nil)
        pipeline.clearOutput()
    }

    func close() { context?.close(promise: nil) }

    // MARK: - Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let nowNs = Clock.nowNs()
        let makesSense = pipeline.receive(unwrapInboundIn(data), into: &answered)
        worker?.received(answered, lane: lane, nowNs: nowNs)
        answered.removeAll(keepingCapacity: true)
        // Any other outstanding check counts as lost after the close.
        if !makesSense { context.close(promise: nil) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        worker?.readCompleted(self)
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        worker?.closed(self, lost: pipeline.takeOutstanding())
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset or a broken pipe; the worker sees it close.
        context.close(promise: nil)
    }
}
