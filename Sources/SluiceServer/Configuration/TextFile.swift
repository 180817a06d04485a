import Glibc

/// Reads whole regular files of a bounded size. It never blocks: a pipe or a terminal in a file's place would hold up
/// the start, or a reload, for ever.
package enum TextFile {
    package struct Contents: Sendable, Equatable {
        package var bytes: [UInt8]
        /// Whether every user of the machine may read it.
        package var isReadableByAll: Bool

        package init(bytes: [UInt8], isReadableByAll: Bool) {
            self.bytes = bytes
            self.isReadableByAll = isReadableByAll
        }
    }

    /// Follows links: Kubernetes uses them for the files of a ConfigMap or a Secret.
    package static func read(_ path: String, maxBytes: Int) throws(FileReadError) -> Contents {
        // Without `O_NONBLOCK`, opening a pipe waits for a writer.
        let failure = { (reason: String) in FileReadError(path: path, reason: reason) }
        let file = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard file >= 0 else { throw failure("cannot be opened: \(String(cString: strerror(errno)))") }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else {
            throw failure("cannot be looked at: \(String(cString: strerror(errno)))")
        }
        guard status.st_mode & S_IFMT != S_IFDIR else { throw failure("cannot be read: Is a directory") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw failure("is not a regular file") }
        let tooLarge = failure("is too large, at most \(maxBytes) bytes are read")
        guard status.st_size <= maxBytes else { throw tooLarge }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(file, &chunk, chunk.count)
            if count == 0 { return Contents(bytes: bytes, isReadableByAll: status.st_mode & S_IROTH != 0) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw failure("cannot be read: \(String(cString: strerror(errno)))")
            }
            // The file may have grown, and files of /proc report no size.
            guard bytes.count + count <= maxBytes else { throw tooLarge }
            bytes += chunk[..<count]
        }
    }
}

/// Why a file could not be read.
package struct FileReadError: Error, Sendable, Equatable, CustomStringConvertible {
    package var path: String
    /// In words that fit after the path.
    package var reason: String

    package init(path: String, reason: String) {
        self.path = path
        self.reason = reason
    }

    package var description: String { "\(path): \(reason)" }
}
