import Foundation

/// One HTTP request at a time, each on a connection of its own, over loopback or a Unix socket. Blocking, and bounded
/// in time.
package struct HTTPClient: Sendable {
    package enum Place: Sendable {
        case port(Int)
        case socket(String)
    }

    package struct Reply: Sendable, CustomStringConvertible {
        package let status: Int
        /// Names in small letters; of equal ones the last.
        package let headers: [String: String]
        package let body: String

        package var description: String { "\(status) \(headers) \(body)" }
    }

    private let place: Place

    package init(_ place: Place) { self.place = place }

    /// - Throws: if it cannot connect, or if the answer is not whole after ten seconds.
    package func ask(
        _ method: String = "GET", _ target: String, _ headers: [String: String] = [:], body: String = ""
    ) throws -> Reply {
        let socket = try connect()
        defer { close(socket) }
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var text = "\(method) \(target) HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        for (name, value) in headers { text += "\(name): \(value)\r\n" }
        if !body.isEmpty { text += "content-length: \(body.utf8.count)\r\n" }
        let bytes = Array((text + "\r\n" + body).utf8)
        guard send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw SupportError("cannot send: \(String(cString: strerror(errno)))")
        }
        return try Self.reply(from: try Self.readToEnd(socket))
    }

    private static func readToEnd(_ socket: Int32) throws -> [UInt8] {
        var all: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(socket, &piece, piece.count, 0)
            if count == 0 { return all }
            guard count > 0 else { throw SupportError("no whole answer: \(String(cString: strerror(errno)))") }
            all += piece[..<count]
        }
    }

    private static func reply(from bytes: [UInt8]) throws -> Reply {
        let text = String(decoding: bytes, as: UTF8.self)
        let parts = text.components(separatedBy: "\r\n\r\n")
        let lines = parts[0].components(separatedBy: "\r\n")
        let words = lines[0].split(separator: " ")
        guard parts.count > 1, words.count > 1, let status = Int(words[1]) else {
            throw SupportError("no HTTP: \(text)")
        }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let sides = line.components(separatedBy: ": ")
            headers[sides[0].lowercased()] = sides.dropFirst().joined(separator: ": ")
        }
        return Reply(status: status, headers: headers, body: parts.dropFirst().joined(separator: "\r\n\r\n"))
    }

    private func connect() throws -> Int32 {
        switch place {
        case .port(let port):
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            return try Self.connect(AF_INET, address)
        case .socket(let path):
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
                throw SupportError("\(path): too long for a socket")
            }
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            return try Self.connect(AF_UNIX, address)
        }
    }

    private static func connect<Address>(_ family: Int32, _ address: Address) throws -> Int32 {
        let socket = Glibc.socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = address
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket, $0, socklen_t(MemoryLayout<Address>.size))
            }
        }
        guard socket >= 0, result == 0 else {
            let reason = String(cString: strerror(errno))
            if socket >= 0 { close(socket) }
            throw SupportError("cannot connect: \(reason)")
        }
        return socket
    }
}

extension SidecarProcess {
    /// The door that it was started with by `--http-listen 127.0.0.1:0`.
    package func http() throws -> HTTPClient { HTTPClient(.port(try httpPort())) }

    package func httpPort() throws -> Int { try Self.httpPort(inLog: log) }

    /// The port that a log names.
    package static func httpPort(inLog log: String) throws -> Int {
        guard let match = log.firstMatch(of: #/address=127\.0\.0\.1:([0-9]+)/#), let port = Int(match.output.1) else {
            throw SupportError("no address for HTTP in the log:\n\(log)")
        }
        return port
    }
}
