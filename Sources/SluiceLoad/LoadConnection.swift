import NIOCore
import SluiceProtocol

/// One connection to a sidecar: checks out, answers in, in the same order. What becomes of an answer is the shard's
/// business.
///
/// Confined to the shard's event loop.
final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// A check that waits for its answer.
    struct Outstanding {
        var target: CheckTarget
        /// When it was sent; in an open loop, when it should have been. Latency counts from here.
        var intendedNs: Int64
        var sentNs: Int64
    }

    /// Which of the shard's lanes this connection serves.
    let lane: Int
    private unowned let shard: LoadShard
    private var outstanding = CircularBuffer<Outstanding>(initialCapacity: 64)
    private var input = ByteBuffer()
    private var output = ByteBuffer()
    private var context: ChannelHandlerContext?
    /// Whether the current call will flush by itself.
    private var isReading = false

    init(lane: Int, shard: LoadShard) {
        self.lane = lane
        self.shard = shard
    }

    var isOpen: Bool { context != nil }
    var outstandingCount: Int { outstanding.count }

    /// Checks that have been waiting since before `ns`, the oldest first.
    func outstanding(sentBefore ns: Int64) -> some Sequence<Outstanding> {
        outstanding.lazy.prefix { $0.sentNs < ns }
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    // MARK: - Sending

    /// Adds a check to what goes out with the next `flush`.
    @inline(__always)
    func add(_ target: CheckTarget, intendedNs: Int64, nowNs: Int64) {
        shard.frames.write(target, to: &output)
        outstanding.append(Outstanding(target: target, intendedNs: intendedNs, sentNs: nowNs))
    }

    func flush() {
        guard !isReading, output.readableBytes > 0, let context else { return }
        context.writeAndFlush(wrapOutboundOut(output), promise: nil)
        output.clear()
    }

    func close() { context?.close(promise: nil) }

    // MARK: - Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if input.readableBytes == 0 { input = bytes } else { input.writeBuffer(&bytes) }
        isReading = true
        let nowNs = Clock.nowNs()
        do throws(ReplyError) {
            while input.readableBytes > 0, try readAnswer(nowNs: nowNs) {}
        } catch {
            shard.receivedGarbage("\(error)")
            // Whatever was outstanding counts as lost when it has closed.
            context.close(promise: nil)
        }
        isReading = false
        if input.readerIndex > ProtocolBounds.maxFrameBytes { input.discardReadBytes() }
    }

    /// Whether a whole answer was there.
    private func readAnswer(nowNs: Int64) throws(ReplyError) -> Bool {
        switch try DecisionReply.read(input) {
        case .incomplete:
            return false
        case .decision(let decision):
            guard let check = outstanding.popFirst() else { throw .malformed("an answer that nobody asked for") }
            input.moveReaderIndex(forwardBy: decision.byteCount)
            shard.received(decision, of: check, lane: lane, nowNs: nowNs)
        case .error(let text, let byteCount):
            let sentence = input.getString(at: input.readerIndex + text.lowerBound, length: text.count) ?? ""
            input.moveReaderIndex(forwardBy: byteCount)
            // An error without a question is what a sidecar says before it closes: too many connections, a bad frame.
            shard.received(error: sentence, of: outstanding.popFirst())
        }
        return true
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        shard.readCompleted(self)
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        shard.closed(self, lost: outstanding)
        outstanding.removeAll()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset or a broken pipe; the shard sees it close.
        context.close(promise: nil)
    }
}
