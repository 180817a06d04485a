import SluicePolicy
import SluiceProtocol

/// Which decisions an operator listens to.
struct TailFilter {
    /// A name by its bytes, or a pattern of names.
    private enum Name {
        case bytes([UInt8])
        case pattern(NamePattern)

        init(_ text: String) { self = NamePattern(text).map { .pattern($0) } ?? .bytes(Array(text.utf8)) }

        func matches(_ input: Span<UInt8>, _ range: Range<Int>) -> Bool {
            switch self {
            case .bytes(let bytes):
                guard bytes.count == range.count else { return false }
                for index in bytes.indices where bytes[index] != input[range.lowerBound + index] { return false }
                return true
            case .pattern(let pattern):
                let bytes = range.map { input[$0] }
                return pattern.matches(String(decoding: bytes, as: UTF8.self))
            }
        }
    }

    let deniedOnly: Bool
    private let grant: Name?
    private let tool: Name?

    init(_ request: TailRequest) {
        deniedOnly = request.deniedOnly
        grant = request.grant.map { Name($0) }
        tool = request.tool.map { Name($0) }
    }

    /// - Parameter input: the bytes that the ranges of the check are of.
    func matches(_ check: CheckRequest, in input: Span<UInt8>) -> Bool {
        (grant?.matches(input, check.grant) ?? true) && (tool?.matches(input, check.tool) ?? true)
    }
}

/// Decisions that wait for one listener, as RESP: a value-type state machine, bounded in lines a second and in bytes.
///
/// What is beyond is left out and counted; once a second a line with `dropped` says how many. So a listener that does not
/// read holds a bounded number of bytes, and busy checks are seldom held up for it.
struct DecisionTail {
    private(set) var waiting: [UInt8] = []
    /// Lines that were left out and not yet reported.
    private(set) var leftOut: Int64 = 0
    /// When the lines so far have used up the rate, ns: those of a second may come at once (GCRA, as a token bucket).
    private var paidNs = Int64.min
    private var reportedNs = Int64.min

    private static let pauseNs = 1_000_000_000 / ServerBounds.tailLinesPerSecond
    private static let burstNs: Int64 = 1_000_000_000

    /// Whether one more line may wait.
    func hasRoom(nowNs: Int64) -> Bool {
        waiting.count < ServerBounds.maxTailBytes && paidNs <= nowNs + Self.burstNs - Self.pauseNs
    }

    /// Adds a line, or leaves it out. - Parameter line: with its line feed.
    mutating func append(_ line: [UInt8], nowNs: Int64) {
        guard hasRoom(nowNs: nowNs) else { return leaveOut() }
        paidNs = max(paidNs, nowNs) + Self.pauseNs
        write(line)
    }

    mutating func leaveOut() { leftOut += 1 }

    /// When it will say what was left out, ns; nil: nothing was.
    var reportNs: Int64? { leftOut == 0 ? nil : max(reportedNs, 0) + Self.burstNs }

    /// Takes what waits, with a report of what was left out if one is due, or if it is the last. Empty if there is nothing.
    mutating func take(nowNs: Int64, isLast: Bool = false) -> [UInt8] {
        if leftOut > 0, isLast || reportNs.map({ $0 <= nowNs }) ?? false {
            write(Array("{\"dropped\":\(leftOut)}\n".utf8))
            leftOut = 0
            reportedNs = nowNs
        }
        defer { waiting.removeAll(keepingCapacity: waiting.count <= ServerBounds.keptBufferBytes) }
        return waiting
    }

    /// A bulk string.
    private mutating func write(_ line: [UInt8]) {
        waiting += "$\(line.count - 1)\r\n".utf8
        waiting += line.dropLast()
        waiting += "\r\n".utf8
    }
}
