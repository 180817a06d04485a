/// Decisions by the rule that decided, the source and the verdict: for metrics.
///
/// A decision costs one increment: its texts know where the row of their rule begins. Rules have rows in the order in which they
/// first decide, for as long as the process lives, so that a counter never falls. Beyond
/// `EngineBounds.maxCountedRules` rules, the rest shares the first row.
package struct RuleFigures: Sendable, Equatable {
    /// One of the columns of a row.
    package struct Cell: Sendable, Equatable {
        package let source: Decision.Source
        package let verdict: Decision.Verdict
        package let count: Int64
    }

    /// One rule's figures.
    package struct Row: Sendable, Equatable {
        package let rule: String
        /// What is not zero.
        package let cells: [Cell]
        /// Admitted checks after which less than a fifth of the binding limit was left.
        package let nearLimit: Int64
        /// Checks that a shadow limit would have denied.
        package let shadowDenials: Int64

        package func count(_ verdict: Decision.Verdict) -> Int64 {
            cells.reduce(0) { $1.verdict == verdict ? $0 + $1.count : $0 }
        }
    }

    /// The rule of the first row.
    package static let others = "(other)"

    private static let sources = Decision.Source.allCases.count
    /// One for each verdict, and one for admissions near the limit.
    private static let verdicts = Decision.Verdict.allCases.count + 1
    private static let width = sources * verdicts

    private var rules = [others]
    private var rowByRule: [String: Int] = [:]
    /// Row by row; in a row by source, then verdict.
    private var counts = [Int64](repeating: 0, count: width)
    private var shadowDenials: [Int64] = [0]

    package init() {}

    /// What each rule decided, in the order of their first decisions; none without figures.
    package var rows: [Row] {
        rules.indices.compactMap { row in
            var cells: [Cell] = []
            var near: Int64 = 0
            for source in Decision.Source.allCases {
                let nearHere = count(row, source, Self.verdicts - 1)
                near += nearHere
                for verdict in Decision.Verdict.allCases {
                    let count = count(row, source, Int(verdict.rawValue)) + (verdict == .allow ? nearHere : 0)
                    if count > 0 { cells.append(Cell(source: source, verdict: verdict, count: count)) }
                }
            }
            guard !cells.isEmpty || shadowDenials[row] > 0 else { return nil }
            return Row(rule: rules[row], cells: cells, nearLimit: near, shadowDenials: shadowDenials[row])
        }
    }

    /// Over all rules.
    func total(_ source: Decision.Source, _ verdict: Decision.Verdict) -> Int64 {
        rules.indices.reduce(0) { total, row in
            let near = verdict == .allow ? count(row, source, Self.verdicts - 1) : 0
            return total + count(row, source, Int(verdict.rawValue)) + near
        }
    }

    private func count(_ row: Int, _ source: Decision.Source, _ column: Int) -> Int64 {
        counts[row * Self.width + Int(source.rawValue) * Self.verdicts + column]
    }

    // MARK: - Counting

    @inline(__always)
    mutating func count(_ decision: borrowing Decision) {
        let place = decision.words.figuresOffset &+ Self.column(decision)
        guard UInt(bitPattern: place) < UInt(bitPattern: counts.count), decision.words.figuresOffset >= 0 else {
            return countFirst(decision)
        }
        counts[place] &+= 1
    }

    /// The first decision of its texts.
    @inline(never)
    private mutating func countFirst(_ decision: borrowing Decision) {
        counts[offset(of: decision.words) + Self.column(decision)] += 1
    }

    /// The same for a decision whose texts another limiter made, and know its rows.
    mutating func countByName(_ decision: borrowing Decision) {
        counts[row(ofRule: decision.rule) * Self.width + Self.column(decision)] += 1
    }

    /// Takes back a decision that was counted.
    mutating func uncount(_ decision: borrowing Decision) {
        counts[row(ofRule: decision.rule) * Self.width + Self.column(decision)] -= 1
    }

    @inline(__always)
    private static func column(_ decision: borrowing Decision) -> Int {
        // Without a limit both numbers are -1.
        let isNear = decision.verdict == .allow && decision.remaining >= 0 && decision.remaining &* 5 < decision.limit
        let verdict = isNear ? verdicts - 1 : Int(decision.verdict.rawValue)
        return Int(decision.source.rawValue) &* verdicts &+ verdict
    }

    mutating func countShadowDenials(_ count: Int64, of words: Decision.Words) {
        shadowDenials[offset(of: words) / Self.width] += count
    }

    private mutating func offset(of words: Decision.Words) -> Int {
        if counts.indices.contains(words.figuresOffset) { return words.figuresOffset }
        let offset = row(ofRule: words.rule) * Self.width
        words.figuresOffset = offset
        return offset
    }

    private mutating func row(ofRule rule: String) -> Int {
        if let row = rowByRule[rule] { return row }
        guard rules.count <= EngineBounds.maxCountedRules else { return 0 }
        rowByRule[rule] = rules.count
        rules.append(rule)
        counts.append(contentsOf: repeatElement(0, count: Self.width))
        shadowDenials.append(0)
        return rules.count - 1
    }

    // MARK: - Several limiters

    /// Adds the figures of another limiter, by the names of its rules.
    package mutating func add(_ other: RuleFigures) {
        for (index, rule) in other.rules.enumerated() {
            let row = index == 0 ? 0 : row(ofRule: rule)
            for column in 0..<Self.width {
                counts[row * Self.width + column] += other.counts[index * Self.width + column]
            }
            shadowDenials[row] += other.shadowDenials[index]
        }
    }
}
