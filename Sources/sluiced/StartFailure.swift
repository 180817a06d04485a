import ArgumentParser
import Foundation
import Logging
import SluiceServer

/// Why sluiced does not start, or does not go on.
struct StartFailure: Error {
    /// One of `sysexits.h`.
    var code: Int32
    /// A line for each fault: what, where, what to do.
    var lines: [String]

    init(_ code: Int32, _ lines: [String]) {
        self.code = code
        self.lines = lines
    }

    /// Of a failure that another process may be the cause of.
    init(_ description: String, isInUse: Bool) {
        self.init(isInUse ? EX_UNAVAILABLE : EX_CONFIG, description.split(separator: "\n").map(String.init))
    }

    /// Writes the faults to standard error in the log's format.
    func report(_ format: Settings.LogFormat) {
        switch format {
        case .text: FileHandle.standardError.write(Data((lines.joined(separator: "\n") + "\n").utf8))
        case .json:
            let logger = Logger(label: "sluiced") {
                JSONLogHandler(label: $0, output: LogOutput(descriptor: STDERR_FILENO))
            }
            for line in lines { logger.critical("cannot start", metadata: ["fault": "\(line)"]) }
        }
    }
}
