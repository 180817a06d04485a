import NIOCore
import NIOHTTP1

/// Where a connection of the HTTP door came in.
enum HTTPOrigin: Equatable {
    /// A Unix socket, whose peer the kernel names.
    case unixSocket
    /// TCP on loopback: programs of this machine, and the pages in its browsers.
    case loopback
    /// TCP from other machines, which `--allow-remote` lets in.
    case remote
}

/// One connection of the HTTP door. It takes one request at a time: NIO's pipeline handler before it keeps later ones
/// back, and reads no more meanwhile.
final class HTTPConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum Phase {
        /// Waits for a request until `deadlineNs`. Becomes `reading`.
        case idle
        /// Has a request's head, and waits for its end. Becomes `answering`.
        case reading(HTTPRequestHead, ByteBuffer)
        /// Waits for the door's answer. Becomes `writing`.
        case answering(keepsAlive: Bool, isHead: Bool)
        /// Waits until the answer has been sent. Becomes `idle`, or `closed`.
        case writing
        case closed
    }

    private let door: HTTPDoor
    let origin: HTTPOrigin
    private(set) var operatorPeer: PeerCredentials?
    var isOperator: Bool { operatorPeer != nil }
    private var phase = Phase.idle
    private var context: ChannelHandlerContext?
    /// When it is closed if nothing happens, by the monotonic clock. An answer has no deadline: what it waits for has.
    private var deadlineNs: Int64 = .max
    private var isDraining = false
    private var heldBytes = 0
    /// Requests taken in turn number `turn`: see `ServerBounds.httpRequestsPerTurn`.
    private var requests = 0
    private var turn: UInt64 = 0

    init(door: HTTPDoor, origin: HTTPOrigin) {
        self.door = door
        self.origin = origin
    }

    // MARK: - Life

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        door.add(self)
        hold(ServerBounds.bytesPerHTTPConnection)
        waitUntil(ServerBounds.httpIdleNs)
        if origin == .unixSocket { door.operators.recognise(context.channel) { [self] in operatorPeer = $0 } }
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        phase = .closed
        hold(0)
        self.context = nil
        door.remove(self)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let fault = error as? HTTPParserError else { return context.close(promise: nil) }
        switch phase {
        case .idle, .reading:
            send(
                fault == .headerOverflow
                    ? .error(
                        .requestHeaderFieldsTooLarge, "TOOBIG",
                        "the request's head is too long, send at most \(ServerBounds.maxHTTPHeadBytes) bytes and "
                            + "\(ServerBounds.maxHTTPHeaders) headers")
                    : .error(.badRequest, "ERR", "this is no HTTP/1.1 request"),
                keepsAlive: false, isHead: false)
        case .answering, .writing, .closed: context.close(promise: nil)
        }
    }

    private func hold(_ bytes: Int) {
        door.host.hold(bytes - heldBytes)
        heldBytes = bytes
    }

    private func waitUntil(_ limitNs: Int64) { deadlineNs = SystemClock.monotonicNs() + limitNs }

    /// Closes a connection that took too long: between requests, within one, or to read its answer.
    func sweep(nowNs: Int64) {
        if nowNs >= deadlineNs { context?.close(promise: nil) }
    }

    /// Takes no more requests.
    func drain() {
        isDraining = true
        if case .idle = phase { context?.close(promise: nil) }
    }

    // MARK: - Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), phase) {
        case (.head(let head), .idle):
            waitUntil(ServerBounds.httpRequestNs)
            let isTooLong = head.headers.first(name: "content-length").flatMap { Int($0) }
                .map { $0 > ServerBounds.maxHTTPBodyBytes }
            guard isTooLong != true else { return refuseBody(head) }
            phase = .reading(head, ByteBuffer())
        case (.body(var bytes), .reading(let head, var body)):
            guard body.readableBytes + bytes.readableBytes <= ServerBounds.maxHTTPBodyBytes else {
                return refuseBody(head)
            }
            phase = .idle
            body.writeBuffer(&bytes)
            hold(ServerBounds.bytesPerHTTPConnection + body.storageCapacity)
            phase = .reading(head, body)
        case (.end, .reading(let head, let body)):
            deadlineNs = .max
            door.host.openTurn()
            if turn != door.host.turns.number { (turn, requests) = (door.host.turns.number, 0) }
            requests += 1
            phase = .answering(
                keepsAlive: head.isKeepAlive && !isDraining, isHead: head.method == .HEAD)
            door.answer(HTTPQuestion(head, body: body), on: self) { [self] in answered($0) }
        default: break  // The rest of a request that was refused, or a connection that is closing.
        }
    }

    private func refuseBody(_ head: HTTPRequestHead) {
        send(
            .error(
                .payloadTooLarge, "TOOBIG",
                "the body is too long, send at most \(ServerBounds.maxHTTPBodyBytes) bytes"),
            keepsAlive: false, isHead: head.method == .HEAD)
    }

    private func answered(_ answer: HTTPAnswer) {
        guard case .answering(let keepsAlive, let isHead) = phase else { return }
        send(answer, keepsAlive: keepsAlive && !isDraining, isHead: isHead)
    }

    private func send(_ answer: HTTPAnswer, keepsAlive: Bool, isHead: Bool) {
        guard let context else { return }
        phase = .writing
        waitUntil(ServerBounds.httpUnreadNs)
        var headers = HTTPHeaders()
        headers.add(name: "content-type", value: answer.contentType)
        headers.add(name: "content-length", value: "\(answer.body.readableBytes)")
        for header in answer.headers { headers.add(name: header.name, value: header.value) }
        headers.add(name: "cache-control", value: "no-store")
        headers.add(name: "x-content-type-options", value: "nosniff")
        if !keepsAlive { headers.add(name: "connection", value: "close") }
        hold(ServerBounds.bytesPerHTTPConnection + answer.body.readableBytes)
        let head = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        let body = isHead ? ByteBuffer() : answer.body
        // The end lets the next request in. It is written when the peer has taken the answer: so a peer that reads
        // nothing has one answer waiting.
        context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(body)))).assumeIsolated().whenComplete { [self] _ in
            let keepsAlive = keepsAlive && !isDraining
            guard keepsAlive, requests >= ServerBounds.httpRequestsPerTurn else { return sent(keepsAlive: keepsAlive) }
            // A task that is due at once would run before the sockets are polled.
            context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.httpPauseNs)) { [self] in
                sent(keepsAlive: !isDraining)
            }
        }
    }

    private func sent(keepsAlive: Bool) {
        guard let context else { return }
        phase = keepsAlive ? .idle : .closed
        hold(ServerBounds.bytesPerHTTPConnection)
        waitUntil(ServerBounds.httpIdleNs)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if !keepsAlive { context.close(promise: nil) }
    }
}

/// Answers a connection for which there is no room, and closes it.
final class HTTPRefusal: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelActive(context: ChannelHandlerContext) {
        let lines = ["HTTP/1.1 503 Service Unavailable", "retry-after: 1", "content-length: 0", "connection: close"]
        let text = lines.joined(separator: "\r\n") + "\r\n\r\n"
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text))).assumeIsolated().whenComplete { _ in
            context.close(promise: nil)
        }
    }
}
