import Glibc
package import SluiceEngine

/// The file for a sidecar's state that must survive the process: a sequence of records; later ones override
/// earlier ones.
///
/// It begins with a head: `magic`, the format's version (4 bytes), the replica's number (8) and the checksum of all
/// that (4). Frames follow: the length of the content (4), its checksum (4) and the records that were written at once.
/// Numbers are little-endian; checksums are CRC-32 as in zlib. Version 1 had one record in a frame.
///
/// A process may end in the middle of a frame: reading ends there, and the rest is cut off. So the records of one write
/// are found all or not at all. Only the holder of the folder's lock reads or writes. Every call blocks its thread;
/// only one thread at a time may call.
package final class StateFile: @unchecked Sendable {
    package enum Failure: Error, Equatable, CustomStringConvertible {
        case inUse(folder: String)
        case isNewer(path: String, version: UInt32)
        case notOurs(path: String)
        case full(path: String)
        /// It is larger than any file that this program writes.
        case tooLarge(path: String)
        case isLink(path: String)
        /// A pipe, a device, or a folder.
        case notRegular(path: String)
        /// Its owner may change its content.
        case foreign(path: String, owner: UInt32, advice: String)
        case writableByOthers(path: String, advice: String)
        case system(String, path: String, errno: Int32)

        package var description: String {
            switch self {
            case .inUse(let folder):
                "--state-dir: \(folder): another sluiced uses it, give each its own"
            case .isNewer(let path, let version):
                "--state-dir: \(path): has version \(version) of the format, and this sluiced knows none above "
                    + "\(StateFile.version): start the newer one, or choose another folder"
            case .notOurs(let path):
                "--state-dir: \(path): is no file of sluiced's, choose another folder"
            case .full(let path):
                "--state-dir: \(path): is full, at most \(ServerBounds.maxStateFileBytes) bytes are kept"
            case .tooLarge(let path):
                "--state-dir: \(path): is larger than the \(ServerBounds.maxStateFileBytes) bytes that are kept: move it "
                    + "away, or choose another folder"
            case .isLink(let path):
                "--state-dir: \(path): is a symbolic link, give the folder that it stands for"
            case .notRegular(let path):
                "--state-dir: \(path): is not a regular file: remove it, or choose another folder"
            case .foreign(let path, let owner, let advice):
                "--state-dir: \(path): belongs to user \(owner): \(advice)"
            case .writableByOthers(let path, let advice):
                "--state-dir: \(path): may be written by others: \(advice)"
            case .system(let what, let path, let errno):
                "--state-dir: \(path): \(what): \(String(cString: strerror(errno)))"
            }
        }
    }

    /// The content found when it was opened.
    package struct Contents: Sendable, Equatable {
        /// The number of the replica that owns it.
        package var replica: UInt64
        /// In the order of writing.
        package var records: [StateRecord] = []
        /// Bytes at the end that could not be read and were cut off.
        package var droppedBytes = 0
        /// Whether the head could not be read: the file was renamed and kept, and the replica is a new one.
        package var isSetAside = false
    }

    static let version: UInt32 = 2
    static let magic = Array("SLUICE\r\n".utf8)
    private static let headSize = magic.count + 4 + 8 + 4
    private static let frameHeadSize = 8
    private static let name = "journal"
    private static let temporaryName = "\(name).new"

    package let folder: String
    package let path: String
    /// Bytes that are known to be valid.
    package private(set) var size = 0
    private let replica: UInt64
    /// Holds the lock.
    private let folderHandle: Int32
    private var handle: Int32
    private var encoded: [UInt8] = []
    /// Its size after the last compaction, bytes.
    private var compactSize = 0

    /// Opens the file of a folder, or creates both.
    ///
    /// - Parameters:
    ///   - folder: created if missing, for the owner alone; its parent must exist.
    ///   - newReplica: the replica's number if there is none yet.
    package static func open(folder: String, newReplica: UInt64) throws(Failure) -> (StateFile, Contents) {
        if mkdir(folder, 0o700) != 0 && errno != EEXIST {
            throw .system("cannot be made", path: folder, errno: errno)
        }
        let folderHandle = try openFolder(folder)
        guard flock(folderHandle, LOCK_EX | LOCK_NB) == 0 else {
            defer { close(folderHandle) }
            if errno == EWOULDBLOCK { throw .inUse(folder: folder) }
            throw .system("cannot be locked", path: folder, errno: errno)
        }
        do throws(Failure) {
            return try open(folder: folder, folderHandle: folderHandle, newReplica: newReplica)
        } catch {
            close(folderHandle)
            throw error
        }
    }

    /// What `examine` found.
    package enum Finding: Sendable, Equatable {
        /// The folder would be made.
        case noFolder
        case noFile
        case file(bytes: Int)
    }

    /// Looks for what would keep `open` from opening a folder, and changes nothing. The lock is not tried: a sidecar that
    /// starts at the same moment would find it held.
    package static func examine(folder: String) throws(Failure) -> Finding {
        var status = stat()
        if lstat(folder, &status) != 0 && errno == ENOENT {
            let parent = folder.containingFolder
            guard access(parent, W_OK | X_OK) == 0 else {
                throw .system("cannot be made", path: folder, errno: errno)
            }
            return .noFolder
        }
        let folderHandle = try openFolder(folder)
        defer { close(folderHandle) }
        guard access(folder, W_OK | X_OK) == 0 else {
            throw .system("cannot be written", path: folder, errno: errno)
        }
        let path = "\(folder)/\(name)"
        guard let file = try openJournal(folderHandle: folderHandle, path: path, O_RDWR) else { return .noFile }
        defer { close(file) }
        var head = [UInt8](repeating: 0, count: headSize)
        let count = Glibc.read(file, &head, head.count)
        guard count >= 0, fstat(file, &status) == 0 else {
            throw .system("cannot be read", path: path, errno: errno)
        }
        _ = try Self.head(of: Array(head[..<count]), path: path)
        return .file(bytes: Int(status.st_size))
    }

    /// Another user who can write the folder could remove the state, or replace it.
    private static func openFolder(_ folder: String) throws(Failure) -> Int32 {
        let handle = Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard handle >= 0 else {
            // With `O_DIRECTORY` a link is reported as not being a folder.
            let reason = errno
            var status = stat()
            if lstat(folder, &status) == 0, status.st_mode & S_IFMT == S_IFLNK { throw .isLink(path: folder) }
            throw .system("cannot be opened", path: folder, errno: reason)
        }
        do throws(Failure) {
            var status = stat()
            guard fstat(handle, &status) == 0 else {
                throw .system("cannot be looked at", path: folder, errno: errno)
            }
            guard status.st_uid == geteuid() else {
                throw .foreign(
                    path: folder, owner: status.st_uid,
                    advice: "chown \(geteuid()) \(folder), or choose another folder")
            }
            guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
                throw .writableByOthers(path: folder, advice: "chmod go-w \(folder), or choose another folder")
            }
            return handle
        } catch {
            close(handle)
            throw error
        }
    }

    private static func open(
        folder: String, folderHandle: Int32, newReplica: UInt64
    ) throws(Failure) -> (StateFile, Contents) {
        let path = "\(folder)/\(name)"
        // Left by a process that ended during a compaction.
        unlinkat(folderHandle, temporaryName, 0)
        var contents = Contents(replica: newReplica)
        if let bytes = try read(folderHandle: folderHandle, path: path) {
            switch try head(of: bytes, path: path) {
            case let head?:
                contents.replica = head.replica
                let end = scan(bytes, into: &contents.records)
                contents.droppedBytes = bytes.count - end
                let file = StateFile(folder: folder, path: path, replica: head.replica, folderHandle: folderHandle)
                if head.version == version {
                    try file.open(truncatedTo: end)
                } else {
                    try file.replace(with: latest(contents.records))
                }
                return (file, contents)
            case nil:
                contents.isSetAside = true
                contents.droppedBytes = bytes.count
                guard renameat(folderHandle, name, folderHandle, "\(name).unreadable") == 0 else {
                    throw .system("cannot be set aside", path: path, errno: errno)
                }
            }
        }
        let file = StateFile(folder: folder, path: path, replica: newReplica, folderHandle: folderHandle)
        try file.replace(with: [])
        return (file, contents)
    }

    private init(folder: String, path: String, replica: UInt64, folderHandle: Int32) {
        self.folder = folder
        self.path = path
        self.replica = replica
        self.folderHandle = folderHandle
        handle = -1
    }

    deinit {
        if handle >= 0 { close(handle) }
        close(folderHandle)
    }

    // MARK: - Writing

    /// Appends records, and returns when they are on the disk. A reader finds all of them or none. If it throws, the
    /// file's content is as before.
    package func append(_ records: [StateRecord]) throws(Failure) {
        guard handle >= 0 else { throw .system("is not open", path: path, errno: EBADF) }
        encoded.removeAll(keepingCapacity: true)
        Self.encode(records, into: &encoded)
        guard size + encoded.count <= ServerBounds.maxStateFileBytes else { throw .full(path: path) }
        do throws(Failure) {
            try Self.write(encoded, to: handle, path: path)
            guard fdatasync(handle) == 0 else { throw .system("cannot be written", path: path, errno: errno) }
        } catch {
            // It is unknown what is on the disk then: the next write compacts the file.
            _ = ftruncate(handle, off_t(size))
            throw error
        }
        size += encoded.count
        if encoded.capacity > ServerBounds.stateBufferBytes { encoded = [] }
    }

    /// Whether most of it may be outdated.
    package var wantsCompaction: Bool { size > max(ServerBounds.minCompactedBytes, 2 * compactSize) }

    /// Rewrites the file with the records that still count, and returns when that is on the disk. If it throws, the
    /// file is as before.
    ///
    /// - Parameter nowMs: ms since the epoch; records that expired before it are left out.
    package func compact(nowMs: Int64) throws(Failure) {
        // If it fails, it is tried again when there is more to save.
        compactSize = size
        guard let bytes = try Self.read(folderHandle: folderHandle, path: path) else {
            throw .system("is gone", path: path, errno: ENOENT)
        }
        var records: [StateRecord] = []
        _ = Self.scan(bytes[..<min(size, bytes.count)], into: &records)
        try replace(with: Self.latest(records).filter { !$0.isVoid(nowMs: nowMs) })
    }

    /// The last record of each subject, in their order.
    static func latest(_ records: [StateRecord]) -> [StateRecord] {
        var last: [StateRecord.Subject: Int] = [:]
        for (index, record) in records.enumerated() { last[record.subject] = index }
        return last.values.sorted().map { records[$0] }
    }

    /// The new file is complete before it replaces the old one, so it may have many frames: damage to one of them later
    /// does not affect those before it. Batches come first: a counter must not be found without a batch that concerns
    /// it.
    private func replace(with records: [StateRecord]) throws(Failure) {
        let temporary = "\(folder)/\(Self.temporaryName)"
        unlinkat(folderHandle, Self.temporaryName, 0)
        // Created by this call or not at all: an existing file of that name may be a link to another's file.
        let next = openat(
            folderHandle, Self.temporaryName, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_APPEND, 0o600)
        guard next >= 0 else { throw .system("cannot be made", path: temporary, errno: errno) }
        var bytes = Self.magic
        Self.put(Self.version, to: &bytes)
        Self.put(UInt32(truncatingIfNeeded: replica), to: &bytes)
        Self.put(UInt32(truncatingIfNeeded: replica >> 32), to: &bytes)
        Self.put(Checksum.crc32(bytes[...]), to: &bytes)
        let counters = records.filter { if case .counter = $0 { true } else { false } }
        let others = records.filter { if case .counter = $0 { false } else { true } }
        Self.encode(others, into: &bytes)
        for start in stride(from: 0, to: counters.count, by: ServerBounds.countersPerFrame) {
            let end = min(start + ServerBounds.countersPerFrame, counters.count)
            Self.encode(Array(counters[start..<end]), into: &bytes)
        }
        do throws(Failure) {
            try Self.write(bytes, to: next, path: temporary)
            guard fsync(next) == 0, renameat(folderHandle, Self.temporaryName, folderHandle, Self.name) == 0,
                fsync(folderHandle) == 0
            else { throw .system("cannot be written", path: temporary, errno: errno) }
        } catch {
            close(next)
            unlinkat(folderHandle, Self.temporaryName, 0)
            throw error
        }
        if handle >= 0 { close(handle) }
        handle = next
        size = bytes.count
        compactSize = size
    }

    private func open(truncatedTo end: Int) throws(Failure) {
        guard let found = try Self.openJournal(folderHandle: folderHandle, path: path, O_RDWR | O_APPEND) else {
            throw .system("is gone", path: path, errno: ENOENT)
        }
        handle = found
        guard ftruncate(handle, off_t(end)) == 0 else { throw .system("cannot be cut", path: path, errno: errno) }
        size = end
    }

    // MARK: - Bytes

    /// Appends one frame; none if there are no records.
    private static func encode(_ records: [StateRecord], into bytes: inout [UInt8]) {
        guard !records.isEmpty else { return }
        let head = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: frameHeadSize))
        let start = bytes.count
        for record in records { record.append(to: &bytes) }
        set(UInt32(bytes.count - start), in: &bytes, at: head)
        set(Checksum.crc32(bytes[start...]), in: &bytes, at: head + 4)
    }

    /// The format's version and the replica's number; nil if the head cannot be read.
    private static func head(of bytes: [UInt8], path: String) throws(Failure) -> (version: UInt32, replica: UInt64)? {
        // A file that is empty or was never finished belongs to no replica.
        guard bytes.count >= headSize else {
            if magic.starts(with: bytes.prefix(magic.count)) || bytes.starts(with: magic) { return nil }
            throw .notOurs(path: path)
        }
        guard bytes.starts(with: magic) else { throw .notOurs(path: path) }
        let found = number(bytes, at: magic.count)
        // A later format may change everything except this.
        if found > version { throw .isNewer(path: path, version: found) }
        guard found > 0, number(bytes, at: headSize - 4) == Checksum.crc32(bytes[..<(headSize - 4)]) else {
            return nil
        }
        return (found, UInt64(number(bytes, at: magic.count + 4)) | UInt64(number(bytes, at: magic.count + 8)) << 32)
    }

    /// Reads frames until one is incomplete or damaged.
    /// - Returns: where reading ended.
    private static func scan(_ bytes: some RandomAccessCollection<UInt8>, into records: inout [StateRecord]) -> Int {
        let bytes = Array(bytes)
        var at = headSize
        while at + frameHeadSize <= bytes.count {
            let start = at + frameHeadSize
            let count = Int(number(bytes, at: at))
            guard count <= bytes.count - start, count > 0,
                Checksum.crc32(bytes[start..<start + count]) == number(bytes, at: at + 4),
                let together = StateRecord.all(in: bytes[start..<start + count])
            else { break }
            records += together
            at = start + count
        }
        return at
    }

    private static func put(_ number: UInt32, to bytes: inout [UInt8]) {
        for shift in stride(from: UInt32(0), to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: number >> shift)) }
    }

    private static func set(_ number: UInt32, in bytes: inout [UInt8], at start: Int) {
        for index in 0..<4 { bytes[start + index] = UInt8(truncatingIfNeeded: number >> UInt32(8 * index)) }
    }

    private static func number(_ bytes: [UInt8], at start: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[start + $1]) << UInt32(8 * $1) }
    }

    // MARK: - System calls

    /// Opens the existing file, if it belongs to this user alone; nil if there is none.
    private static func openJournal(folderHandle: Int32, path: String, _ flags: Int32) throws(Failure) -> Int32? {
        // Without `O_NONBLOCK`, opening a pipe waits for its other end.
        let file = openat(folderHandle, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard file >= 0 else {
            switch errno {
            case ENOENT: return nil
            case ELOOP, ENXIO: throw .notRegular(path: path)
            default: throw .system("cannot be opened", path: path, errno: errno)
            }
        }
        do throws(Failure) {
            var status = stat()
            guard fstat(file, &status) == 0 else { throw .system("cannot be looked at", path: path, errno: errno) }
            guard status.st_mode & S_IFMT == S_IFREG else { throw .notRegular(path: path) }
            guard status.st_uid == geteuid() else {
                throw .foreign(path: path, owner: status.st_uid, advice: "move it away, or choose another folder")
            }
            guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
                throw .writableByOthers(path: path, advice: "chmod go-w \(path), or choose another folder")
            }
            guard status.st_size <= ServerBounds.maxStateFileBytes else { throw .tooLarge(path: path) }
            return file
        } catch {
            close(file)
            throw error
        }
    }

    /// nil if there is no such file.
    private static func read(folderHandle: Int32, path: String) throws(Failure) -> [UInt8]? {
        guard let file = try openJournal(folderHandle: folderHandle, path: path, O_RDONLY) else { return nil }
        defer { close(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            let count = Glibc.read(file, &chunk, chunk.count)
            if count == 0 { return bytes }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .system("cannot be read", path: path, errno: errno) }
            guard bytes.count + count <= ServerBounds.maxStateFileBytes else { throw .tooLarge(path: path) }
            bytes += chunk[..<count]
        }
    }

    private static func write(_ bytes: [UInt8], to file: Int32, path: String) throws(Failure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .system("cannot be written", path: path, errno: errno) }
            rest = rest.dropFirst(count)
        }
    }
}

/// CRC-32 of ISO 3309, with the polynomial reversed, a byte at a time.
enum Checksum {
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { rest, _ in rest & 1 == 1 ? 0xEDB8_8320 ^ (rest >> 1) : rest >> 1 }
    }

    static func crc32(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        ~bytes.reduce(~0) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ ($0 >> 8) }
    }
}
