import Foundation

/// What Redis answered, as a test looks at it.
package enum RedisAnswer: Sendable, Equatable {
    case integer(Int)
    case string(String)
    case error(String)
    case null
    case array([RedisAnswer])

    package var text: String? {
        if case .string(let text) = self { text } else { nil }
    }
}

/// A blocking client over a Unix socket: for what a test arranges and looks up, apart from the code under test.
/// For one thread at a time.
package final class RedisClient {
    private let socket: Int32
    private var received: [UInt8] = []
    private var position = 0

    /// - Parameter answerLimit: how long to wait for an answer, in seconds.
    package init(path: String, answerLimit: Int = 30) throws {
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { throw SupportError("socket: \(String(cString: strerror(errno)))") }
        var limit = timeval(tv_sec: answerLimit, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            let reason = String(cString: strerror(errno))
            close(socket)
            throw SupportError("cannot connect to \(path): \(reason)")
        }
    }

    deinit { close(socket) }

    package func command(_ words: [String]) throws -> RedisAnswer {
        let bytes = words.reduce(into: Array("*\(words.count)\r\n".utf8)) {
            $0 += "$\($1.utf8.count)\r\n\($1)\r\n".utf8
        }
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw SupportError("cannot send to Redis: \(String(cString: strerror(errno)))") }
            sent += count
        }
        return try answer()
    }

    private func answer() throws -> RedisAnswer {
        let line = try line()
        let rest = String(line.dropFirst())
        switch line.first {
        case "+": return .string(rest)
        case "-": return .error(rest)
        case ":": return .integer(Int(rest) ?? 0)
        case "$":
            guard let length = Int(rest), length >= 0 else { return .null }
            while received.count - position < length + 2 { try receive() }
            defer { position += length + 2 }
            return .string(String(decoding: received[position..<position + length], as: UTF8.self))
        case "*":
            guard let count = Int(rest), count >= 0 else { return .null }
            return .array(try (0..<count).map { _ in try answer() })
        default: throw SupportError("not an answer of Redis: \(line)")
        }
    }

    private func line() throws -> String {
        while true {
            if let end = received[position...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { position = end + 1 }
                return String(decoding: received[position..<end - 1], as: UTF8.self)
            }
            try receive()
        }
    }

    private func receive() throws {
        received.removeFirst(position)
        position = 0
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(socket, &chunk, chunk.count, 0)
        guard count > 0 else {
            throw SupportError("no answer from Redis: \(count == 0 ? "closed" : String(cString: strerror(errno)))")
        }
        received += chunk.prefix(count)
    }
}
