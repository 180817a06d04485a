import NIOCore
import NIOHPACK
import NIOHTTP2
import SluiceGRPC
import Testing

@Suite struct GRPCStreamsTests {
    static let path = "/t.T/Echo"
    static let second: Int64 = 1_000_000_000

    /// A connection's streams, and what they want done, in words.
    struct Rig {
        var streams = GRPCStreams(
            GRPCMethods([
                GRPCMethods.Method(path, maxMessageBytes: 100),
                GRPCMethods.Method("/t.T/Large", maxMessageBytes: 9_000_000),
            ]), nowNs: 0)
        var nowNs: Int64 = 0
        var messages: [[UInt8]] = []
        var timeouts: [Int64?] = []

        mutating func words(_ change: (inout GRPCStreams, Int64, inout [GRPCStreams.Action]) -> Void) -> [String] {
            var actions: [GRPCStreams.Action] = []
            change(&streams, nowNs, &actions)
            return actions.map { word($0) }
        }

        private mutating func word(_ action: GRPCStreams.Action) -> String {
            switch action {
            case .close: return "close"
            case .cancelled(let stream): return "cancelled \(stream)"
            case .call(let call, let message):
                messages.append(Array(message.readableBytesView))
                timeouts.append(call.timeoutNs)
                return "call \(call.stream) \(call.method)"
            case .send(let frame): return Self.word(frame)
            }
        }

        static func word(_ frame: HTTP2Frame) -> String {
            let id = Int(frame.streamID)
            switch frame.payload {
            case .headers(let headers):
                let shown = headers.headers.filter { $0.name != "content-type" && $0.name != "content-length" }
                    .map { "\($0.name)=\($0.value)" }.joined(separator: " ")
                return "headers \(id) \(shown)" + (headers.endStream ? " end" : "")
            case .data(let data): return "data \(id) \(data.data.readableBytes)"
            case .rstStream(let code): return "reset \(id) \(code.networkCode)"
            case .goAway(let last, let code, _):
                return "goaway \(last == .maxID ? "max" : "\(Int(last))") \(code.networkCode)"
            case .ping(_, let ack): return ack ? "pong" : "ping"
            case .windowUpdate(let increment): return "window \(id) \(increment)"
            default: return "other"
            }
        }

        mutating func headers(
            _ id: Int, path: String = GRPCStreamsTests.path, more: [(String, String)] = [], method: String = "POST",
            type: String = "application/grpc", end: Bool = false
        ) -> [String] {
            let headers = HPACKHeaders([(":method", method), (":path", path), ("content-type", type)] + more)
            return receive(id, .headers(.init(headers: headers, endStream: end)))
        }

        mutating func data(_ id: Int, _ bytes: [UInt8], end: Bool = false) -> [String] {
            receive(id, .data(.init(data: .byteBuffer(ByteBuffer(bytes: bytes)), endStream: end)))
        }

        mutating func receive(_ id: Int, _ payload: HTTP2Frame.FramePayload) -> [String] {
            words { $0.receive(HTTP2Frame(streamID: HTTP2StreamID(id), payload: payload), nowNs: $1, &$2) }
        }

        /// The HTTP/2 handler has sent everything.
        mutating func closed(_ id: Int) -> [String] { words { $0.closed(stream: id, nowNs: $1, &$2) } }

        mutating func sweep() -> [String] { words { $0.sweep(nowNs: $1, &$2) } }

        mutating func respond(_ id: Int, _ message: [UInt8]) -> [String] {
            words { $0.respond(stream: id, GRPCStreams.framed(message), nowNs: $1, &$2) }
        }
    }

    static func framed(_ message: [UInt8]) -> [UInt8] { Array(GRPCStreams.framed(message).readableBytesView) }

    @Test func aRequestBecomesACallAndItsAnswerThreeFrames() {
        var rig = Rig()
        #expect(rig.headers(1, more: [("grpc-timeout", "250m")]) == [])
        #expect(rig.data(1, Self.framed([1, 2, 3]), end: true) == ["call 1 0"])
        #expect(rig.messages == [[1, 2, 3]])
        #expect(rig.timeouts == [250_000_000])
        #expect(rig.respond(1, [9]) == ["headers 1 :status=200", "data 1 6", "headers 1 grpc-status=0 end"])
        #expect(rig.respond(1, [9]) == [])
        #expect(rig.streams.count == 1)
        #expect(rig.streams.heldBytes == 6)
        #expect(rig.closed(1) == [])
        #expect(rig.streams.count == 0)
        #expect(rig.streams.heldBytes == 0)
    }

    @Test func aMessageMayComeAByteAtATime() {
        var rig = Rig()
        _ = rig.headers(1)
        for byte in Self.framed([1, 2, 3]) { #expect(rig.data(1, [byte]) == []) }
        #expect(rig.streams.heldBytes == 8)
        #expect(rig.data(1, [], end: true) == ["call 1 0"])
        #expect(rig.messages == [[1, 2, 3]])
        #expect(rig.streams.heldBytes == 0)
    }

    @Test func anEmptyMessageIsAMessage() {
        var rig = Rig()
        _ = rig.headers(1, type: "application/grpc+proto")
        #expect(rig.data(1, Self.framed([]), end: true) == ["call 1 0"])
        #expect(rig.messages == [[]])
    }

    @Test func trailersEndARequest() {
        var rig = Rig()
        _ = rig.headers(1)
        _ = rig.data(1, Self.framed([5]))
        #expect(rig.receive(1, .headers(.init(headers: HPACKHeaders([("x", "y")]), endStream: true))) == ["call 1 0"])
    }

    @Test func aMessageThatIsTooLargeIsRejectedByItsLength() {
        var rig = Rig()
        _ = rig.headers(1)
        #expect(
            rig.data(1, [0, 0, 0, 0, 101]) == [
                "headers 1 :status=200 grpc-status=8 grpc-message=the message has 101 bytes, send at most 100 end",
                "reset 1 0",
            ])
        #expect(rig.streams.count == 0)
        #expect(rig.streams.heldBytes == 0)
    }

    @Test(arguments: [
        ([1, 0, 0, 0, 1, 9], "12"), ([0, 0, 0, 0, 1, 9, 0], "13"), ([0, 0, 0, 0, 2, 9], "13"), ([0, 0], "13"),
        ([], "13"),
    ])
    func aWrongMessageGetsAStatus(bytes: [UInt8], code: String) {
        var rig = Rig()
        _ = rig.headers(1)
        let words = rig.data(1, bytes, end: true)
        #expect(words.count == 1)
        #expect(words.first?.hasPrefix("headers 1 :status=200 grpc-status=\(code) ") == true)
        #expect(rig.streams.count == 0)
    }

    @Test func whatIsNoGRPCGetsAnHTTPStatus() {
        var rig = Rig()
        #expect(rig.headers(1, method: "GET", end: true) == ["headers 1 :status=405 end"])
        #expect(rig.headers(3, type: "application/json") == ["headers 3 :status=415 end", "reset 3 0"])
        #expect(rig.headers(5, type: "application/grpc-web", end: true) == ["headers 5 :status=415 end"])
        #expect(rig.headers(7, type: "application/grpcx", end: true) == ["headers 7 :status=415 end"])
    }

    @Test func anUnknownMethodIsUnimplemented() {
        var rig = Rig()
        #expect(
            rig.headers(1, path: "/t.T/None")
                == [
                    "headers 1 :status=200 grpc-status=12 grpc-message=/t.T/None is no method of this server end",
                    "reset 1 0",
                ])
        #expect(rig.data(1, Self.framed([1]), end: true) == [])
    }

    @Test func aWrongTimeoutIsAnInvalidArgument() {
        var rig = Rig()
        let words = rig.headers(1, more: [("grpc-timeout", "soon")], end: true)
        #expect(words.first?.hasPrefix("headers 1 :status=200 grpc-status=3 ") == true)
    }

    @Test func unfinishedMessagesHaveABound() {
        var rig = Rig()
        let large = [UInt8](repeating: 0, count: 4 * 1_048_576)
        var rejected: [Int] = []
        for id in stride(from: 1, through: 11, by: 2) {
            _ = rig.headers(id, path: "/t.T/Large")
            _ = rig.data(id, [0, 0, 0x80, 0, 0])
            if rig.data(id, large).contains(where: { $0.contains("grpc-status=8") }) { rejected.append(id) }
            #expect(rig.streams.heldBytes <= GRPCBounds.maxUnfinishedBytes)
        }
        #expect(rejected == [7, 9, 11])
    }

    @Test func aCallerThatLeavesIsReported() {
        var rig = Rig()
        _ = rig.headers(1)
        #expect(rig.receive(1, .rstStream(.cancel)) == [])
        _ = rig.headers(3)
        _ = rig.data(3, Self.framed([1]), end: true)
        #expect(rig.receive(3, .rstStream(.cancel)) == ["cancelled 3"])
        #expect(rig.respond(3, [1]) == [])
        _ = rig.headers(5)
        _ = rig.data(5, Self.framed([1]), end: true)
        #expect(rig.words { $0.closed(stream: 5, nowNs: $1, &$2) } == ["cancelled 5"])
    }

    @Test func severalMessagesEndWithAStatus() {
        var rig = Rig()
        _ = rig.headers(1)
        _ = rig.data(1, Self.framed([1]), end: true)
        #expect(
            rig.words { $0.send(stream: 1, GRPCStreams.framed([1]), &$2) } == ["headers 1 :status=200", "data 1 6"])
        #expect(rig.words { $0.send(stream: 1, GRPCStreams.framed([]), &$2) } == ["data 1 5"])
        #expect(
            rig.words { $0.fail(stream: 1, GRPCStatus(.ok, ""), nowNs: $1, &$2) } == ["headers 1 grpc-status=0 end"])
        #expect(rig.streams.heldBytes == 11)
        #expect(rig.closed(1) == [])
        #expect(rig.streams.count == 0)
        #expect(rig.streams.heldBytes == 0)
    }

    // MARK: - The end

    private static let ping = HTTP2PingData(withInteger: 0x736C_7569_6365_0001)

    @Test func drainingServesWhatTheClientOpensBeforeItKnows() {
        var rig = Rig()
        _ = rig.headers(1)
        #expect(rig.words { $0.drain(nowNs: $1, &$2) } == ["goaway max 0", "ping"])
        #expect(rig.headers(3) == [])
        #expect(rig.receive(0, .ping(HTTP2PingData(withInteger: 1), ack: true)) == [])
        #expect(rig.receive(0, .ping(Self.ping, ack: true)) == ["goaway 3 0"])
        #expect(rig.headers(5) == [])
        #expect(rig.data(1, Self.framed([1]), end: true) == ["call 1 0"])
        #expect(rig.data(3, Self.framed([1]), end: true) == ["call 3 0"])
        #expect(rig.respond(1, []).last == "headers 1 grpc-status=0 end")
        #expect(rig.respond(3, []).last == "headers 3 grpc-status=0 end")
        #expect(rig.closed(1) == [])
        #expect(rig.closed(3) == ["close"])
    }

    @Test func aClientThatDoesNotAnswerIsNotWaitedFor() {
        var rig = Rig()
        _ = rig.receive(0, .settings(.settings([])))
        _ = rig.words { $0.drain(nowNs: $1, &$2) }
        #expect(rig.sweep() == [])
        rig.nowNs = Self.second
        #expect(rig.sweep() == ["goaway 0 0", "close"])
        #expect(rig.sweep() == [])
    }

    @Test func aClientThatLeavesGetsItsAnswers() {
        var rig = Rig()
        _ = rig.headers(1)
        _ = rig.data(1, Self.framed([1]), end: true)
        #expect(rig.receive(0, .goAway(lastStreamID: 0, errorCode: .noError, opaqueData: nil)) == ["goaway 1 0"])
        #expect(rig.respond(1, []).last == "headers 1 grpc-status=0 end")
        #expect(rig.closed(1) == ["close"])
    }

    @Test func whatTakesTooLongEnds() {
        var rig = Rig()
        rig.nowNs = 9 * Self.second
        #expect(rig.sweep() == [])
        rig.nowNs = 10 * Self.second
        // No preface has come.
        #expect(rig.sweep() == ["close"])

        rig = Rig()
        _ = rig.receive(0, .settings(.settings([])))
        _ = rig.headers(1)
        _ = rig.data(1, [0])
        rig.nowNs = 10 * Self.second
        #expect(
            rig.sweep() == [
                "headers 1 :status=200 grpc-status=4 grpc-message=the request did not end in time, send it again end",
                "reset 1 0",
            ])
        rig.nowNs += GRPCBounds.idleLimitNs
        #expect(rig.sweep() == ["goaway max 0", "ping"])
    }

    @Test func theWindowIsGivenBackByHalves() {
        let rig = Rig()
        var actions: [GRPCStreams.Action] = []
        rig.streams.windowChanged(toBytes: GRPCBounds.connectionWindowBytes / 2, &actions)
        #expect(actions.isEmpty)
        rig.streams.windowChanged(toBytes: 1_000, &actions)
        let words = actions.map { action in
            if case .send(let frame) = action { Rig.word(frame) } else { "" }
        }
        #expect(words == ["window 0 \(GRPCBounds.connectionWindowBytes - 1_000)"])
    }

}
