import SluiceTerminal

/// A line of a screen: texts, each with a tone. It is cut to the screen's width when it is rendered.
struct ScreenLine: Equatable {
    struct Span: Equatable {
        var text: String
        var tone: Style.Tone
    }

    private(set) var spans: [Span] = []

    var width: Int { spans.reduce(0) { $0 + TerminalText.width($1.text) } }

    init(_ text: String = "", _ tone: Style.Tone = .plain) { add(text, tone) }

    /// - Parameter text: what a terminal would not show as it is, is escaped.
    mutating func add(_ text: String, _ tone: Style.Tone = .plain) {
        if !text.isEmpty { spans.append(Span(text: TerminalText.visible(text), tone: tone)) }
    }

    mutating func add(_ other: ScreenLine) { spans += other.spans }

    /// Adds spaces up to a width, or cuts what is beyond it.
    mutating func fill(to columns: Int) {
        cut(to: columns)
        let missing = columns - width
        if missing > 0 { spans.append(Span(text: String(repeating: " ", count: missing), tone: .plain)) }
    }

    mutating func cut(to columns: Int) {
        var left = columns
        for index in spans.indices {
            spans[index].text = left > 0 ? TerminalText.fit(spans[index].text, columns: left) : ""
            left -= TerminalText.width(spans[index].text)
        }
        spans.removeAll { $0.text.isEmpty }
    }

    func render(_ style: Style) -> String { spans.map { style.apply($0.tone, to: $0.text) }.joined() }
}

/// A table that fits itself into a width: it first shortens its long columns, then drops those that matter least.
struct TopTable {
    struct Column {
        var heading: String
        var alignment = TextTable.Alignment.left
        /// Of those that do not fit, the highest goes first; 0 stays.
        var rank = 0
        /// Whether its texts may be cut.
        var isFlexible = false
    }

    var columns: [Column]
    var rows: [[TextTable.Cell]]
    /// What stands there if there are none.
    var absence: String

    private static let gap = 2
    /// A column that may be cut keeps so many columns of the screen.
    private static let minFlexible = 9

    /// At most `rows` lines, the headings counted.
    func lines(columns width: Int, rows count: Int) -> [ScreenLine] {
        guard count > 0 else { return [] }
        let shown = rows.prefix(count - 1)
        let (kept, widths) = layout(Array(shown), width)
        var lines = [line(columns.map { .init($0.heading, .strong) }, kept, widths)]
        lines += shown.map { line($0, kept, widths) }
        if shown.isEmpty && count > 1 { lines.append(ScreenLine(absence, .faint)) }
        return lines
    }

    /// The columns that are kept, and how wide each is.
    private func layout(_ shown: [[TextTable.Cell]], _ width: Int) -> (kept: [Int], widths: [Int]) {
        let natural = columns.indices.map { column in
            shown.reduce(TerminalText.width(columns[column].heading)) { max($0, TerminalText.width($1[column].text)) }
        }
        var kept = Array(columns.indices)
        func least() -> Int {
            kept.reduce(Self.gap * (kept.count - 1)) {
                $0 + (columns[$1].isFlexible ? min(natural[$1], Self.minFlexible) : natural[$1])
            }
        }
        while least() > width,
            let last = kept.filter({ columns[$0].rank > 0 }).max(by: { columns[$0].rank < columns[$1].rank })
        {
            kept.removeAll { $0 == last }
        }
        var widths = natural
        let flexible = kept.filter { columns[$0].isFlexible }.sorted { natural[$0] < natural[$1] }
        var left =
            width - Self.gap * (kept.count - 1) - kept.reduce(0) { $0 + (columns[$1].isFlexible ? 0 : natural[$1]) }
        for (index, column) in flexible.enumerated() {
            widths[column] = max(1, min(natural[column], left / (flexible.count - index)))
            left -= widths[column]
        }
        return (kept, widths)
    }

    private func line(_ cells: [TextTable.Cell], _ kept: [Int], _ widths: [Int]) -> ScreenLine {
        var line = ScreenLine()
        for (index, column) in kept.enumerated() {
            let text = TerminalText.fit(cells[column].text, columns: widths[column])
            let padding = String(repeating: " ", count: max(0, widths[column] - TerminalText.width(text)))
            if text.isEmpty && index == kept.count - 1 { break }
            if index > 0 { line.add(String(repeating: " ", count: Self.gap)) }
            if columns[column].alignment == .right { line.add(padding) }
            line.add(text, cells[column].tone)
            if columns[column].alignment == .left && index < kept.count - 1 { line.add(padding) }
        }
        return line
    }
}
