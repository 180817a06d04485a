import Foundation

/// What a server of RESP answered, as a test looks at it.
package enum RedisAnswer: Sendable, Equatable {
    case integer(Int)
    case string(String)
    case error(String)
    case null
    case array([RedisAnswer])
    /// A map of RESP3: keys and values in turn, as they came.
    case map([RedisAnswer])

    package var text: String? {
        if case .string(let text) = self { text } else { nil }
    }

    package var integer: Int? {
        if case .integer(let value) = self { value } else { nil }
    }

    package var elements: [RedisAnswer]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The value of a key of a map, or of RESP2's array that stands for one.
    package subscript(key: String) -> RedisAnswer? {
        let pairs: [RedisAnswer]
        switch self {
        case .array(let elements), .map(let elements): pairs = elements
        default: return nil
        }
        for index in stride(from: 0, to: pairs.count - 1, by: 2) where pairs[index].text == key {
            return pairs[index + 1]
        }
        return nil
    }
}

/// A blocking client over a Unix socket, for a test's preparations and look-ups, independent of the code under test. It
/// connects to Redis and to a sidecar, and also sends what no proper client would. For one thread at a time.
package final class RedisClient {
    private let socket: Int32
    /// What must live as long as this, such as the process at the other end.
    private let server: AnyObject?
    private let answerLimit: Int
    private var received: [UInt8] = []
    private var position = 0

    /// - Parameters:
    ///   - answerLimit: how long to wait for an answer, in seconds.
    ///   - server: is kept alive.
    package init(path: String, answerLimit: Int = 30, server: AnyObject? = nil) throws {
        self.server = server
        self.answerLimit = answerLimit
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw SupportError("socket: \(String(cString: strerror(errno)))") }
        var limit = timeval(tv_sec: answerLimit, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        // All that is stored is set by now, so `deinit` runs for an init that throws, and closes the socket.
        guard result == 0 else {
            throw SupportError("cannot connect to \(path): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(socket) }

    package func command(_ words: String...) throws -> RedisAnswer { try command(words) }

    package func command(_ words: [String]) throws -> RedisAnswer {
        try send(Self.frame(words))
        return try answer()
    }

    /// Sends all commands, and reads the answers meanwhile: a peer does not read for ever from a client that only
    /// sends.
    package func pipeline(_ commands: [[String]]) throws -> [RedisAnswer] {
        try exchange(commands.flatMap(Self.frame), answers: commands.count)
    }

    /// The same with bytes that hold `answers` requests.
    package func exchange(_ bytes: [UInt8], answers: Int) throws -> [RedisAnswer] {
        var sent = 0
        let deadline = ContinuousClock.now + .seconds(answerLimit)
        while sent < bytes.count {
            guard ContinuousClock.now < deadline else { throw SupportError("not sent in \(answerLimit) s") }
            var state = pollfd(fd: socket, events: Int16(POLLIN | POLLOUT), revents: 0)
            guard poll(&state, 1, Int32(answerLimit) * 1000) > 0 else {
                throw SupportError("neither read nor answered")
            }
            if state.revents & Int16(POLLIN) != 0 { try receive() }
            guard state.revents & Int16(POLLOUT) != 0 else { continue }
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
            }
            if count > 0 { sent += count } else if errno != EAGAIN { throw failure("cannot send") }
        }
        return try (0..<answers).map { _ in try answer() }
    }

    /// Sends bytes as they are.
    package func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw failure("cannot send") }
            sent += count
        }
    }

    package func send(_ text: String) throws { try send(Array(text.utf8)) }

    /// Sends what the kernel takes at once.
    /// - Returns: how many bytes that were.
    package func sendSome(_ bytes: [UInt8]) -> Int {
        max(0, Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT)))
    }

    /// What has come and was not read, as it is; empty if there is nothing.
    package func available() -> [UInt8] {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(socket, &chunk, chunk.count, Int32(MSG_DONTWAIT))
        return Array(chunk.prefix(max(0, count)))
    }

    /// Closes the sending side; answers can still be read.
    package func closeWriting() { shutdown(socket, Int32(SHUT_WR)) }

    /// Waits for the server to close, and drops what it still sends.
    /// - Returns: whether it did within the answer limit.
    package func isClosedByServer() -> Bool {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(socket, &chunk, chunk.count, 0)
            if count > 0 { continue }
            return count == 0 || errno == ECONNRESET
        }
    }

    /// All that the server still sends, as it is, until it closes.
    package func untilClosed() throws -> String {
        var bytes = Array(received[position...])
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(socket, &chunk, chunk.count, 0)
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            guard count > 0 else { throw failure("not closed") }
            bytes += chunk.prefix(count)
        }
    }

    /// All that the server still sends, as it is, until it closes or drops what this has sent.
    package func untilGone() -> [UInt8] {
        var bytes = Array(received[position...])
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(socket, &chunk, chunk.count, 0)
            guard count > 0 else { return bytes }
            bytes += chunk.prefix(count)
        }
    }

    /// What the server has sent next, as it is; empty if it has closed.
    package func some() throws -> [UInt8] {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(socket, &chunk, chunk.count, 0)
        guard count >= 0 else { throw failure("no answer") }
        return Array(chunk.prefix(count))
    }

    /// A command as an array of bulk strings.
    package static func frame(_ words: [String]) -> [UInt8] {
        words.reduce(into: Array("*\(words.count)\r\n".utf8)) { $0 += "$\($1.utf8.count)\r\n\($1)\r\n".utf8 }
    }

    /// The next answer.
    package func answer() throws -> RedisAnswer {
        let line = try line()
        let rest = String(line.dropFirst())
        switch line.first {
        case "+": return .string(rest)
        case "-": return .error(rest)
        case ":": return .integer(Int(rest) ?? 0)
        case "_": return .null
        case "$":
            guard let length = Int(rest), length >= 0 else { return .null }
            while received.count - position < length + 2 { try receive() }
            defer { position += length + 2 }
            return .string(String(decoding: received[position..<position + length], as: UTF8.self))
        case "=":
            let length = Int(rest) ?? 0
            while received.count - position < length + 2 { try receive() }
            defer { position += length + 2 }
            // A verbatim string begins with three letters for its format, and a colon.
            return .string(String(decoding: received[position + 4..<position + length], as: UTF8.self))
        case "*", "~":
            guard let count = Int(rest), count >= 0 else { return .null }
            return .array(try (0..<count).map { _ in try answer() })
        case "%": return .map(try (0..<(Int(rest) ?? 0) * 2).map { _ in try answer() })
        default: throw SupportError("not an answer of RESP: \(line)")
        }
    }

    private func line() throws -> String {
        var searched = position
        while true {
            if let end = received[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { position = end + 1 }
                return String(decoding: received[position..<end - 1], as: UTF8.self)
            }
            searched = received.count - position
            try receive()
        }
    }

    private func receive() throws {
        received.removeFirst(position)
        position = 0
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(socket, &chunk, chunk.count, 0)
        guard count > 0 else { throw count == 0 ? SupportError("no answer: closed") : failure("no answer") }
        received += chunk.prefix(count)
    }

    private func failure(_ what: String) -> SupportError {
        SupportError("\(what): \(String(cString: strerror(errno)))")
    }
}
