import Glibc
import NIOCore
import SluicePolicy

/// A service manager such as systemd, which started this process and wants to know when it is ready and how it is.
///
/// The protocol is that of `sd_notify(3)`: datagrams of lines `NAME=value` to the Unix socket that `NOTIFY_SOCKET` names.
package final class ServiceManager: Sendable {
    /// Why no state can be sent to it.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    private let descriptor: Int32
    private let address: [UInt8]
    /// How often it wants a sign that the sidecar works, ns; nil: never.
    package let watchdogNs: Int64?

    /// - Returns: nil if no service manager asks for the state.
    /// - Parameter processID: the watchdog may be meant for another process.
    package init?(environment: [String: String], processID: Int32 = getpid()) throws(Failure) {
        guard let path = environment["NOTIFY_SOCKET"], !path.isEmpty else { return nil }
        guard path.hasPrefix("/") || path.hasPrefix("@") else {
            throw Failure(
                description: "NOTIFY_SOCKET: found \(path.onOneLine), expected the path of a Unix socket, or @NAME")
        }
        // An abstract name begins with a NUL, and has none behind it.
        var address = Array(path.utf8)
        if address[0] == UInt8(ascii: "@") { address[0] = 0 }
        guard address.count < MemoryLayout.size(ofValue: sockaddr_un().sun_path) else {
            throw Failure(description: "NOTIFY_SOCKET: the name is too long for a Unix socket")
        }
        self.address = address
        watchdogNs = Self.watchdogNs(environment, processID: processID)
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else {
            throw Failure(description: "cannot make a socket: \(String(cString: strerror(errno)))")
        }
        // A manager that does not read must not hold up the start or the end.
        var limit = timeval(tv_sec: ServerBounds.managerWaitSeconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    private static func watchdogNs(_ environment: [String: String], processID: Int32) -> Int64? {
        if let owner = environment["WATCHDOG_PID"], Int32(owner) != processID { return nil }
        guard let us = environment["WATCHDOG_USEC"].flatMap({ Int64($0) }), us > 0, us < Int64.max / 1000 else {
            return nil
        }
        return us * 1000
    }

    /// Pings the watchdog, twice in the time after which the process is taken for hung: from the event loop itself, so that one
    /// that hangs is found. Does nothing if there is no watchdog.
    func ping(from eventLoop: any EventLoop) {
        guard let watchdogNs else { return }
        eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .nanoseconds(max(1, watchdogNs / 2))) { [self] _ in
            send(["WATCHDOG=1"], isPatient: false)
        }
    }

    /// Sends lines together. May wait for a second; not on an event loop unless `isPatient` is false.
    /// - Returns: why they could not be sent; nil if they were.
    @discardableResult
    func send(_ lines: [String], isPatient: Bool) -> String? {
        let message = Array(lines.joined(separator: "\n").utf8)
        var to = sockaddr_un()
        to.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &to.sun_path) { $0.copyBytes(from: address) }
        // Bytes behind an abstract name would be part of it.
        let size = socklen_t(MemoryLayout<sockaddr_un>.offset(of: \.sun_path)! + address.count)
        let flags = Int32(MSG_NOSIGNAL) | (isPatient ? 0 : Int32(MSG_DONTWAIT))
        while true {
            let count = withUnsafePointer(to: &to) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(descriptor, message, message.count, flags, $0, size)
                }
            }
            if count >= 0 { return nil }
            guard errno == EINTR else { return String(cString: strerror(errno)) }
        }
    }
}
