import Glibc
import SluiceDecisionLog
import SluiceTerminal

/// The decision logs of one or several sidecars, read together in the order of time.
///
/// A log is in order itself, but for some milliseconds: the line of a call that waited comes when it was answered.
final class DecisionLogs {
    private var files: [Source] = []
    private var totalBytes: Int64 = 0
    private let showsProgress: Bool
    private var nextProgressNs: UInt64 = 0

    /// A class, because files cannot be copied into an array.
    private final class Source {
        var file: DecisionLogFile
        /// What is next in it; nil at its end.
        var kind: DecisionLogRecord.Kind?

        init(_ path: String) throws(ControlFailure) {
            file = try DecisionLogFile(path)
            kind = try file.next()
        }
    }

    /// - Parameter isNeededWhole: whether a log without all decisions is a failure.
    init(_ paths: [String], isNeededWhole: Bool, _ console: Console) throws(ControlFailure) {
        showsProgress = console.errorStyle != .plain
        for path in paths {
            files.append(try Source(path))
            var status = stat()
            if stat(path, &status) == 0 { totalBytes += Int64(status.st_size) }
        }
        guard isNeededWhole else { return }
        for source in files {
            if let failure = source.file.incompleteness { throw failure }
        }
    }

    /// The time of the next record; nil if there is none.
    var nextMs: Int64? { earliest?.file.record.timeMs }

    private var earliest: Source? {
        var earliest: Source?
        for file in files where file.kind != nil {
            guard let other = earliest, other.file.record.timeMs <= file.file.record.timeMs else {
                earliest = file
                continue
            }
        }
        return earliest
    }

    /// Hands over every record, with the bytes that it was read from.
    func forEach(
        _ console: Console, _ body: (DecisionLogRecord, DecisionLogRecord.Kind, [UInt8]) -> Void
    ) throws(ControlFailure) {
        let began = Self.nowNs()
        nextProgressNs = began + 2_000_000_000
        var count = 0
        while let source = earliest, let kind = source.kind {
            body(source.file.record, kind, source.file.bytes)
            source.kind = try source.file.next()
            count += 1
            if count & 0x3FFF == 0 { progress(console) }
        }
        if showsProgress, nextProgressNs != began + 2_000_000_000 { console.writeError("\r\u{1B}[K") }
    }

    private func progress(_ console: Console) {
        guard showsProgress, totalBytes > 0, Self.nowNs() >= nextProgressNs else { return }
        nextProgressNs = Self.nowNs() + 500_000_000
        let read = files.reduce(0) { $0 + $1.file.readBytes }
        console.writeError("\r\(min(99, read * 100 / totalBytes)) % of the log read")
    }

    private static func nowNs() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// What is wrong with the logs as a whole, a line each.
    var warnings: [String] {
        files.flatMap { source in
            let path = TerminalText.visible(source.file.path)
            var lines: [String] = []
            if source.file.sample == nil { lines.append("\(path): it does not say whether every decision is in it") }
            if source.file.missing > 0 {
                lines.append("\(path): \(source.file.missing) lines are missing, which could not be written")
            }
            if source.file.malformed > 0 {
                lines.append("\(path): \(source.file.malformed) lines are none of a decision log, and were passed over")
            }
            return lines
        }
    }
}

extension DecisionLogFile {
    /// Why calls cannot be decided again from what was read so far; nil if they can.
    fileprivate var incompleteness: ControlFailure? {
        guard let sample, sample != 1 else { return nil }
        let what = sample == 0 ? "denials only" : "one in \(sample) of the allowed decisions"
        return ControlFailure(
            "\(TerminalText.visible(path)): it has \(what), start sluiced with --decision-log-sample 1",
            exitCode: .couldNotAsk)
    }
}
