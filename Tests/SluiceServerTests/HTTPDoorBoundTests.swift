import Foundation
import NIOCore
import NIOEmbedded
import NIOHTTP1
import SluiceEngine
import Testing

@testable import SluiceServer

/// What is too long, too much or too slow for the HTTP socket, and how it ends.
@Suite struct HTTPDoorBoundTests {
    private static let json = [("content-type", "application/json")]

    @Test func aBodyThatIsTooLongIsRefused() throws {
        let rig = try HTTPRig()
        for announced in [true, false] {
            let peer = try rig.connect()
            let body = String(repeating: " ", count: ServerBounds.maxHTTPBodyBytes + 1)
            let length = announced ? "content-length: \(body.utf8.count)" : "transfer-encoding: chunked"
            try peer.send("POST /v1/check HTTP/1.1\r\nhost: localhost\r\n\(length)\r\n\r\n")
            if !announced { try peer.send("\(String(body.utf8.count, radix: 16))\r\n\(body)\r\n0\r\n\r\n") }
            let replies = try peer.replies()
            #expect(replies.map(\.status) == [413])
            #expect(replies.first?.headers["connection"] == "close")
            #expect(!peer.isOpen)
            try peer.finish()
        }
        #expect(rig.rig.host.memory.connectionBytes == 0)
    }

    @Test func aHeadThatIsTooLongIsRefused() throws {
        let rig = try HTTPRig()
        let long = String(repeating: "a", count: ServerBounds.maxHTTPHeadBytes + 1)
        let many = (0...ServerBounds.maxHTTPHeaders).map { "h\($0): 1\r\n" }.joined()
        for head in ["/\(long) HTTP/1.1\r\n", "/ HTTP/1.1\r\nh: \(long)\r\n", "/ HTTP/1.1\r\n\(many)"] {
            let peer = try rig.connect()
            try? peer.send("GET \(head)\r\n")
            #expect(try peer.replies().map(\.status) == [431])
            #expect(!peer.isOpen)
            try peer.finish()
        }
    }

    @Test func whatIsNoHTTPIsRefused() throws {
        let rig = try HTTPRig()
        let peer = try rig.connect()
        try? peer.send("*1\r\n$4\r\nPING\r\n")
        #expect(try peer.replies().map(\.status) == [400])
        #expect(!peer.isOpen)
        try peer.finish()
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() throws {
        let rig = try HTTPRig()
        let peer = try rig.connect()
        let check = #"{"grant":"g","tool":"run"}"#
        let head = "POST /v1/check HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        let one = "\(head)content-length: \(check.utf8.count)\r\n\r\n\(check)"
        try peer.send(one + "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" + one)
        rig.rig.answerAll()
        let replies = try peer.replies()
        #expect(replies.map(\.status) == [200, 200, 200])
        #expect(replies.map { $0.body.hasPrefix("ok") } == [false, true, false])
        #expect(peer.isOpen)
        try peer.finish()
    }

    /// Many requests at once are spread over turns of the event loop.
    @Test func aPipelineHasItsShareOfATurn() throws {
        let rig = try HTTPRig()
        let (peer, other) = (try rig.connect(), try rig.connect())
        let one = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
        try peer.send(String(repeating: one, count: 2 * ServerBounds.httpRequestsPerTurn + 1))
        #expect(try peer.replies().count == ServerBounds.httpRequestsPerTurn)
        try other.send(one)
        #expect(try other.replies().count == 1)
        rig.rig.eventLoop.advanceTime(by: .nanoseconds(ServerBounds.httpPauseNs))
        #expect(try peer.replies().count == ServerBounds.httpRequestsPerTurn)
        rig.rig.eventLoop.advanceTime(by: .nanoseconds(ServerBounds.httpPauseNs))
        #expect(try peer.replies().count == 1)
        for peer in [peer, other] { try peer.finish() }
    }

    /// A report is as long as many checks: one is made in a turn, however many are asked for.
    @Test func reportsAreMadeOneInATurn() throws {
        let rig = try HTTPRig()
        var peers: [HTTPPeer] = []
        for path in ["/metrics", "/v1/status", "/metrics"] {
            let peer = try rig.connect()
            // The turn does not end with it.
            let text = "GET \(path) HTTP/1.1\r\nhost: localhost\r\n\r\n"
            try peer.channel.writeInbound(ByteBuffer(string: text))
            peers.append(peer)
        }
        rig.rig.eventLoop.run()
        #expect(try peers.map { try $0.replies().count } == [1, 0, 0])
        rig.rig.eventLoop.advanceTime(by: .nanoseconds(ServerBounds.httpPauseNs))
        #expect(try peers.map { try $0.replies().count } == [0, 1, 0])
        // Who has gone meanwhile is not waited for.
        try peers[2].finish()
        rig.rig.eventLoop.advanceTime(by: .nanoseconds(ServerBounds.httpPauseNs))
        for peer in peers.dropLast() { try peer.finish() }
    }

    @Test func connectionsBeyondTheBoundAreRefused() throws {
        let rig = try HTTPRig()
        var peers: [HTTPPeer] = []
        for _ in 0..<ServerBounds.maxHTTPConnections { peers.append(try rig.connect()) }
        let late = try rig.connect()
        #expect(try late.replies().map(\.status) == [503])
        #expect(!late.isOpen)
        #expect(rig.door.connectionCount == ServerBounds.maxHTTPConnections)
        try peers[0].finish()
        let next = try rig.connect()
        #expect(next.isOpen)
        for peer in peers.dropFirst() + [next] { try peer.finish() }
        #expect(rig.door.connectionCount == 0)
    }

    @Test func connectionsThatTakeTooLongAreClosed() throws {
        let rig = try HTTPRig()
        let (idle, slow) = (try rig.connect(), try rig.connect())
        try slow.send("POST /v1/check HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        let now = SystemClock.monotonicNs()
        func sweep(_ afterNs: Int64) {
            for peer in [idle, slow] where peer.isOpen {
                let handler = try? peer.channel.pipeline.syncOperations.handler(type: HTTPConnection.self)
                handler?.sweep(nowNs: now + afterNs)
            }
        }
        sweep(ServerBounds.httpRequestNs - 1_000_000_000)
        #expect(idle.isOpen && slow.isOpen)
        sweep(ServerBounds.httpRequestNs + 1_000_000_000)
        #expect(idle.isOpen && !slow.isOpen)
        sweep(ServerBounds.httpIdleNs + 1_000_000_000)
        #expect(!idle.isOpen)
    }

    @Test func aDrainAnswersWhatWaitsAndClosesTheRest() throws {
        let rig = try HTTPRig()
        let (idle, busy) = (try rig.connect(), try rig.connect())
        try busy.send("POST", "/v1/check", Self.json, body: #"{"grant":"g","tool":"run"}"#)
        rig.door.beginDrain()
        var isDrained = false
        rig.door.onDrained { isDrained = true }
        rig.rig.eventLoop.run()
        #expect(!idle.isOpen && busy.isOpen && !isDrained)
        rig.rig.answerAll()
        let replies = try busy.replies()
        #expect(replies.map(\.status) == [200])
        #expect(replies.first?.headers["connection"] == "close")
        #expect(!busy.isOpen && isDrained)
    }
}
