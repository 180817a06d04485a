import Foundation

/// The socket on which a service manager is told how a process is, of a test's own. For one thread at a time.
package final class NotifySocket {
    /// What `NOTIFY_SOCKET` is to be.
    package let name: String
    private let descriptor: Int32
    /// All lines so far.
    package private(set) var lines: [String] = []

    /// - Parameter name: a path, or `@` and an abstract name.
    package init(_ name: String) throws {
        self.name = name
        let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | flags, 0)
        var path = Array(name.utf8)
        if path[0] == UInt8(ascii: "@") { path[0] = 0 }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let size = socklen_t(MemoryLayout<sockaddr_un>.offset(of: \.sun_path)! + path.count)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
        }
        guard result == 0 else {
            let reason = String(cString: strerror(errno))
            close(descriptor)
            throw SupportError("cannot bind \(name): \(reason)")
        }
    }

    deinit { close(descriptor) }

    /// Takes what has come. - Returns: the lines of each datagram.
    @discardableResult
    package func receive() -> [[String]] {
        var messages: [[String]] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = recv(descriptor, &buffer, buffer.count, 0), count >= 0 {
            messages.append(String(decoding: buffer[..<count], as: UTF8.self).components(separatedBy: "\n"))
        }
        lines += messages.flatMap(\.self)
        return messages
    }

    /// Whether all these lines came in one datagram that has not been taken.
    package func hasReceived(_ wanted: String...) -> Bool {
        receive().contains { message in wanted.allSatisfy { line in message.contains { $0.hasPrefix(line) } } }
    }
}
