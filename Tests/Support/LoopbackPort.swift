import Glibc

/// Ports that nothing listens on.
package enum LoopbackPort {
    /// Several at once differ. Another process may take one before its user does.
    package static func free(_ count: Int = 1) throws -> [Int] {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        return try (0..<count).map { _ in
            let (socket, port) = try bound(to: 0)
            sockets.append(socket)
            return port
        }
    }

    /// The same of ports that are free together with the one 10,000 above, where a node of a Redis Cluster meets the
    /// others.
    package static func freeForCluster(_ count: Int) throws -> [Int] {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        var ports: [Int] = []
        for _ in 0..<1_000 where ports.count < count {
            let (socket, port) = try bound(to: 0)
            sockets.append(socket)
            guard port < 55_536, let bus = try? bound(to: port + 10_000) else { continue }
            sockets.append(bus.socket)
            ports.append(port)
        }
        guard ports.count == count else { throw SupportError("not enough free ports") }
        return ports
    }

    /// - Parameter port: 0 for any.
    private static func bound(to port: Int) throws -> (socket: Int32, port: Int) {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw SupportError("socket: \(String(cString: strerror(errno)))") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, length) == 0 ? getsockname(socket, $0, &length) : -1
            }
        }
        guard result == 0 else {
            let reason = String(cString: strerror(errno))
            close(socket)
            throw SupportError("bind: \(reason)")
        }
        return (socket, Int(UInt16(bigEndian: address.sin_port)))
    }
}
