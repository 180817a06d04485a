import Foundation

/// A file that a command writes at once.
package enum WholeFile {
    package struct Fault: Error, CustomStringConvertible {
        package let description: String
    }

    /// Replaces a regular file as a whole, so that a full disk leaves the old one. Writes into anything else (a device,
    /// a pipe, a link): replacing it would take it from its other users.
    package static func save(_ text: String, to path: String) throws(Fault) {
        do {
            let attributes = try? FileManager.default.attributesOfItem(atPath: path)
            let type = attributes?[.type] as? FileAttributeType
            let isReplaced = type == nil || type == .typeRegular
            try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: isReplaced ? .atomic : [])
        } catch {
            throw Fault(description: "cannot write \(path): \(error.localizedDescription)")
        }
    }
}
