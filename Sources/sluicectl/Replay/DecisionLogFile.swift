import Glibc
import SluiceDecisionLog
import SluiceTerminal

/// Reads the records of one decision log, in bounded memory however long it is.
struct DecisionLogFile: ~Copyable {
    let path: String
    private let stream: UnsafeMutablePointer<FILE>
    /// What was read and not yet taken begins at `start`.
    private(set) var bytes: [UInt8] = []
    private var start = 0
    private var isAtEnd = false
    private(set) var record = DecisionLogRecord()
    /// 1 if every decision is logged; nil if the log does not say.
    private(set) var sample: Int64?
    /// Lines that are missing, by the log's own account.
    private(set) var missing: Int64 = 0
    /// Lines that are none of a decision log.
    private(set) var malformed: Int64 = 0
    private(set) var readBytes: Int64 = 0

    private static let chunkBytes = 1 << 20
    /// A longer line is malformed. Those that sluiced writes have less.
    private static let maxLineBytes = 1 << 18

    /// - Parameter path: of a file; `-` is standard input.
    init(_ path: String) throws(ControlFailure) {
        self.path = path
        guard let stream = path == "-" ? fdopen(STDIN_FILENO, "r") : fopen(path, "re") else {
            throw ControlFailure(
                "\(TerminalText.visible(path)): \(String(cString: strerror(errno)))", exitCode: .couldNotAsk)
        }
        self.stream = stream
    }

    deinit { if path != "-" { fclose(stream) } }

    /// Reads up to the next decision or settlement, which is then in `record`. - Returns: nil at the end.
    mutating func next() throws(ControlFailure) -> DecisionLogRecord.Kind? {
        while let line = try nextLine() {
            if line.isEmpty { continue }
            guard line.count <= Self.maxLineBytes else {
                malformed += 1
                continue
            }
            switch record.read(&bytes, line) {
            case .decision: return .decision
            case .settlement: return .settlement
            // The sparsest part of a log says what it is good for.
            case .sample(let found): sample = sample.map { $0 == 1 ? found : $0 } ?? found
            // What a policy would have counted after it is the same.
            case .operation: break
            case .dropped(let count): missing += count
            case .malformed: malformed += 1
            }
        }
        return nil
    }

    /// The next line without its line feed, as a range of `bytes`.
    private mutating func nextLine() throws(ControlFailure) -> Range<Int>? {
        var searched = start
        while true {
            if let end = bytes[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { start = end + 1 }
                return start..<end
            }
            if isAtEnd {
                // The last line may have no line feed: the process was killed, or still writes it.
                guard start < bytes.count else { return nil }
                defer { start = bytes.count }
                return start..<bytes.count
            }
            // A line without an end is not kept whole: its beginning is enough to find it malformed.
            if bytes.count - start > Self.maxLineBytes {
                bytes.removeSubrange(start + Self.maxLineBytes + 1..<bytes.count)
            }
            bytes.removeSubrange(..<start)
            start = 0
            searched = bytes.count
            try fill()
        }
    }

    private mutating func fill() throws(ControlFailure) {
        let kept = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: Self.chunkBytes))
        let count = bytes.withUnsafeMutableBytes { fread($0.baseAddress! + kept, 1, Self.chunkBytes, stream) }
        bytes.removeSubrange(kept + count..<bytes.count)
        readBytes += Int64(count)
        guard ferror(stream) == 0 else {
            throw ControlFailure(
                "\(TerminalText.visible(path)): \(String(cString: strerror(errno)))", exitCode: .couldNotAsk)
        }
        isAtEnd = count == 0
    }
}
