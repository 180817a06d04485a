import Glibc

/// Reads whole files of a bounded size.
package enum TextFile {
    package static func read(_ path: String, maxBytes: Int) throws(FileReadError) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw FileReadError(reason: "cannot be opened: \(String(cString: strerror(errno)))") }
        defer { close(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(file, &chunk, chunk.count)
            if count == 0 { return bytes }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw FileReadError(reason: "cannot be read: \(String(cString: strerror(errno)))")
            }
            guard bytes.count + count <= maxBytes else {
                throw FileReadError(reason: "is too large, at most \(maxBytes) bytes are read")
            }
            bytes += chunk[..<count]
        }
    }
}
