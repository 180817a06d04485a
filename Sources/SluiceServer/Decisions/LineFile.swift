import Glibc

/// A file that lines are appended to, or standard error.
package struct LineFile: Sendable {
    /// nil: standard error.
    package let path: String?
    private let descriptor: Int32

    /// - Parameter path: `stderr`, or the path of a regular file, which is created with mode 0640. Links are not followed.
    package init(_ path: String) throws(FileReadError) {
        guard path != Self.standardError else {
            self.path = nil
            descriptor = STDERR_FILENO
            return
        }
        self.path = path
        descriptor = try Self.open(path, O_CREAT)
    }

    private static func open(_ path: String, _ flags: Int32) throws(FileReadError) -> Int32 {
        // Without `O_NONBLOCK`, opening a pipe waits for a reader.
        let file = Glibc.open(
            path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags, 0o640)
        guard file >= 0 else {
            throw FileReadError(path: path, reason: "cannot be opened: \(String(cString: strerror(errno)))")
        }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            Glibc.close(file)
            throw FileReadError(path: path, reason: "is not a regular file")
        }
        return file
    }

    /// Looks for what would keep lines from being appended to a path, and makes nothing.
    package static func examine(_ path: String) throws(FileReadError) {
        guard path != standardError else { return }
        var status = stat()
        if lstat(path, &status) != 0 && errno == ENOENT {
            let folder = path.containingFolder
            guard access(folder, W_OK | X_OK) == 0 else {
                throw FileReadError(path: path, reason: "cannot be opened: \(String(cString: strerror(errno)))")
            }
            return
        }
        Glibc.close(try open(path, 0))
    }

    package static let standardError = "stderr"

    /// Appends whole lines. May wait for the disk, or for the reader of a pipe.
    /// - Returns: how many bytes were written, and the reason if not all were.
    func append(_ bytes: ArraySlice<UInt8>) -> (count: Int, reason: String?) {
        var rest = bytes
        while !rest.isEmpty {
            // A pipe keeps the lines of a write of at most `PIPE_BUF` bytes together; others write to standard error, too.
            let part = path == nil ? Self.lines(of: rest, upTo: Int(PIPE_BUF)) : rest
            let count = part.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            if count < 0 && errno == EAGAIN {
                var status = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                if poll(&status, 1, Self.waitMs) == 1 { continue }
                return (bytes.count - rest.count, "its reader does not read")
            }
            guard count > 0 else { return (bytes.count - rest.count, String(cString: strerror(errno))) }
            rest = rest.dropFirst(count)
        }
        return (bytes.count, nil)
    }

    /// How long a reader that does not read is waited for.
    private static let waitMs: Int32 = 1000

    /// The first lines, of at most so many bytes together; a longer line alone.
    private static func lines(of bytes: ArraySlice<UInt8>, upTo limit: Int) -> ArraySlice<UInt8> {
        guard bytes.count > limit else { return bytes }
        let feed = UInt8(ascii: "\n")
        let end = bytes.prefix(limit).lastIndex(of: feed) ?? bytes.firstIndex(of: feed) ?? bytes.endIndex - 1
        return bytes[...end]
    }

    func close() { if path != nil { Glibc.close(descriptor) } }
}
