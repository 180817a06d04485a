import Glibc
import NIOCore
import SluiceEngine
import SluiceProtocol

/// One gateway's connection: frames in, replies out in the order of requests. It decides nothing.
///
/// It runs on the host's loop. It stops reading while too many requests wait or the peer does not read its answers. The
/// host sweeps it for frames that never end.
final class ConnectionHandler: ChannelDuplexHandler, HostedConnection, TurnTaker {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Phase {
        /// Requests are read and taken. Becomes any of the others.
        case open
        /// Nothing more is read; requests that were read are still taken. Becomes `finishing` after the last of them,
        /// or `closed`.
        case draining
        /// No more requests are taken; it closes when the last reply is out. Becomes `closed`.
        case finishing
        /// After `TAIL`: decisions are written until the peer closes, and what it sends is dropped. Becomes `finishing` in a
        /// drain, or `closed`.
        case listening
        case closed
    }

    let host: LimiterHost
    let operators: OperatorCommands
    var session: ConnectionSession
    /// The session's writer, kept here for each check.
    var writer: ReplyWriter
    private var framer = RequestFramer()
    var queue = ReplyQueue()
    var input = ByteBuffer()
    var output = ByteBuffer()
    var phase = Phase.open
    var slot = -1
    var context: ChannelHandlerContext?
    private var holdsBackRead = false
    /// Whether answers have come since the last flush.
    private var needsFlush = false
    /// Whether requests are being taken or replies written. Events in between (an immediate reply, a change of
    /// writability during a write) must not start the same again.
    private var isBusy = false
    /// Whether the last reply has been written; the connection closes after it.
    private var isClosing = false
    /// Work done of its share of turn number `turn`: see `ServerBounds.maxShareOfTurn`.
    var work = 0
    private var share = 0
    private var turn: UInt64 = 0
    /// Whether requests are left for a later turn; until then none are taken and nothing is read.
    private var goesOnLater = false
    /// Since when the requests that were read could be taken: their budget starts here.
    private var takeableNs: Int64 = 0
    /// Whether an operator's command waits for its answer; until then nothing behind it is taken.
    var awaitsReport = false
    /// Whether requests were left for lack of room. The peer caused that, so their time starts when there is room.
    private var lackedRoom = false
    var frameBeganNs: Int64?
    /// How many bytes the host has recorded for this connection.
    private(set) var heldBytes = 0
    /// Bytes that were written and may be unread, with their overhead.
    var unverifiedBytes = 0
    /// Whether output is known to be unread. Later output is kept here, in one piece, until it has been read.
    var isClogged = false
    /// How many written bytes the socket has not taken. Asked seldom, because it costs as much as a check.
    var unreadBytes: (any Channel) -> Int = ConnectionHandler.unreadBytes
    var unwritableSinceNs: Int64?
    /// How many bytes of requests wait in the socket.
    var waitingBytes: (any Channel) -> Int = ConnectionHandler.waitingBytes
    /// Since when the peer sends and reads nothing, and what was unread then.
    var stalled: (sinceNs: Int64, unreadBytes: Int)?
    /// The channel's last reported writability: asking the channel costs more than everything else done for a request.
    var isWritable = true
    /// Set after `TAIL`.
    var listener: DecisionListener?
    /// The peer, if it may use operators' commands; known once its credentials have been read.
    var operatorPeer: PeerCredentials?
    var isOperator: Bool { operatorPeer != nil }

    init(host: LimiterHost, operators: OperatorCommands, session: ConnectionSession) {
        self.host = host
        self.operators = operators
        self.session = session
        writer = session.writer
    }

    // MARK: - Life

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        guard let slot = host.add(self) else {
            writer.writeError(
                .busy,
                host.isFull
                    ? "too many connections, close some or let sluiced open more files"
                    : "the memory for clients is used up, read the answers or give sluiced more (--memory)",
                to: &output)
            phase = .finishing
            advance()
            return
        }
        self.slot = slot
        account()
        if host.isDraining { drain() }
        operators.recognise(context.channel) { [self] in operatorPeer = $0 }
        context.fireChannelActive()
        advance()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // The peer has closed its sending side and may still read the answers. All that it sent has been read, whether
        // or not there was room for it.
        if let event = event as? ChannelEvent, event == .inputClosed { endInput() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        phase = .closed
        if let listener { host.stopListening(listener) }
        listener = nil
        if slot >= 0 { host.remove(slot: slot) }
        host.hold(-heldBytes)
        heldBytes = 0
        self.context = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset or a broken pipe: only this connection is affected.
        context.close(promise: nil)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        noteUnread()
        if isWritable { advance() }
        context.fireChannelWritabilityChanged()
    }

    // MARK: - Reading

    /// Whether there is room for one more request: for its place among the waiting ones, and for its reply.
    private var hasRoom: Bool {
        queue.count + host.gatheredCount < ProtocolBounds.maxPipelinedRequests && hasRoomForReplies && !awaitsReport
            && context != nil
    }

    /// Also while earlier replies are unread, since many clients write a whole pipeline before they read.
    var hasRoomForReplies: Bool {
        let unreadBytes = output.readableBytes + queue.boxedBytes + (isClogged ? unverifiedBytes : 0)
        return unreadBytes < ProtocolBounds.maxUnreadOutputBytes && isWritable
    }

    var mayRead: Bool { phase == .listening || phase == .open && !goesOnLater && hasRoom }
    private var mayTake: Bool { (phase == .open || phase == .draining) && hasRoom }

    func read(context: ChannelHandlerContext) {
        if mayRead { context.read() } else { holdsBackRead = true }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // Bytes after the last request that will be taken are dropped.
        guard phase == .open else { return }
        let opened = host.openTurn()
        var bytes = unwrapInboundIn(data)
        if !goesOnLater && !lackedRoom { takeableNs = host.turns.readableNs }
        if input.readableBytes == 0 { input = bytes } else { input.writeBuffer(&bytes) }
        guard !isBusy else { return }
        isBusy = true
        takeRequests(now: opened)
        isBusy = false
        account()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // A listener has nothing to be answered, and NIO asserts that no write fails while it handles the end of the input.
        if phase != .listening { advance() }
        context.fireChannelReadComplete()
    }

    /// Why no more requests were taken.
    private enum Halt {
        case noneLeft
        case noRoom
        /// The connection has used its share of this turn.
        case turnIsOver
    }

    /// Takes requests that were read, as far as there is room and this turn's share allows.
    @discardableResult
    private func takeRequests(now read: ClockReading? = nil) -> Halt {
        if goesOnLater { return .turnIsOver }
        guard input.readableBytes > 0 else {
            if phase == .draining { phase = .finishing }
            return .noneLeft
        }
        if turn != host.turns.number { beginShare(host.turns.share) }
        let workBefore = work
        var now = read ?? SystemClock.now()
        if lackedRoom && mayTake {
            lackedRoom = false
            takeableNs = now.monotonicNs
        }
        now.waitedNs = max(0, now.monotonicNs - takeableNs)
        var halt = Halt.noRoom
        do throws(FrameError) {
            while mayTake {
                if work >= share, framer.bytesBehind(in: input) > 0 {
                    halt = .turnIsOver
                    break
                }
                let next = try framer.nextRequest(in: &input)
                if case .incomplete = next {
                    noteUnfinishedFrame(now: now)
                    halt = .noneLeft
                    if phase == .draining { phase = .finishing }
                    break
                }
                frameBeganNs = nil
                work += 1
                take(next, now: now)
            }
            decideGathered(now: now)
        } catch {
            decideGathered(now: now)
            reject(error)
        }
        // Drops answered bytes when they are most of the buffer, so that a slow peer does not make it grow.
        if input.readableBytes == 0, input.storageCapacity > ServerBounds.keptBufferBytes {
            input = ByteBuffer()
        } else if input.readableBytes == 0 || input.readerIndex > ProtocolBounds.maxFrameBytes {
            input.discardReadBytes()
        }
        lackedRoom = halt == .noRoom
        host.add(work: work - workBefore)
        if halt == .turnIsOver {
            goesOnLater = true
            host.goOnLater(self)
        }
        return halt
    }

    func goOn() {
        goesOnLater = false
        beginShare(ServerBounds.maxShareOfTurn)
        advance()
    }

    private func beginShare(_ share: Int) {
        turn = host.turns.number
        self.share = share
        work = 0
    }

    private func noteUnfinishedFrame(now: ClockReading) {
        if input.readableBytes == 0 {
            frameBeganNs = nil
        } else if frameBeganNs == nil {
            frameBeganNs = now.monotonicNs
        }
    }

    /// Handles one frame. A check is decided together with those after it; anything else at once, after all before it.
    private func take(_ next: RequestFramer.Next, now: ClockReading) {
        if session.isInTransaction { return takeInTransaction(next) }
        if case .check(let check) = next {
            host.gather(check, in: input)
            if host.hasGatheredAll { decideGathered(now: now) }
            return
        }
        decideGathered(now: now)
        switch next {
        case .check, .incomplete: break
        case .other(let request): take(request, now: now)
        case .wrong(let error): reject(error)
        }
    }

    /// Runs nothing but what ends the transaction.
    private func takeInTransaction(_ next: RequestFramer.Next) {
        switch next {
        case .incomplete: break
        case .other(.connection(let request)) where request.concernsTransactions: take(request)
        case .check, .other:
            session.noteRejected()
            reject(.inTransaction)
        case .wrong(let error):
            session.noteRejected()
            reject(error)
        }
    }

    /// Decides the gathered checks.
    func decideGathered(now: ClockReading, _ form: ReplyQueue.Form = .check) {
        guard host.gatheredCount > 0 else { return }
        let writer = writer
        // Takes a place in the queue only if the check waits.
        host.decideGathered(slot: slot, now: now, next: { queue.nextNumber }) { outcome in
            switch outcome {
            case .answered(let decision): queue.append(decision, writer, form, to: &output)
            case .waiting: queue.reserve(writer, form)
            case .overloaded(let cause): reject(.busy(cause))
            case .mustReserve: reject(.mustReserve)
            case .otherArguments: reject(.otherArguments)
            }
        }
    }

    func reject(_ error: RequestError) {
        work += ServerBounds.workPerError
        reply { writer.writeError(error, to: &$0) }
    }

    @inline(__always)
    func reply(_ write: (inout ByteBuffer) -> Void) {
        work += queue.append(to: &output, write: write) / ServerBounds.replyBytesPerWork
    }

    // MARK: - Writing

    /// Appends the decisions that wait for a peer that listens. The rest waits, and is bounded, while it does not read.
    private func writeDecisions() {
        guard let listener, queue.isEmpty, isWritable, !isClogged else { return }
        output.writeBytes(listener.take(nowNs: SystemClock.monotonicNs(), isLast: phase == .finishing))
    }

    /// Writes the decision of a check that waited; `flushCompleted` follows.
    func complete(_ number: UInt32, _ answer: Limiter.Completion.Answer) {
        guard phase != .closed else { return }
        needsFlush = true
        switch answer {
        case .decision(let decision):
            queue.fill(number, with: decision, to: &output)
        case .settled(let done):
            queue.fill(number, to: &output) { $0.writeInteger(done ? 1 : 0, to: &$1) }
        case .otherArguments:
            queue.fill(number, to: &output) { $0.writeError(RequestError.otherArguments, to: &$1) }
        case .overloaded(let cause):
            queue.fill(number, to: &output) { $0.writeError(RequestError.busy(cause), to: &$1) }
        case .notSettled(let fault):
            queue.fill(number, to: &output) { $0.writeError(RequestError.notSettled(fault), to: &$1) }
        case .storeUnavailable:
            queue.fill(number, to: &output) { $0.writeError(RequestError.storeUnavailable, to: &$1) }
        case .cleared, .overridden: preconditionFailure("clears have no place among a connection's checks")
        }
    }

    /// Sends the output of `complete`, and takes requests that waited for room. Called once for all of a turn.
    func flushCompleted() {
        guard needsFlush else { return }
        needsFlush = false
        advance()
    }

    /// Takes requests and sends replies in turn, until requests or room run out.
    func advance() {
        guard !isBusy, phase != .closed else { return }
        isBusy = true
        repeat {
            let halt = takeRequests()
            flush()
            guard halt == .noRoom else { break }
        } while mayTake
        isBusy = false
        account()
        if holdsBackRead && mayRead {
            holdsBackRead = false
            context?.read()
        }
    }

    private func flush() {
        guard let context else { return }
        writeDecisions()
        if phase == .finishing && queue.isEmpty && !isClosing {
            isClosing = true
            context.writeAndFlush(wrapOutboundOut(output)).assumeIsolated().whenComplete { _ in
                context.close(promise: nil)
            }
        } else if output.readableBytes > 0 {
            // Many small pieces would take more than their bytes: while output is unread, the next is gathered here.
            if isClogged { return }
            unverifiedBytes += output.storageCapacity + ServerBounds.bytesPerUnreadPiece
            context.writeAndFlush(wrapOutboundOut(output), promise: nil)
            if unverifiedBytes > ServerBounds.unverifiedBytes { verifyUnread() }
        }
        if output.storageCapacity > ServerBounds.keptBufferBytes { output = ByteBuffer() } else { output.clear() }
    }

    // MARK: - What is held

    /// Reports to the host how much this connection holds.
    func account() {
        guard context != nil, slot >= 0 else { return }
        let bytes =
            ServerBounds.bytesPerConnection + input.storageCapacity + output.storageCapacity + queue.bytes
            + unverifiedBytes + (listener?.tail.waiting.count ?? 0)
        guard bytes != heldBytes else { return }
        let difference = bytes - heldBytes
        heldBytes = bytes
        host.hold(difference)
    }

    /// Takes what the peer has sent by now, answers it, and closes. What it sends later fails at the peer, which so knows
    /// that it was not taken.
    func drain() {
        guard phase == .open || phase == .listening else { return }
        // The end of the input follows what is still in the socket.
        if !shutReading() { endInput() }
    }

    /// From now on what the peer sends fails. - Returns: whether it does.
    @discardableResult
    func shutReading() -> Bool {
        let isShut = try? context?.pipeline.syncOperations.withUnsafeTransportIfAvailable {
            (socket: NIOBSDSocket.Handle) in
            shutdown(socket, Int32(SHUT_RD)) == 0
        }
        return isShut == true
    }

    /// Reads no more; what was read is answered, and then it closes.
    private func endInput() {
        guard phase == .open || phase == .listening else { return }
        phase = phase == .open ? .draining : .finishing
        advance()
    }

    /// Closes at once, even if answers are missing.
    func cutOff() { context?.close(promise: nil) }

    /// Takes no more requests, and closes after the last reply.
    func finish() {
        guard phase == .open || phase == .draining else { return }
        phase = .finishing
        input.clear()
    }

    func reject(_ error: FrameError) {
        queue.append(to: &output) { writer.writeError(error, to: &$0) }
        finish()
    }
}
