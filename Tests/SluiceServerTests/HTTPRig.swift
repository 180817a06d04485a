import Foundation
import NIOCore
import NIOEmbedded
import NIOHTTP1
import SluiceEngine
import SluiceProtocol

@testable import SluiceServer

/// A server's rig with the HTTP door, whose connections are made by hand.
final class HTTPRig {
    let rig: ServerRig
    let door: HTTPDoor

    init(_ rig: ServerRig? = nil, requiresStore: Bool = false) throws {
        let rig = try rig ?? ServerRig()
        var facts = ServerRig.facts(SystemClock.now())
        facts.requiresStore = requiresStore
        self.rig = rig
        door = HTTPDoor(host: rig.host, operators: rig.operators, facts: facts)
        door.readiness = .ready
    }

    func connect(_ origin: HTTPOrigin = .loopback) throws -> HTTPPeer {
        let channel = EmbeddedChannel(loop: rig.eventLoop)
        try HTTPConnection.addHandlers(to: channel, door: door, origin: origin)
        channel.connect(to: try SocketAddress(unixDomainSocketPath: "/p"), promise: nil)
        return HTTPPeer(channel: channel)
    }

    /// One request on a connection of its own; the store answers.
    func ask(
        _ method: String = "GET", _ target: String, _ headers: [(String, String)] = [], body: String? = nil,
        origin: HTTPOrigin = .loopback
    ) throws -> HTTPReply {
        let peer = try connect(origin)
        try peer.send(method, target, headers, body: body)
        rig.answerAll()
        let replies = try peer.replies()
        try peer.finish()
        guard let reply = replies.first, replies.count == 1 else { throw HTTPRigError(what: "\(replies)") }
        return reply
    }

    func check(_ path: String, _ body: String) throws -> HTTPReply {
        try ask("POST", path, [("content-type", "application/json")], body: body)
    }
}

struct HTTPRigError: Error { var what: String }

struct HTTPReply: CustomStringConvertible {
    var status: Int
    var headers: [String: String]
    var body: String

    var description: String { "\(status) \(headers) \(body)" }

    /// The body's fields, if it is an object.
    func json() throws -> [String: Any] {
        guard let object = try JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: Any] else {
            throw HTTPRigError(what: body)
        }
        return object
    }

    /// The code word and the sentence of an error.
    func error() throws -> (code: String, message: String) {
        guard let error = try json()["error"] as? [String: String], let code = error["code"],
            let message = error["message"]
        else { throw HTTPRigError(what: body) }
        return (code, message)
    }
}

/// The client's end.
struct HTTPPeer {
    let channel: EmbeddedChannel

    var isOpen: Bool { channel.isActive }

    func send(_ text: String) throws {
        try channel.writeInbound(ByteBuffer(string: text))
        channel.embeddedEventLoop.run()
    }

    func send(_ method: String, _ target: String, _ headers: [(String, String)] = [], body: String? = nil) throws {
        var text = "\(method) \(target) HTTP/1.1\r\n"
        if !headers.contains(where: { $0.0 == "host" }) { text += "host: localhost\r\n" }
        for (name, value) in headers { text += "\(name): \(value)\r\n" }
        if let body { text += "content-length: \(body.utf8.count)\r\n" }
        try send(text + "\r\n" + (body ?? ""))
    }

    /// The answers so far, in whole.
    func replies() throws -> [HTTPReply] {
        var text = ""
        while let bytes = try channel.readOutbound(as: ByteBuffer.self) { text += String(buffer: bytes) }
        var replies: [HTTPReply] = []
        while let end = text.range(of: "\r\n\r\n") {
            let lines = text[..<end.lowerBound].components(separatedBy: "\r\n")
            var headers: [String: String] = [:]
            for line in lines.dropFirst() {
                let parts = line.components(separatedBy: ": ")
                headers[parts[0].lowercased()] = parts.dropFirst().joined(separator: ": ")
            }
            let rest = text[end.upperBound...]
            // What answers HEAD announces a body that does not follow.
            let count = rest.isEmpty ? 0 : Int(headers["content-length"] ?? "") ?? 0
            let body = String(decoding: rest.utf8.prefix(count), as: UTF8.self)
            let status = Int(lines[0].split(separator: " ")[1]) ?? 0
            replies.append(HTTPReply(status: status, headers: headers, body: body))
            text = String(decoding: rest.utf8.dropFirst(count), as: UTF8.self)
        }
        return replies
    }

    func finish() throws { _ = try channel.finish(acceptAlreadyClosed: true) }
}
