import Glibc
import NIOCore
import NIOPosix

/// Calls back once the event loop has polled its sockets again.
///
/// A task on the loop is not enough: it runs before the loop polls, however many tasks there are.
protocol SocketLook: AnyObject {
    /// Called on the event loop, while it handles what it found at its sockets.
    var whenLooked: (() -> Void)? { get set }
    /// Before this and after `close`, a task is used instead.
    func open()
    func request()
    func close()
}

/// A pipe to the loop itself: the loop finds what is written into it when it next polls.
final class LoopLook: SocketLook {
    var whenLooked: (() -> Void)?
    private let eventLoop: any EventLoop
    private var state = State.closed
    private var isRequested = false

    private enum State {
        /// Not open. Becomes `opening`.
        case closed
        /// Waits for the channel. Becomes `open`, or `closed` if there is no channel: a task is then used instead.
        case opening(writeEnd: CInt)
        /// Becomes `closed`.
        case open(writeEnd: CInt, any Channel)
    }

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func open() {
        // A test's loop that only moves by hand has no sockets.
        guard case .closed = state, let bootstrap = NIOPipeBootstrap(validatingGroup: eventLoop) else { return }
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else { return }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        // It holds one byte at a time: a write never has to wait.
        _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
        state = .opening(writeEnd: ends[1])
        bootstrap
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 8))
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelInitializer { [handler = NIOLoopBound(Handler(self), eventLoop: eventLoop)] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(handler.value)
                }
            }
            .takingOwnershipOfDescriptor(input: ends[0])
            .assumeIsolated()
            .whenComplete { [self] in opened($0) }
    }

    private func opened(_ result: Result<any Channel, any Error>) {
        guard case .opening(let writeEnd) = state else {
            if case .success(let channel) = result { channel.close(promise: nil) }
            return
        }
        switch result {
        case .success(let channel): state = .open(writeEnd: writeEnd, channel)
        case .failure:
            Glibc.close(writeEnd)
            state = .closed
        }
    }

    func request() {
        guard !isRequested else { return }
        isRequested = true
        if case .open(let writeEnd, _) = state, write(writeEnd, "x", 1) == 1 { return }
        eventLoop.assumeIsolated().execute { [self] in looked() }
    }

    func close() {
        switch state {
        case .closed: return
        case .opening(let writeEnd): Glibc.close(writeEnd)
        case .open(let writeEnd, let channel):
            channel.close(promise: nil)
            Glibc.close(writeEnd)
        }
        state = .closed
    }

    fileprivate func looked() {
        guard isRequested else { return }
        isRequested = false
        whenLooked?()
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private weak var look: LoopLook?

        init(_ look: LoopLook) { self.look = look }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { look?.looked() }
    }
}
