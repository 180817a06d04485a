import SluiceDecisionLog
import SluicePolicy
import SluiceProtocol
import SluiceTerminal

/// The output of `tail`: a line for each of the decision log's, in columns that grow with what they hold, or as it came.
struct TailReport {
    private let isJSON: Bool
    private let style: Style
    /// After so many decisions it ends; nil: never.
    private let limit: Int?
    private var count = 0
    private var hasHeading = false
    private var widths: [Int]

    private static let headings = ["time", "grant", "tool", "verdict", "used/max", "retry in", "rule"]
    /// A column grows up to this width; longer texts shift what follows them.
    private static let maxWidth = 32

    init(isJSON: Bool, style: Style, limit: Int?) {
        self.isJSON = isJSON
        self.style = style
        self.limit = limit
        // Wide enough for most, so that columns seldom move.
        widths = [12, 14, 14, 7, 8, 10, 0]
    }

    var isDone: Bool { limit.map { count >= $0 } ?? false }

    /// - Returns: what to write for a line of the stream, with its line feed.
    mutating func take(_ line: String) -> String {
        var bytes = Array(line.utf8)
        var record = DecisionLogRecord()
        let kind = record.read(&bytes, 0..<bytes.count)
        if case .decision = kind { count += 1 }
        guard !isJSON else { return line + "\n" }
        switch kind {
        case .decision: return heading() + text(cells(record, bytes))
        case .dropped(let count): return style.apply(.caution, to: "\(count) left out") + "\n"
        case .settlement, .operation, .sample, .malformed:
            return style.apply(.faint, to: TerminalText.visible(line)) + "\n"
        }
    }

    private mutating func heading() -> String {
        guard !hasHeading else { return "" }
        hasHeading = true
        return text(Self.headings.map { .init($0, .strong) })
    }

    private func cells(_ record: DecisionLogRecord, _ bytes: [UInt8]) -> [TextTable.Cell] {
        let (verdict, tone) = Self.verdict(record.verdict)
        let usage: TextTable.Cell =
            record.max < 0 ? "-" : .init("\(record.used)/\(record.max)", record.used >= record.max ? .bad : .plain)
        return [
            .init(DateText.timeOfDay(milliseconds: record.timeMs), .faint), .init(bytes.text(record.grant)),
            .init(bytes.text(record.tool)), .init(verdict, tone), usage,
            .init(record.retryAfterMs < 0 ? "-" : "\(WaitTime(milliseconds: record.retryAfterMs))"),
            .init(([bytes.text(record.rule)] + notes(record, bytes)).filter { !$0.isEmpty }.joined(separator: "  ")),
        ]
    }

    /// What is not as usual: not a check, not of cost 1, not by the socket.
    private func notes(_ record: DecisionLogRecord, _ bytes: [UInt8]) -> [String] {
        var notes: [String] = []
        if record.action != .check { notes.append(record.action.rawValue) }
        if record.cost != 1 { notes.append("cost \(record.cost)") }
        if let server = record.server { notes.append("server \(bytes.text(server))") }
        if let session = record.session { notes.append("session \(bytes.text(session))") }
        let door = bytes.text(record.door)
        if !door.isEmpty && door != "socket" { notes.append("by \(door)") }
        return notes.isEmpty ? [] : ["(\(notes.joined(separator: ", ")))"]
    }

    private static func verdict(_ verdict: DecisionLogRecord.Verdict) -> (String, Style.Tone) {
        switch verdict {
        case .busy: (DecisionLogLine.busy, .caution)
        case .decided(let verdict):
            switch verdict {
            case .allow: (verdict.rawValue, .good)
            case .approve: (verdict.rawValue, .caution)
            case .limit, .deny, .unavailable: (verdict.rawValue, .bad)
            }
        }
    }

    private mutating func text(_ cells: [TextTable.Cell]) -> String {
        var line = ""
        for (column, cell) in cells.enumerated() {
            line += style.apply(cell.tone, to: cell.text)
            guard column < cells.count - 1 else { break }
            let width = TerminalText.width(cell.text)
            widths[column] = max(widths[column], min(width, Self.maxWidth))
            line += String(repeating: " ", count: max(0, widths[column] - width) + 2)
        }
        return line + "\n"
    }
}
