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
    private var shard: LoadWorker?
    private let frames: CheckFrames
    private var exchange: RequestPipeline
    private var answered: [RequestPipeline.Answered] = []
    private var context: ChannelHandlerContext?

    init(lane: Int, shard: LoadWorker) {
        self.lane = lane
        self.shard = shard
        frames = shard.frames
        exchange = RequestPipeline(target: shard.target)
    }

    var isOpen: Bool { context != nil }
    var outstandingCount: Int { exchange.outstanding.count }

    /// Checks that have been waiting since before `ns`, the oldest first.
    func outstanding(sentBefore ns: Int64) -> some Sequence<RequestPipeline.Outstanding> {
        exchange.outstanding.lazy.prefix { $0.sentNs < ns }
    }

    /// The outstanding checks without the first `count`.
    func outstanding(from count: Int) -> some Sequence<RequestPipeline.Outstanding> {
        exchange.outstanding.dropFirst(count)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        shard = nil
    }

    // MARK: - Sending

    /// Adds a check to the output of the next `flush`.
    func send(_ target: CheckTarget, intendedNs: Int64, nowNs: Int64) {
        exchange.send(target, frames, intendedNs: intendedNs, nowNs: nowNs)
    }

    /// Adds the next checks of `workload` to the output of the next `flush`, until `count` are outstanding.
    func fill(to count: Int, from workload: inout Workload, nowNs: Int64) {
        exchange.fill(to: count, from: &workload, frames, nowNs: nowNs)
    }

    /// Adds a settlement to the output of the next `flush`.
    func settle(_ settlement: Settlement, nowNs: Int64) {
        exchange.settle(settlement, frames, nowNs: nowNs)
    }

    /// Adds the bytes that must precede the first check.
    func greet() { exchange.greet() }

    func flush() {
        guard let context, exchange.output.readableBytes > 0 else { return }
        // A failed write may close the channel, and end this pipeline, before it returns.
        context.writeAndFlush(wrapOutboundOut(exchange.output), promise: nil)
        exchange.clearOutput()
    }

    func close() { context?.close(promise: nil) }

    // MARK: - Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let nowNs = Clock.nowNs()
        let makesSense = exchange.receive(unwrapInboundIn(data), into: &answered)
        shard?.received(answered, lane: lane, nowNs: nowNs)
        answered.removeAll(keepingCapacity: true)
        // Any other outstanding check counts as lost after the close.
        if !makesSense { context.close(promise: nil) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        shard?.readCompleted(self)
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        shard?.closed(self, lost: exchange.takeOutstanding())
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset or a broken pipe; the worker sees it close.
        context.close(promise: nil)
    }
}
