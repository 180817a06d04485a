package import NIOCore
import NIOHPACK
package import NIOHTTP2

/// Whom the calls of one connection go to. All on the connection's event loop.
package protocol GRPCService: AnyObject {
    /// The time of the monotonic clock, ns.
    var nowNs: Int64 { get }
    /// The connection is open. - Returns: whether it may stay.
    func opened() -> Bool
    /// Something has arrived and is about to be handled.
    func arrived()
    /// How much work the connection may do now, in units of about a microsecond.
    var share: Int { get }
    /// So much of its share is about to be used.
    func willWork(_ work: Int)
    /// What has arrived is more than its share: call `GRPCHandler.goOn` with the next one.
    func hasMore()
    /// Answer with `respond`, `fail`, or `send` and `fail`, at once or later.
    func called(_ call: GRPCCall, message: ByteBuffer)
    /// The caller no longer waits.
    func cancelled(stream: Int)
    /// Everything that arrived together has been handled; answers are sent after this.
    func handled()
    func closed()
}

/// One gRPC connection: carries frames to `GRPCStreams`, and does what it says.
package final class GRPCHandler: ChannelDuplexHandler, NIOHTTP2FrameDelegate {
    package typealias InboundIn = HTTP2Frame
    package typealias OutboundIn = HTTP2Frame
    package typealias OutboundOut = HTTP2Frame

    private let service: any GRPCService
    private let intake: GRPCIntake
    private var streams: GRPCStreams
    private var actions: [GRPCStreams.Action] = []
    private var context: ChannelHandlerContext?
    private var holdsBackRead = false
    /// Whether the peer reads what it is sent.
    package private(set) var isWritable = true
    /// The HTTP/2 handler has given the connection up: it has sent why.
    private var isBroken = false
    /// Whether there was no room for the connection: what it sends before it is closed is dropped.
    private var isRefused = false
    private var needsFlush = false
    /// Completes when everything sent so far is in the socket; only kept while the connection ends.
    private var lastWrite: EventLoopFuture<Void>?

    package init(_ methods: GRPCMethods, service: any GRPCService) {
        self.service = service
        intake = GRPCIntake(service)
        streams = GRPCStreams(methods, nowNs: service.nowNs)
    }

    /// Adds what a connection needs to its pipeline.
    package func add(to pipeline: ChannelPipeline.SynchronousOperations) throws {
        var connection = NIOHTTP2Handler.ConnectionConfiguration()
        connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: GRPCBounds.maxStreams),
            HTTP2Setting(parameter: .initialWindowSize, value: GRPCBounds.streamWindowBytes),
            HTTP2Setting(parameter: .maxHeaderListSize, value: GRPCBounds.maxHeaderListBytes),
        ]
        // `RequestHead` does that.
        connection.headerBlockValidation = .disabled
        connection.maximumBufferedControlFrames = GRPCBounds.maxBufferedControlFrames
        connection.maximumSequentialEmptyDataFrames = GRPCBounds.maxEmptyDataFrames
        connection.maximumSequentialContinuationFrames = GRPCBounds.maxContinuations
        connection.maximumRecentlyResetStreams = GRPCBounds.maxRecentlyResetStreams
        connection.maximumConnectionGlitches = GRPCBounds.maxStreamErrorsEver
        connection.controlFrameRateLimit.maximumCount = GRPCBounds.maxControlFrames
        connection.controlFrameRateLimit.windowLength = .seconds(GRPCBounds.floodWindowSeconds)
        var stream = NIOHTTP2Handler.StreamConfiguration()
        stream.streamResetFrameRateLimit.maximumCount = GRPCBounds.maxResets
        stream.streamResetFrameRateLimit.windowLength = .seconds(GRPCBounds.floodWindowSeconds)
        stream.streamErrorRateLimit.maximumCount = GRPCBounds.maxStreamErrors
        stream.streamErrorRateLimit.windowLength = .seconds(GRPCBounds.floodWindowSeconds)
        try pipeline.addHandler(intake)
        try pipeline.addHandler(
            NIOHTTP2Handler(
                mode: .server, frameDelegate: self, connectionConfiguration: connection, streamConfiguration: stream))
        try pipeline.addHandler(self)
    }

    package var callCount: Int { streams.count }
    /// Bytes that requests hold, and what has arrived and waits for its turn.
    package var heldBytes: Int { streams.heldBytes + intake.heldBytes }
    package var isOpen: Bool { context != nil }

    // MARK: - The channel

    package func channelActive(context: ChannelHandlerContext) {
        self.context = context
        guard service.opened() else {
            refuse(context)
            return context.fireChannelActive()
        }
        perform { streams, _, actions in streams.windowChanged(toBytes: Self.initialWindowBytes, &actions) }
        flush()
        context.fireChannelActive()
    }

    /// There is no room for this connection.
    private func refuse(_ context: ChannelHandlerContext) {
        isRefused = true
        let goAway = HTTP2Frame(
            streamID: .rootStream, payload: .goAway(lastStreamID: 0, errorCode: .enhanceYourCalm, opaqueData: nil))
        context.writeAndFlush(wrapOutboundOut(goAway)).assumeIsolated().whenComplete { _ in
            context.close(promise: nil)
        }
    }

    /// What HTTP/2 begins with.
    private static let initialWindowBytes = 65_535

    package func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        service.closed()
        context.fireChannelInactive()
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isRefused else { return }
        let frame = unwrapInboundIn(data)
        perform { streams, nowNs, actions in streams.receive(frame, nowNs: nowNs, &actions) }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        service.handled()
        flush()
        context.fireChannelReadComplete()
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // Compared before it is cast: there are seven events a call, and a cast that fails costs as much as one of them.
        // Nobody is behind this handler that would want the others.
        let type = type(of: event)
        if type == NIOHTTP2WindowUpdatedEvent.self {
            guard let event = event as? NIOHTTP2WindowUpdatedEvent, event.streamID == .rootStream,
                let bytes = event.inboundWindowSize, bytes < GRPCBounds.connectionWindowBytes / 2
            else { return }
            perform { streams, _, actions in streams.windowChanged(toBytes: bytes, &actions) }
        } else if type == StreamClosedEvent.self {
            guard let event = event as? StreamClosedEvent else { return }
            perform { streams, nowNs, actions in
                streams.closed(stream: Int(event.streamID), nowNs: nowNs, &actions)
            }
        } else if type == ChannelEvent.self, event as? ChannelEvent == .inputClosed {
            context.close(promise: nil)
        }
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The error of one stream has ended that stream. Any other has been answered with GOAWAY.
        if isBroken || !(error is any NIOHTTP2Error) { context.close(promise: nil) }
    }

    package func wroteFrame(_ frame: HTTP2Frame) {
        if case .goAway(_, let code, _) = frame.payload, code != .noError { isBroken = true }
    }

    package func read(context: ChannelHandlerContext) {
        if isWritable { context.read() } else { holdsBackRead = true }
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable && holdsBackRead {
            holdsBackRead = false
            context.read()
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: - What the service says

    /// - Parameter bytes: a message with its prefix, as `GRPCStreams.framed` makes it.
    package func respond(stream: Int, _ bytes: ByteBuffer) {
        perform { streams, nowNs, actions in streams.respond(stream: stream, bytes, nowNs: nowNs, &actions) }
    }

    /// The same for one of several messages.
    package func send(stream: Int, _ bytes: ByteBuffer) {
        perform { streams, _, actions in streams.send(stream: stream, bytes, &actions) }
    }

    package func fail(stream: Int, _ status: GRPCStatus) {
        perform { streams, nowNs, actions in streams.fail(stream: stream, status, nowNs: nowNs, &actions) }
    }

    /// Handles what of the connection's input waits for another share.
    package func goOn() { intake.goOn() }

    /// Sends what has been answered since the last flush.
    package func flush() {
        guard needsFlush, let context else { return }
        needsFlush = false
        context.flush()
    }

    /// Asks the peer to open no more streams, and closes after the last.
    package func drain() {
        perform { streams, nowNs, actions in streams.drain(nowNs: nowNs, &actions) }
        flush()
    }

    package func sweep() {
        perform { streams, nowNs, actions in streams.sweep(nowNs: nowNs, &actions) }
        flush()
    }

    /// Closes at once, even if answers are missing.
    package func cutOff() { context?.close(promise: nil) }

    // MARK: - Actions

    private func perform(_ change: (inout GRPCStreams, Int64, inout [GRPCStreams.Action]) -> Void) {
        // A call may be answered while it is handled: the next event then has a list of its own.
        var actions: [GRPCStreams.Action] = []
        swap(&actions, &self.actions)
        change(&streams, service.nowNs, &actions)
        for action in actions {
            switch action {
            case .send(let frame):
                guard let context else { break }
                needsFlush = true
                let promise = streams.isDraining ? context.eventLoop.makePromise(of: Void.self) : nil
                context.write(wrapOutboundOut(frame), promise: promise)
                lastWrite = promise?.futureResult
            case .call(let call, let message): service.called(call, message: message)
            case .cancelled(let stream): service.cancelled(stream: stream)
            case .close: closeWhenSent()
            }
        }
        actions.removeAll(keepingCapacity: true)
        swap(&actions, &self.actions)
    }

    private func closeWhenSent() {
        guard let context else { return }
        guard let lastWrite else { return context.close(promise: nil) }
        needsFlush = true
        lastWrite.assumeIsolated().whenComplete { _ in context.close(promise: nil) }
    }
}
