import Glibc

/// The file of a listening Unix socket: who may replace it, who may connect, and who removes it.
package struct SocketFile: Sendable {
    package enum Failure: Error, CustomStringConvertible, Equatable {
        case pathTooLong(String)
        case inUse(String)
        case notASocket(String)
        /// Another process holds the lock that prevents two sidecars from creating the socket at the same time.
        case folderLocked(String, folder: String)
        /// The folder's owner could put another socket there.
        case folderForeign(String, folder: String, owner: UInt32)
        /// Every user could put another socket there.
        case folderWritable(String, folder: String)
        /// Another process replaced the socket that was made.
        case replaced(String)
        case system(String, path: String, errno: Int32)

        /// Whether another process is in the way; every other failure is a matter of settings.
        package var isInUse: Bool {
            switch self {
            case .inUse, .folderLocked: true
            case .pathTooLong, .notASocket, .folderForeign, .folderWritable, .replaced, .system: false
            }
        }

        package var isLocked: Bool {
            if case .folderLocked = self { true } else { false }
        }

        package var description: String { sentence(setting: "socket") }

        /// - Parameter setting: the name of the setting that the path comes from.
        package func sentence(setting: String) -> String {
            switch self {
            case .pathTooLong(let path):
                "\(path): a socket's path has at most \(ServerBounds.maxSocketPathBytes) bytes, choose a shorter one"
            case .inUse(let path):
                "\(path): another sluiced is listening there, stop it first or choose another --\(setting)"
            case .notASocket(let path):
                "\(path): there is a file that is not a socket, remove it or choose another --\(setting)"
            case .folderLocked(let path, let folder):
                "\(path): another process keeps its folder locked, end that (lsof \(folder)) or choose a folder that only "
                    + "sluiced's user may read"
            case .folderForeign(let path, let folder, let owner):
                "\(path): its folder \(folder) belongs to user \(owner), who could put another socket there: chown "
                    + "\(geteuid()) \(folder), or choose another folder"
            case .folderWritable(let path, let folder):
                "\(path): its folder \(folder) may be written by everybody, who could put another socket there: chmod "
                    + "o-w \(folder), or choose another folder"
            case .replaced(let path):
                "\(path): another process put a file there while the socket was made, choose a folder of sluiced's own"
            case .system(let what, let path, let errno):
                "\(path): \(what): \(String(cString: strerror(errno)))"
            }
        }
    }

    package private(set) var path: String
    /// The process whose socket this one took the place of; nil: there was none.
    private(set) var predecessor: pid_t?
    /// Identifies the file that was made, so that another owner's later file is not removed. It includes the time of
    /// creation: the next file may get the same inode number once this one is gone.
    private let inode: UInt64
    private let madeSeconds: Int
    private let madeNanoseconds: Int
    /// Whether it is this process that removes it: not if a service manager made it and keeps it.
    private(set) var isOwn = true

    /// The file of a socket that a service manager made and handed over. If it is not there, it is as one that was removed.
    static func handedOver(_ path: String) -> SocketFile {
        var status = stat()
        if lstat(path, &status) != 0 { status = stat() }
        var file = SocketFile(path: path, status)
        file.isOwn = false
        return file
    }

    /// Removes a stale socket, makes a new one, and lets others connect only after its mode and group are set.
    ///
    /// The folder is locked meanwhile, so that of two sidecars that start together one sees the other listening. It
    /// throws at once if another process holds that lock: any process that can read the folder may hold it for any
    /// time.
    /// - Parameters:
    ///   - mode: permission bits, such as 0o660.
    ///   - groupID: nil leaves the group as it is.
    ///   - takesOver: whether it may take the place of a socket on which another process listens. The new one listens before it
    ///     is renamed, so that at every moment callers find one that does.
    ///   - listen: listens on the bound socket, and owns it from then on.
    package static func make<Listener>(
        path: String, mode: UInt32, groupID: UInt32?, takesOver: Bool = false, listen: (Int32) throws -> Listener
    ) throws -> (SocketFile, Listener) {
        let (folder, lock) = try openFolder(of: path)
        defer { close(lock) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            if errno == EWOULDBLOCK { throw Failure.folderLocked(path, folder: folder) }
            throw Failure.system("cannot lock its folder", path: path, errno: errno)
        }
        let isTaken = try removeStale(path, leavesListener: takesOver)
        let place = isTaken ? "\(folder)/.sluiced-\(getpid())" : path
        guard place.utf8.count <= ServerBounds.maxSocketPathBytes else { throw Failure.pathTooLong(place) }
        // Left by a process of this number that ended in between.
        if isTaken { unlink(place) }
        let socket = try bind(place, mode: mode)
        do {
            // Before it listens, clients cannot connect, whatever its mode.
            var file = try SocketFile(path: place, mode: mode, groupID: groupID)
            let listener = try listen(socket)
            guard isTaken else { return (file, listener) }
            file.predecessor = Self.listener(at: path)
            guard rename(place, path) == 0 else {
                throw Failure.system("cannot take the place of the socket there", path: path, errno: errno)
            }
            file.path = path
            return (file, listener)
        } catch {
            // A socket without a listener is useless, and would be in the way of the next one.
            unlink(place)
            throw error
        }
    }

    /// What would keep a socket from being made there, as far as looking shows; nothing is made or connected to.
    package static func examine(_ path: String) throws(Failure) {
        let (folder, handle) = try openFolder(of: path)
        defer { close(handle) }
        guard access(folder, W_OK | X_OK) == 0 else {
            throw .system("cannot write to its folder", path: path, errno: errno)
        }
        var status = stat()
        if lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFSOCK { throw .notASocket(path) }
    }

    private static func openFolder(of path: String) throws(Failure) -> (folder: String, handle: Int32) {
        guard path.utf8.count <= ServerBounds.maxSocketPathBytes else { throw .pathTooLong(path) }
        let folder = path.containingFolder
        let handle = open(folder, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC)
        guard handle >= 0 else { throw .system("cannot open its folder", path: path, errno: errno) }
        do {
            try examine(folder: folder, handle: handle, path: path)
        } catch {
            close(handle)
            throw error
        }
        return (folder, handle)
    }

    /// Rejects a folder in which others may replace the socket: gateways would then ask theirs. In a sticky folder such
    /// as /tmp only its owner can. The folder's group is its owner's choice.
    private static func examine(folder: String, handle: Int32, path: String) throws(Failure) {
        var status = stat()
        guard fstat(handle, &status) == 0 else { throw .system("cannot look at its folder", path: path, errno: errno) }
        guard status.st_uid == 0 || status.st_uid == geteuid() else {
            throw .folderForeign(path, folder: folder, owner: status.st_uid)
        }
        guard status.st_mode & S_IWOTH == 0 || status.st_mode & S_ISVTX != 0 else {
            throw .folderWritable(path, folder: folder)
        }
    }

    /// Makes the socket and its file. The event loop does not do this: when it closes its own socket it removes
    /// whatever socket is at the path, another sidecar's too.
    private static func bind(_ path: String, mode: UInt32) throws -> Int32 {
        let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let handle = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | flags, 0)
        guard handle >= 0 else { throw Failure.system("cannot make a socket", path: path, errno: errno) }
        // Linux creates the file with the socket's own mode, less the umask.
        fchmod(handle, mode)
        guard withAddress(of: path, { Glibc.bind(handle, $0, $1) }) == 0 else {
            defer { close(handle) }
            throw Failure.system("cannot listen there", path: path, errno: errno)
        }
        return handle
    }

    /// Sets the mode and group that decide who may connect.
    private init(path: String, mode: UInt32, groupID: UInt32?) throws {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw Failure.system("cannot look at it", path: path, errno: errno) }
        guard status.st_mode & S_IFMT == S_IFSOCK, status.st_uid == geteuid() else { throw Failure.replaced(path) }
        if let groupID, lchown(path, uid_t.max, groupID) != 0 {
            throw Failure.system("cannot set its group", path: path, errno: errno)
        }
        guard chmod(path, mode) == 0 else { throw Failure.system("cannot set its mode", path: path, errno: errno) }
        guard lstat(path, &status) == 0 else { throw Failure.system("cannot look at it", path: path, errno: errno) }
        self.init(path: path, status)
    }

    private init(path: String, _ status: stat) {
        self.path = path
        inode = UInt64(status.st_ino)
        madeSeconds = status.st_mtim.tv_sec
        madeNanoseconds = status.st_mtim.tv_nsec
    }

    /// What was found at the path.
    package enum Standing: Sendable {
        /// Connections to the path reach the socket that was made. The file's times may have changed since.
        case inPlace(SocketFile)
        case gone
        /// Another file.
        case replaced
    }

    package func standing() -> Standing {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            // If the path cannot be read, the file is not replaced.
            return errno == ENOENT || errno == ENOTDIR ? .gone : .inPlace(self)
        }
        var found = SocketFile(path: path, status)
        found.isOwn = isOwn
        if found.isSameFile(as: self) { return .inPlace(found) }
        guard status.st_mode & S_IFMT == S_IFSOCK, Self.listener(at: path) == getpid() else { return .replaced }
        return .inPlace(found)
    }

    private func isSameFile(as other: SocketFile) -> Bool {
        (inode, madeSeconds, madeNanoseconds) == (other.inode, other.madeSeconds, other.madeNanoseconds)
    }

    /// Removes the file if it is still the one that was made.
    package func remove() {
        var status = stat()
        guard isOwn, lstat(path, &status) == 0 else { return }
        guard SocketFile(path: path, status).isSameFile(as: self) else { return }
        unlink(path)
    }

    /// Removes a socket that has no listener.
    /// - Returns: whether there is one that has, which is left there.
    private static func removeStale(_ path: String, leavesListener: Bool) throws -> Bool {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return false }
            throw Failure.system("cannot look at it", path: path, errno: errno)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw Failure.notASocket(path) }
        switch probe(path) {
        case ECONNREFUSED:
            unlink(path)
            return false
        case 0, EAGAIN:
            if leavesListener { return true }
            throw Failure.inUse(path)
        case let error: throw Failure.system("cannot be probed for a listener", path: path, errno: error)
        }
    }

    /// Connects and closes again; returns 0 or the error.
    private static func probe(_ path: String) -> Int32 {
        let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard probe >= 0 else { return errno }
        defer { close(probe) }
        let result = withAddress(of: path) { connect(probe, $0, $1) }
        return result == 0 ? 0 : errno
    }

    /// The process that listens at the path; 0 if there is none or it is unknown.
    private static func listener(at path: String) -> pid_t {
        let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard probe >= 0 else { return 0 }
        defer { close(probe) }
        guard withAddress(of: path, { connect(probe, $0, $1) }) == 0 else { return 0 }
        var credentials = PeerCredentials()
        var size = socklen_t(MemoryLayout<PeerCredentials>.size)
        guard getsockopt(probe, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 else { return 0 }
        return credentials.processID
    }

    static func withAddress(of path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
