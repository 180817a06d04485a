import Glibc
import SluicePolicy

/// A listening socket that a service manager made and keeps, by the protocol of `sd_listen_fds(3)`: callers wait in its
/// backlog while no process serves it, so that none is turned away by a restart.
package struct HandedOverSocket: Sendable, Equatable {
    package struct Failure: Error, Equatable, CustomStringConvertible {
        package let description: String
    }

    package var descriptor: Int32
    /// The manager's name for it, usually that of its unit.
    package var name: String
    package var path: String

    init(descriptor: Int32, name: String, path: String) {
        self.descriptor = descriptor
        self.name = name
        self.path = path
    }

    /// The first descriptor that is handed over.
    private static let firstDescriptor: Int32 = 3

    /// Takes what was handed over to this process. Each must be a Unix stream socket that listens at a path.
    package static func all(
        environment: [String: String], processID: Int32 = getpid()
    ) throws(Failure) -> [HandedOverSocket] {
        guard let owner = environment["LISTEN_PID"], Int32(owner) == processID else { return [] }
        guard let count = environment["LISTEN_FDS"].flatMap({ Int32($0) }), count >= 0,
            count <= ServerBounds.maxHandedOverSockets
        else {
            throw Failure(
                description:
                    "LISTEN_FDS: found \((environment["LISTEN_FDS"] ?? "nothing").onOneLine), expected a number from "
                    + "0 to \(ServerBounds.maxHandedOverSockets)")
        }
        let names = (environment["LISTEN_FDNAMES"] ?? "").split(separator: ":", omittingEmptySubsequences: false)
        var sockets: [HandedOverSocket] = []
        for index in 0..<count {
            let name = Int(index) < names.count ? String(names[Int(index)]) : ""
            sockets.append(try HandedOverSocket(firstDescriptor + index, name: name))
        }
        return sockets
    }

    /// A descriptor that must be such a socket.
    init(_ descriptor: Int32, name: String) throws(Failure) {
        let place = Self.place(descriptor, name)
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Failure(description: "\(place) is not open") }
        var address = sockaddr_un()
        var size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let hasAddress = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) == 0 }
        }
        guard hasAddress, Self.option(SO_DOMAIN, of: descriptor) == AF_UNIX,
            Self.option(SO_TYPE, of: descriptor) == Int32(SOCK_STREAM.rawValue),
            Self.option(SO_ACCEPTCONN, of: descriptor) == 1
        else {
            throw Failure(
                description:
                    "\(place) is not a Unix stream socket that listens, expected ListenStream=/PATH in the socket unit")
        }
        let head = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
        let path = withUnsafeBytes(of: &address.sun_path) { $0.prefix(max(0, Int(size) - head)).prefix { $0 != 0 } }
        guard !path.isEmpty else {
            throw Failure(description: "\(place) has no path, expected ListenStream=/PATH in the socket unit")
        }
        // Programs that this one starts must not hold it open.
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        self.init(descriptor: descriptor, name: name, path: String(decoding: path, as: UTF8.self))
    }

    private static func place(_ descriptor: Int32, _ name: String) -> String {
        "LISTEN_FDS: descriptor \(descriptor)" + (name.isEmpty ? "" : " (\(name.onOneLine))")
    }

    private static func option(_ option: Int32, of descriptor: Int32) -> Int32? {
        var value: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, option, &value, &size) == 0 ? value : nil
    }

    /// Gives each socket to the setting that names its path.
    /// - Parameter settings: names and paths of the settings that name a Unix socket.
    /// - Returns: the descriptors by the paths as they are set.
    package static func assign(
        _ sockets: [HandedOverSocket], to settings: [(name: String, path: String)]
    ) throws(Failure) -> [String: Int32] {
        var assigned: [String: Int32] = [:]
        for socket in sockets {
            guard let setting = settings.first(where: { socket.isAt($0.path) }) else {
                let expected = settings.map { "--\($0.name) (\($0.path))" }.joined(separator: " or ")
                throw Failure(
                    description:
                        "\(place(socket.descriptor, socket.name)) listens at \(socket.path.onOneLine), expected the "
                        + "path of \(expected)")
            }
            guard assigned.updateValue(socket.descriptor, forKey: setting.path) == nil else {
                throw Failure(
                    description:
                        "\(place(socket.descriptor, socket.name)) is a second socket at \(setting.path), expected one")
            }
        }
        return assigned
    }

    /// Whether this path leads to it; folders on the way may be links, as `/var/run` is.
    private func isAt(_ other: String) -> Bool {
        if other == path { return true }
        var (mine, theirs) = (stat(), stat())
        return stat(path, &mine) == 0 && stat(other, &theirs) == 0 && mine.st_dev == theirs.st_dev
            && mine.st_ino == theirs.st_ino
    }
}
