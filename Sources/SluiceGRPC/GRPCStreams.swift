package import NIOCore
import NIOHPACK
package import NIOHTTP2

/// The calls of one gRPC connection, as a server sees them: requests of one message each. A value-type state machine:
/// frames and the time go in, actions come out.
///
/// The HTTP/2 handler before it checks the frames' order, answers `PING` and `SETTINGS`, and holds back what the peer's
/// flow control does not let through.
package struct GRPCStreams {
    package enum Action {
        case send(HTTP2Frame)
        /// A request has arrived; `respond`, `fail` or `send` and `finish` answer it.
        case call(GRPCCall, message: ByteBuffer)
        /// The caller no longer waits for an answer.
        case cancelled(stream: Int)
        /// Close once everything has been sent.
        case close
    }

    enum Stream {
        /// Waits for the rest of its request. Becomes `answering`, or ends with a status.
        case receiving(Request)
        /// Waits for its answer. Becomes `streaming` if there are several, or ends.
        case answering
        /// Has had a first answer, and waits for more. Becomes `answered`.
        case streaming(bytes: Int)
        /// Answered; ends when the peer's windows have let all of it through.
        case answered(bytes: Int, sinceNs: Int64)
    }

    struct Request {
        let method: Int
        let timeoutNs: Int64?
        let beganNs: Int64
        /// What has arrived of the message, with its prefix.
        var bytes = ByteBuffer()
    }

    private enum Phase {
        /// Serves. Becomes `announced` when it drains.
        case open
        /// The peer has been asked to open no more streams, and may not know it yet. Becomes `leaving`.
        case announced(sinceNs: Int64)
        /// No further streams are served; it closes after the last. Becomes `closed`.
        case leaving
        case closed
    }

    private let methods: GRPCMethods
    private(set) var streams: [Int: Stream] = [:]
    private var phase = Phase.open
    private var lastStream = 0
    private var unfinishedBytes = 0
    /// Bytes of answers that the peer's windows may hold back.
    private var unsentBytes = 0
    private var hasPreface = false
    /// Since when there has been no stream.
    private var idleSinceNs: Int64

    package init(_ methods: GRPCMethods, nowNs: Int64) {
        self.methods = methods
        idleSinceNs = nowNs
    }

    /// How many calls have not ended.
    package var count: Int { streams.count }
    /// Bytes of requests that have not ended, and of answers that have not been sent.
    package var heldBytes: Int { unfinishedBytes + unsentBytes }
    package var isDraining: Bool {
        if case .open = phase { false } else { true }
    }

    // MARK: - Frames

    package mutating func receive(_ frame: HTTP2Frame, nowNs: Int64, _ actions: inout [Action]) {
        let id = Int(frame.streamID)
        switch frame.payload {
        case .headers(let headers): receive(headers, id, nowNs: nowNs, &actions)
        case .data(let data): receive(data, id, nowNs: nowNs, &actions)
        case .rstStream: end(id, nowNs: nowNs, &actions)
        case .settings: hasPreface = true
        case .ping(let data, let ack):
            if ack, data == Self.goAwayPing, case .announced = phase { leave(&actions) }
        case .goAway:
            // The peer opens no more streams on this connection.
            switch phase {
            case .open, .announced: leave(&actions)
            case .leaving, .closed: break
            }
        case .priority, .pushPromise, .windowUpdate, .alternativeService, .origin: break
        }
    }

    /// The stream has ended without a frame of the peer: an error, or everything on it has been sent.
    package mutating func closed(stream: Int, nowNs: Int64, _ actions: inout [Action]) {
        end(stream, nowNs: nowNs, &actions)
    }

    /// Gives the connection's window back when half of it is used.
    package func windowChanged(toBytes bytes: Int, _ actions: inout [Action]) {
        guard bytes < GRPCBounds.connectionWindowBytes / 2 else { return }
        let increment = GRPCBounds.connectionWindowBytes - bytes
        actions.append(
            .send(HTTP2Frame(streamID: .rootStream, payload: .windowUpdate(windowSizeIncrement: increment))))
    }

    private mutating func receive(
        _ headers: HTTP2Frame.FramePayload.Headers, _ id: Int, nowNs: Int64, _ actions: inout [Action]
    ) {
        if case .receiving(let request)? = streams[id] {
            // Trailers: nothing in them matters.
            if headers.endStream { complete(request, id, nowNs: nowNs, &actions) }
            return
        }
        guard streams[id] == nil, id > lastStream else { return }
        switch phase {
        case .leaving, .closed: return
        case .open, .announced: break
        }
        guard let head = RequestHead(headers.headers) else { return breakOff(&actions) }
        lastStream = id
        if let status = head.httpStatus {
            let response = HPACKHeaders([(":status", status), ("content-length", "0")])
            actions.append(.send(Self.headers(id, response, endStream: true)))
            if !headers.endStream { reset(id, &actions) }
            return
        }
        guard let method = methods.index(of: head.path) else {
            let known = head.path.isEmpty ? "no path" : "\(head.path.prefix(200))"
            return reject(
                id, GRPCStatus(.unimplemented, "\(known) is no method of this server"), isEnded: headers.endStream,
                &actions)
        }
        let timeoutNs = head.timeout.flatMap { GRPCTimeout.nanoseconds($0) }
        if head.timeout != nil && timeoutNs == nil {
            return reject(
                id, GRPCStatus(.invalidArgument, "grpc-timeout has up to eight digits and one of H, M, S, m, u, n"),
                isEnded: headers.endStream, &actions)
        }
        let request = Request(method: method, timeoutNs: timeoutNs, beganNs: nowNs)
        streams[id] = .receiving(request)
        if headers.endStream { complete(request, id, nowNs: nowNs, &actions) }
    }

    private mutating func receive(
        _ data: HTTP2Frame.FramePayload.Data, _ id: Int, nowNs: Int64, _ actions: inout [Action]
    ) {
        guard let index = streams.index(forKey: id), case .receiving(var request) = streams.values[index],
            case .byteBuffer(var bytes) = data.data
        else { return }
        // With a second owner of the bytes each frame would copy all that came before it.
        streams.values[index] = .answering
        let count = bytes.readableBytes
        if data.endStream && request.bytes.readableBytes == 0 {
            request.bytes = bytes
        } else {
            // A slice would keep the whole buffer that was read.
            request.bytes.writeBuffer(&bytes)
        }
        if let status = fault(in: request, isEnded: data.endStream) {
            streams.values[index] = .receiving(request)
            unfinishedBytes += count
            return fail(stream: id, status, nowNs: nowNs, isEnded: data.endStream, &actions)
        }
        if data.endStream {
            unfinishedBytes -= request.bytes.readableBytes - count
            return complete(request, id, nowNs: nowNs, isCounted: false, &actions)
        }
        unfinishedBytes += count
        streams.values[index] = .receiving(request)
        if unfinishedBytes > GRPCBounds.maxUnfinishedBytes {
            fail(
                stream: id,
                GRPCStatus(.resourceExhausted, "too many large messages at once on this connection, send fewer"),
                nowNs: nowNs, isEnded: false, &actions)
        }
    }

    /// What is wrong with the part of a request that has arrived; nil if nothing is.
    private func fault(in request: Request, isEnded: Bool) -> GRPCStatus? {
        let bytes = request.bytes
        guard let length = Self.messageLength(bytes) else { return nil }
        let most = methods[request.method].maxMessageBytes
        guard bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) == 0 else {
            return GRPCStatus(.unimplemented, "the message is compressed, send it with grpc-encoding identity")
        }
        guard length <= most else {
            return GRPCStatus(
                .resourceExhausted, "the message has \(length) bytes, send at most \(most)")
        }
        guard bytes.readableBytes <= 5 + length else {
            return GRPCStatus(.internalError, "the request has more than one message, this method takes one")
        }
        return nil
    }

    /// The length that a message's prefix gives; nil if the prefix is incomplete.
    private static func messageLength(_ bytes: ByteBuffer) -> Int? {
        bytes.getInteger(at: bytes.readerIndex + 1, as: UInt32.self).flatMap { length in
            bytes.readableBytes >= 5 ? Int(length) : nil
        }
    }

    private mutating func complete(
        _ request: Request, _ id: Int, nowNs: Int64, isCounted: Bool = true, _ actions: inout [Action]
    ) {
        if isCounted { unfinishedBytes -= request.bytes.readableBytes }
        var message = request.bytes
        guard let length = Self.messageLength(message), message.readableBytes == 5 + length else {
            streams[id] = .answering
            return fail(
                stream: id, GRPCStatus(.internalError, "the request ended before its message, send one message"),
                nowNs: nowNs, isEnded: true, &actions)
        }
        streams[id] = .answering
        message.moveReaderIndex(forwardBy: 5)
        actions.append(
            .call(GRPCCall(stream: id, method: request.method, timeoutNs: request.timeoutNs), message: message))
    }

    // MARK: - Answers

    /// Answers a call with one message, which has `messagePrefix` before it: see `write`. Does nothing if the caller no
    /// longer waits.
    package mutating func respond(stream: Int, _ bytes: ByteBuffer, nowNs: Int64, _ actions: inout [Action]) {
        guard case .answering? = streams[stream] else { return }
        actions.append(.send(Self.headers(stream, Self.head, endStream: false)))
        actions.append(.send(Self.data(stream, bytes)))
        actions.append(.send(Self.headers(stream, Self.success, endStream: true)))
        answered(stream, bytes: bytes.readableBytes, nowNs: nowNs)
    }

    /// All of the answer is on its way; the stream ends when the handler says that it is closed.
    private mutating func answered(_ stream: Int, bytes: Int, nowNs: Int64) {
        unsentBytes += bytes
        streams[stream] = .answered(bytes: bytes, sinceNs: nowNs)
    }

    /// Sends one of several messages.
    package mutating func send(stream: Int, _ bytes: ByteBuffer, _ actions: inout [Action]) {
        let count = bytes.readableBytes
        switch streams[stream] {
        case .answering?:
            actions.append(.send(Self.headers(stream, Self.head, endStream: false)))
            streams[stream] = .streaming(bytes: count)
        case .streaming(let bytes)?: streams[stream] = .streaming(bytes: bytes + count)
        case .receiving?, .answered?, nil: return
        }
        unsentBytes += count
        actions.append(.send(Self.data(stream, bytes)))
    }

    /// Ends a call with a status and no message, or after several messages.
    package mutating func fail(stream: Int, _ status: GRPCStatus, nowNs: Int64, _ actions: inout [Action]) {
        fail(stream: stream, status, nowNs: nowNs, isEnded: true, &actions)
    }

    private mutating func fail(
        stream: Int, _ status: GRPCStatus, nowNs: Int64, isEnded: Bool, _ actions: inout [Action]
    ) {
        switch streams[stream] {
        case .receiving?, .answering?: reject(stream, status, isEnded: isEnded, &actions)
        case .streaming(let bytes)?:
            actions.append(.send(Self.headers(stream, Self.trailers(status), endStream: true)))
            streams[stream] = .answered(bytes: bytes, sinceNs: nowNs)
            return
        case .answered?, nil: return
        }
        remove(stream, nowNs: nowNs, &actions)
    }

    /// Answers with a status alone.
    private func reject(_ id: Int, _ status: GRPCStatus, isEnded: Bool, _ actions: inout [Action]) {
        var headers = Self.head
        headers.add(contentsOf: Self.trailers(status))
        actions.append(.send(Self.headers(id, headers, endStream: true)))
        if !isEnded { reset(id, &actions) }
    }

    /// The rest of the request is not wanted.
    private func reset(_ id: Int, _ actions: inout [Action]) {
        actions.append(.send(HTTP2Frame(streamID: HTTP2StreamID(id), payload: .rstStream(.noError))))
    }

    private mutating func end(_ id: Int, nowNs: Int64, _ actions: inout [Action]) {
        switch streams[id] {
        case .answering?, .streaming?: actions.append(.cancelled(stream: id))
        case .receiving?, .answered?: break
        case nil: return
        }
        remove(id, nowNs: nowNs, &actions)
    }

    private mutating func remove(_ id: Int, nowNs: Int64, _ actions: inout [Action]) {
        switch streams.removeValue(forKey: id) {
        case .receiving(let request)?: unfinishedBytes -= request.bytes.readableBytes
        case .streaming(let bytes)?, .answered(let bytes, _)?: unsentBytes -= bytes
        case .answering?, nil: break
        }
        guard streams.isEmpty else { return }
        idleSinceNs = nowNs
        closeIfLeft(&actions)
    }

    // MARK: - The end of the connection

    private static let goAwayPing = HTTP2PingData(withInteger: 0x736C_7569_6365_0001)

    /// Asks the peer to open no more streams. Those it opens before it knows are served: its acknowledgement of a `PING`
    /// behind the first `GOAWAY` shows that it knows, and a second one then names the last stream.
    package mutating func drain(nowNs: Int64, _ actions: inout [Action]) {
        guard case .open = phase else { return }
        phase = .announced(sinceNs: nowNs)
        actions.append(.send(Self.goAway(.maxID)))
        actions.append(.send(HTTP2Frame(streamID: .rootStream, payload: .ping(Self.goAwayPing, ack: false))))
    }

    /// The peer does not keep to the protocol.
    private mutating func breakOff(_ actions: inout [Action]) {
        phase = .closed
        let last = HTTP2StreamID(lastStream)
        let goAway = HTTP2Frame.FramePayload.goAway(
            lastStreamID: last, errorCode: .protocolError, opaqueData: nil)
        actions.append(.send(HTTP2Frame(streamID: .rootStream, payload: goAway)))
        actions.append(.close)
    }

    private mutating func leave(_ actions: inout [Action]) {
        phase = .leaving
        actions.append(.send(Self.goAway(HTTP2StreamID(lastStream))))
        closeIfLeft(&actions)
    }

    private mutating func closeIfLeft(_ actions: inout [Action]) {
        guard case .leaving = phase, streams.isEmpty else { return }
        phase = .closed
        actions.append(.close)
    }

    /// Time has passed: ends what has taken too long.
    package mutating func sweep(nowNs: Int64, _ actions: inout [Action]) {
        for (id, stream) in streams {
            switch stream {
            case .receiving(let request) where nowNs - request.beganNs >= GRPCBounds.requestLimitNs:
                fail(
                    stream: id, GRPCStatus(.deadlineExceeded, "the request did not end in time, send it again"),
                    nowNs: nowNs, isEnded: false, &actions)
            case .answered(_, let sinceNs) where nowNs - sinceNs >= GRPCBounds.answerLimitNs:
                // The handler says that it is closed, and so it ends.
                actions.append(
                    .send(HTTP2Frame(streamID: HTTP2StreamID(id), payload: .rstStream(.enhanceYourCalm))))
            case .receiving, .answering, .streaming, .answered: break
            }
        }
        switch phase {
        case .open:
            if !hasPreface, nowNs - idleSinceNs >= GRPCBounds.prefaceLimitNs {
                phase = .closed
                actions.append(.close)
            } else if streams.isEmpty, nowNs - idleSinceNs >= GRPCBounds.idleLimitNs {
                drain(nowNs: nowNs, &actions)
            }
        case .announced(let sinceNs):
            if nowNs - sinceNs >= GRPCBounds.goAwayLimitNs { leave(&actions) }
        case .leaving, .closed: break
        }
    }

    // MARK: - Frames to send

    private static let head = HPACKHeaders([(":status", "200"), ("content-type", "application/grpc")])
    private static let success = HPACKHeaders([("grpc-status", "0")])

    private static func trailers(_ status: GRPCStatus) -> HPACKHeaders {
        var trailers = HPACKHeaders([("grpc-status", String(status.code.rawValue))])
        if !status.message.isEmpty {
            trailers.add(name: "grpc-message", value: status.encodedMessage, indexing: .nonIndexable)
        }
        return trailers
    }

    private static func headers(_ id: Int, _ headers: HPACKHeaders, endStream: Bool) -> HTTP2Frame {
        HTTP2Frame(streamID: HTTP2StreamID(id), payload: .headers(.init(headers: headers, endStream: endStream)))
    }

    private static func data(_ id: Int, _ bytes: ByteBuffer) -> HTTP2Frame {
        HTTP2Frame(streamID: HTTP2StreamID(id), payload: .data(.init(data: .byteBuffer(bytes))))
    }

    private static func goAway(_ last: HTTP2StreamID) -> HTTP2Frame {
        HTTP2Frame(
            streamID: .rootStream, payload: .goAway(lastStreamID: last, errorCode: .noError, opaqueData: nil))
    }

    /// A message with its prefix.
    package static func framed(_ message: some Collection<UInt8>) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.reserveCapacity(5 + message.count)
        bytes.writeInteger(UInt8(0))
        bytes.writeInteger(UInt32(message.count))
        bytes.writeBytes(message)
        return bytes
    }
}
