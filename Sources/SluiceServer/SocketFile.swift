import Glibc

/// The file of a listening Unix socket: who may replace it, who may connect, and who removes it.
package struct SocketFile: Sendable {
    package enum Failure: Error, CustomStringConvertible, Equatable {
        case pathTooLong(String)
        case inUse(String)
        case notASocket(String)
        case system(String, path: String, errno: Int32)

        /// Whether it is another one's; all else is a matter of settings.
        package var isInUse: Bool {
            if case .inUse = self { true } else { false }
        }

        package var description: String {
            switch self {
            case .pathTooLong(let path):
                "\(path): a socket's path has at most \(ServerBounds.maxSocketPathBytes) bytes, choose a shorter one"
            case .inUse(let path):
                "\(path): another sluiced is listening there, stop it first or choose another --socket"
            case .notASocket(let path):
                "\(path): there is a file that is not a socket, remove it or choose another --socket"
            case .system(let what, let path, let errno):
                "\(path): \(what): \(String(cString: strerror(errno)))"
            }
        }
    }

    package let path: String
    /// Names the file that was made, so that a later owner's is not removed.
    private let inode: UInt64

    /// Makes way for a socket, lets `bind` make it, and opens it to others only when its mode and group are set.
    ///
    /// The folder is locked meanwhile, so that of two that start together one sees the other listening.
    /// - Parameters:
    ///   - mode: permission bits, such as 0o660.
    ///   - groupID: nil leaves the group as it is.
    ///   - bind: makes the socket at the path that it is given, and listens.
    package static func make<Listener>(
        path: String, mode: UInt32, groupID: UInt32?, bind: (String) throws -> Listener
    ) throws -> (SocketFile, Listener) {
        guard path.utf8.count <= ServerBounds.maxSocketPathBytes else { throw Failure.pathTooLong(path) }
        let folder = path.lastIndex(of: "/").map { path[..<$0].isEmpty ? "/" : String(path[..<$0]) } ?? "."
        let lock = Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard lock >= 0 else { throw Failure.system("cannot open its folder", path: path, errno: errno) }
        defer { close(lock) }
        guard flock(lock, LOCK_EX) == 0 else {
            throw Failure.system("cannot lock its folder", path: path, errno: errno)
        }
        try removeStale(path)
        // Nobody but the owner's own processes can connect until the mode is set: the file is made without any bits.
        let previousMask = umask(0o777)
        let result = Result { try bind(path) }
        umask(previousMask)
        let listener = try result.get()
        do {
            return (try open(path, mode: mode, groupID: groupID), listener)
        } catch {
            // A socket that nobody may connect to is of use to nobody, and would be in the next one's way.
            unlink(path)
            throw error
        }
    }

    /// Sets who may connect.
    private static func open(_ path: String, mode: UInt32, groupID: UInt32?) throws -> SocketFile {
        if let groupID, chown(path, uid_t.max, groupID) != 0 {
            throw Failure.system("cannot set its group", path: path, errno: errno)
        }
        guard chmod(path, mode) == 0 else { throw Failure.system("cannot set its mode", path: path, errno: errno) }
        var status = stat()
        guard lstat(path, &status) == 0 else { throw Failure.system("cannot look at it", path: path, errno: errno) }
        return SocketFile(path: path, inode: UInt64(status.st_ino))
    }

    /// Removes the file if it is still the one that was made.
    package func remove() {
        var status = stat()
        guard lstat(path, &status) == 0, UInt64(status.st_ino) == inode else { return }
        unlink(path)
    }

    /// Removes a socket that nobody listens on.
    private static func removeStale(_ path: String) throws {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return }
            throw Failure.system("cannot look at it", path: path, errno: errno)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw Failure.notASocket(path) }
        switch probe(path) {
        case ECONNREFUSED: unlink(path)
        case 0, EAGAIN: throw Failure.inUse(path)
        case let error: throw Failure.system("cannot tell whether somebody listens there", path: path, errno: error)
        }
    }

    /// Connects and closes again; returns 0 or the error.
    private static func probe(_ path: String) -> Int32 {
        let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard probe >= 0 else { return errno }
        defer { close(probe) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(probe, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        return result == 0 ? 0 : errno
    }
}
