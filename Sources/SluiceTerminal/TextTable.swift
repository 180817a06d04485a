/// A table with aligned columns: two spaces between them, none at the end of a line.
package struct TextTable: Sendable {
    package enum Alignment: Sendable, Equatable {
        /// For words.
        case left
        /// For numbers.
        case right
    }

    package struct Column: Sendable {
        package var heading: String
        package var alignment: Alignment

        package init(_ heading: String, _ alignment: Alignment = .left) {
            self.heading = heading
            self.alignment = alignment
        }
    }

    /// One text in the table. What a terminal would not show as it is has been escaped.
    package struct Cell: Sendable, ExpressibleByStringInterpolation {
        package let text: String
        package let tone: Style.Tone

        package init(_ text: String, _ tone: Style.Tone = .plain) {
            self.text = TerminalText.visible(text)
            self.tone = tone
        }

        package init(_ number: some BinaryInteger, _ tone: Style.Tone = .plain) {
            self.init(String(number), tone)
        }

        package init(stringLiteral value: String) {
            self.init(value)
        }
    }

    /// Spaces between two columns.
    private static let gap = 2

    private let alignments: [Alignment]
    /// The headings are the first row, if there are any.
    private var rows: [[Cell]] = []

    package init(_ columns: [Column]) {
        alignments = columns.map(\.alignment)
        rows.append(columns.map { Cell($0.heading, .strong) })
    }

    /// A table of names and what they are, without headings.
    package init(facts: [(name: String, value: Cell)]) {
        alignments = [.left, .left]
        rows = facts.map { [Cell($0.name, .faint), $0.value] }
    }

    /// Appends a row; it has a cell for each column.
    package mutating func append(_ row: [Cell]) {
        precondition(row.count == alignments.count, "a row has a cell for each column")
        rows.append(row)
    }

    /// All lines, each with its line feed.
    package func render(_ style: Style) -> String {
        var widths = Array(repeating: 0, count: alignments.count)
        for row in rows {
            for (column, cell) in row.enumerated() {
                widths[column] = max(widths[column], TerminalText.width(cell.text))
            }
        }
        return rows.map { render($0, widths, style) }.joined()
    }

    private func render(_ row: [Cell], _ widths: [Int], _ style: Style) -> String {
        var line = ""
        // Spaces are written before the next text only, so that no line ends with them.
        var pending = 0
        for (column, cell) in row.enumerated() {
            let padding = widths[column] - TerminalText.width(cell.text)
            if alignments[column] == .right { pending += padding }
            if !cell.text.isEmpty {
                line += String(repeating: " ", count: pending) + style.apply(cell.tone, to: cell.text)
                pending = 0
            }
            if alignments[column] == .left { pending += padding }
            pending += Self.gap
        }
        return line + "\n"
    }
}
