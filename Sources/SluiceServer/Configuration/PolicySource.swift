import Glibc
package import SluicePolicy

/// Where policies come from: one document for every grant, or a folder of documents with `grants.json`.
package enum PolicySource: Sendable, Equatable, CustomStringConvertible {
    case file(String)
    case folder(String)

    /// All faults, a line each.
    package struct Rejection: Error, Sendable, CustomStringConvertible {
        package let description: String

        package init(description: String) { self.description = description }
    }

    package var description: String {
        switch self {
        case .file(let path), .folder(let path): path
        }
    }

    /// - Parameter features: what the documents may use.
    package func read(features: PolicyFeatures) throws(Rejection) -> PolicySet {
        do {
            switch self {
            case .file(let path):
                return PolicySet(single: try PolicyDocument.parse(Self.bytes(of: path), file: path, features: features))
            case .folder(let path):
                let files = try Self.names(in: path).map { (name: $0, bytes: try Self.bytes(of: "\(path)/\($0)")) }
                return try PolicySet.parse(files: files, folder: path, features: features)
            }
        } catch {
            throw Rejection(description: "\(error)")
        }
    }

    /// What identifies the state of its files.
    package struct Fingerprint: Sendable {
        /// Changes when a file changes or is replaced, or when a link's target is replaced (as Kubernetes swaps a
        /// ConfigMap's). It includes the time of the inode's last change, which cannot be set back.
        package fileprivate(set) var files: [String] = []
        /// Whether a file changed so recently that another change could leave the same times.
        package fileprivate(set) var isFresh = false
    }

    /// A file that changed within this many seconds is fresh: longer than the resolution of any file system's clock.
    fileprivate static let freshSeconds = 2

    package func fingerprint() -> Fingerprint {
        var fingerprint = Fingerprint()
        switch self {
        case .file(let path):
            fingerprint.add(path, name: "")
        case .folder(let path):
            for name in (try? Self.names(in: path)) ?? [] { fingerprint.add("\(path)/\(name)", name: name) }
        }
        return fingerprint
    }

    private static func bytes(of path: String) throws(FileReadError) -> [UInt8] {
        try TextFile.read(path, maxBytes: PolicyBounds.maxDocumentBytes).bytes
    }

    private static func names(in path: String) throws(FileReadError) -> [String] {
        guard let folder = opendir(path) else {
            throw FileReadError(path: path, reason: "cannot be opened: \(String(cString: strerror(errno)))")
        }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            names.append(name)
        }
        return PolicySet.fileNames(among: names)
    }
}

extension PolicySource.Fingerprint {
    fileprivate mutating func add(_ path: String, name: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return files.append("\(name) none") }
        let (modified, changed) = (status.st_mtim, status.st_ctim)
        files.append(
            "\(name) \(status.st_dev) \(status.st_ino) \(status.st_size) \(modified.tv_sec) \(modified.tv_nsec)"
                + " \(changed.tv_sec) \(changed.tv_nsec)")
        if changed.tv_sec + PolicySource.freshSeconds >= time(nil) { isFresh = true }
    }
}
