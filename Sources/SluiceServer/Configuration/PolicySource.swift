import Glibc
package import SluicePolicy

/// Where policies come from: one document for every grant, or a folder of documents with `grants.json`.
package enum PolicySource: Sendable, Equatable, CustomStringConvertible {
    case file(String)
    case folder(String)

    /// Everything that is wrong with it, a line each.
    package struct Refusal: Error, Sendable, CustomStringConvertible {
        package let description: String
    }

    package var description: String {
        switch self {
        case .file(let path), .folder(let path): path
        }
    }

    /// - Parameter features: what the documents may use.
    package func read(features: PolicyFeatures) throws(Refusal) -> PolicySet {
        do {
            switch self {
            case .file(let path):
                let bytes = try TextFile.read(path, maxBytes: PolicyBounds.maxDocumentBytes).bytes
                return PolicySet(single: try PolicyDocument.parse(bytes, file: path, features: features))
            case .folder(let path):
                var files: [(name: String, bytes: [UInt8])] = []
                for name in try Self.names(in: path) {
                    let bytes = try Self.readNamed("\(path)/\(name)")
                    files.append((name: name, bytes: bytes))
                }
                return try PolicySet.parse(files: files, folder: path, features: features)
            }
        } catch let error as FileReadError {
            throw Refusal(description: "\(self): \(error.reason)")
        } catch let refusal as Refusal {
            throw refusal
        } catch {
            throw Refusal(description: "\(error)")
        }
    }

    /// Changes when a file does, or is replaced, or what a link names is replaced (as Kubernetes swaps a ConfigMap's).
    package func fingerprint() -> [String] {
        switch self {
        case .file(let path):
            return [Self.fingerprint(path)]
        case .folder(let path):
            let names = (try? Self.names(in: path)) ?? []
            return names.map { "\($0) \(Self.fingerprint("\(path)/\($0)"))" }
        }
    }

    private static func fingerprint(_ path: String) -> String {
        var status = stat()
        guard stat(path, &status) == 0 else { return "none" }
        return "\(status.st_dev) \(status.st_ino) \(status.st_size) \(status.st_mtim.tv_sec) \(status.st_mtim.tv_nsec)"
    }

    private static func readNamed(_ path: String) throws(Refusal) -> [UInt8] {
        do {
            return try TextFile.read(path, maxBytes: PolicyBounds.maxDocumentBytes).bytes
        } catch {
            throw Refusal(description: "\(path): \(error.reason)")
        }
    }

    /// The documents of a folder, sorted; what is hidden or has another ending is somebody else's.
    private static func names(in path: String) throws(FileReadError) -> [String] {
        guard let folder = opendir(path) else {
            throw FileReadError(reason: "cannot be opened: \(String(cString: strerror(errno)))")
        }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(".json") && !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }
}
