internal import NIOCore
internal import SluiceProtocol
internal import Synchronization

/// Sends requests and resumes their callers with the replies. It runs on its channel's event loop.
final class ReplyHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var context: ChannelHandlerContext?
    private var parser = ReplyParser()
    private var input = ByteBuffer()
    private var queue = ReplyQueue()
    private var isClosed = false
    private var willFlush = false

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        close(.closed)
        self.context = nil
    }

    /// Writes a request; `continuation` is resumed exactly once.
    func send(
        _ request: ByteBuffer, ticket: Ticket, timeout: TimeAmount, continuation: ReplyQueue.Continuation
    ) {
        guard !ticket.isCancelled.load(ordering: .acquiring) else {
            return continuation.resume(returning: .failure(.cancelled))
        }
        guard let context, !isClosed else { return continuation.resume(returning: .failure(.closed)) }
        guard queue.count < ClientBounds.maxPendingRequests else {
            return continuation.resume(returning: .failure(.tooManyPending(queue.count)))
        }
        let loop = context.eventLoop
        let timer = loop.assumeIsolated().scheduleTask(in: timeout) { self.abandon(ticket, .timedOut) }
        queue.append(.init(ticket: ticket, continuation: continuation, timeout: timer))
        context.write(wrapOutboundOut(request), promise: nil)
        guard !willFlush else { return }
        // Requests that many tasks send in one turn of the loop use one system call.
        willFlush = true
        loop.assumeIsolated().execute {
            self.willFlush = false
            self.context?.flush()
        }
    }

    /// Resumes a request's caller with an error. Does nothing if the reply came first.
    func abandon(_ ticket: Ticket, _ error: SluiceError) {
        guard let waiter = queue.abandon(ticket) else { return }
        waiter.timeout.cancel()
        waiter.continuation?.resume(returning: .failure(error))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        guard !isClosed else { return }
        if input.readableBytes == 0 { input = bytes } else { input.writeBuffer(&bytes) }
        do {
            while let value = try parser.next(in: &input) {
                guard let waiter = queue.popFirst() else {
                    return fail(context, .malformedReply("expected no reply, since nothing was asked"))
                }
                waiter.timeout.cancel()
                waiter.continuation?.resume(returning: .success(value))
            }
        } catch {
            fail(context, SluiceError(error))
        }
        input.discardReadBytes()
    }

    func channelInactive(context: ChannelHandlerContext) {
        close(.closed)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(context, .closed)
    }

    private func fail(_ context: ChannelHandlerContext, _ error: SluiceError) {
        close(error)
        context.close(promise: nil)
    }

    private func close(_ error: SluiceError) {
        isClosed = true
        for waiter in queue.removeAll() {
            waiter.timeout.cancel()
            waiter.continuation?.resume(returning: .failure(error))
        }
    }
}

extension SluiceError {
    init(_ error: ReplyError) {
        self =
            switch error {
            case .malformed(let expected): .malformedReply(expected)
            case .tooBig: .malformedReply("expected at most \(ProtocolBounds.maxReplyBytes) bytes")
            case .tooDeep: .malformedReply("expected at most \(ProtocolBounds.maxReplyDepth) levels")
            }
    }
}
