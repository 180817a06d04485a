import Foundation

/// A folder of a test's own, removed with all that is in it when the last reference goes.
///
/// It lies right under `/tmp`, because the path of a Unix socket has room for 103 bytes only.
package final class TemporaryFolder: Sendable {
    package let path: String

    /// - Parameter isInMemory: for files whose writing must not take long, whatever else the disk does: in `/dev/shm` if that
    ///   has room.
    package init(isInMemory: Bool = false) throws {
        let root = isInMemory && Self.hasRoom("/dev/shm") ? "/dev/shm" : "/tmp"
        var template = Array("\(root)/sluice-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SupportError("mkdtemp: \(String(cString: strerror(errno)))") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Whether files of 64 MiB can be written there.
    private static func hasRoom(_ folder: String) -> Bool {
        guard access(folder, W_OK | X_OK) == 0 else { return false }
        let free = try? FileManager.default.attributesOfFileSystem(forPath: folder)[.systemFreeSize]
        return (free as? NSNumber).map { $0.int64Value >= 64 << 20 } ?? false
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The path of something in it.
    package func path(_ name: String) -> String { "\(path)/\(name)" }

    /// Writes a file into it.
    /// - Returns: its path.
    @discardableResult
    package func write(_ text: String, to name: String) throws -> String {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path(name)))
        return path(name)
    }

    /// Makes a folder in it, with files by their names.
    /// - Returns: its path.
    package func write(_ files: [String: String], toFolder folder: String) throws -> String {
        try FileManager.default.createDirectory(atPath: path(folder), withIntermediateDirectories: true)
        for (name, text) in files { try write(text, to: "\(folder)/\(name)") }
        return path(folder)
    }
}

/// A test's own helpers could not do their work: always a failure of the test.
package struct SupportError: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
