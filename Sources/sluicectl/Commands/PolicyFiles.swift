import ArgumentParser
import Glibc
import SluicePolicy
import SluiceTerminal

import class Foundation.FileManager

/// How the commands on policies read documents.
struct PolicyOptions: ParsableArguments {
    @Flag(
        help: """
            The gateway evaluates require and deny_if, as with the same flag of sluiced; otherwise documents that have \
            them are refused.
            """)
    var argumentsCheckedByGateway = false

    var features: PolicyFeatures { .supported(argumentsCheckedByGateway: argumentsCheckedByGateway) }

    /// Reads the policies that a command line names: one document for all grants, or a folder of them with
    /// `grants.json`.
    /// - Parameter faults: the exit code if there are faults.
    /// - Throws: all faults at once, or the file that cannot be read.
    func read(_ path: String, faults: ExitCode) throws(DocumentFailure) -> PolicySet {
        do {
            if PolicyFiles.isFolder(path) {
                return try PolicySet.parse(files: PolicyFiles.folder(path), folder: path, features: features)
            }
            return PolicySet(single: try PolicyDocument.parse(PolicyFiles.read(path), file: path, features: features))
        } catch let failure as ControlFailure {
            throw DocumentFailure(unreadable: [failure], exitCode: failure.exitCode)
        } catch let found as PolicyFaults {
            throw DocumentFailure(faults: [found], exitCode: faults)
        } catch let found as PolicySetFaults {
            throw DocumentFailure(faults: found.files, exitCode: faults)
        } catch {
            preconditionFailure("documents have faults or cannot be read: \(error)")
        }
    }
}

enum PolicyFiles {
    static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// The documents of a folder, and `grants.json`.
    static func folder(_ path: String) throws(ControlFailure) -> [(name: String, bytes: [UInt8])] {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: path) else {
            throw ControlFailure("\(TerminalText.visible(path)): the folder cannot be read", exitCode: .couldNotAsk)
        }
        var files: [(name: String, bytes: [UInt8])] = []
        for name in PolicySet.fileNames(among: names) {
            files.append((name: name, bytes: try read("\(path)/\(name)")))
        }
        return files
    }

    /// Reads a file up to one byte more than a document may have, so that a longer one is found too large.
    static func read(_ path: String) throws(ControlFailure) -> [UInt8] {
        guard let stream = fopen(path, "re") else { throw unreadable(path) }
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        errno = 0
        while bytes.count <= PolicyBounds.maxDocumentBytes {
            let count = fread(&chunk, 1, chunk.count, stream)
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        guard ferror(stream) == 0 else { throw unreadable(path) }
        return Array(bytes.prefix(PolicyBounds.maxDocumentBytes + 1))
    }

    private static func unreadable(_ path: String) -> ControlFailure {
        ControlFailure("\(TerminalText.visible(path)): \(String(cString: strerror(errno)))", exitCode: .couldNotAsk)
    }
}
