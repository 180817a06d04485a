import SluicePolicy
import SluiceTerminal

/// All of `top` but its bytes: data and keys in, lines out.
struct TopModel: Sendable {
    /// What comes first.
    enum Order: String, CaseIterable, Sendable {
        /// The most calls; of limits the fullest.
        case busiest
        /// The most denials; of limits the fullest.
        case denied
        case name

        var next: Order {
            switch self {
            case .busiest: .denied
            case .denied: .name
            case .name: .busiest
            }
        }
    }

    /// What comes of a key.
    enum Action: Equatable { case show, quit }

    /// Longest filter, characters.
    static let maxFilter = 64

    let socket: String
    var data = TopData()
    var columns: Int
    var rows: Int
    private(set) var order = Order.busiest
    private(set) var filter = ""
    /// Whether what is typed goes into the filter.
    private(set) var isTyping = false
    /// What was shown when it was paused; nil: it is not.
    private var frozen: TopData?

    init(socket: String, columns: Int, rows: Int) {
        self.socket = socket
        self.columns = columns
        self.rows = rows
    }

    var isPaused: Bool { frozen != nil }
    /// What is on the screen.
    var shown: TopData { frozen ?? data }

    mutating func press(_ key: TopKey) -> Action {
        if key == .interrupt { return .quit }
        if isTyping {
            type(key)
            return .show
        }
        switch key {
        case .character("q"): return .quit
        case .character("s"): order = order.next
        case .character("/"): isTyping = true
        case .character("p"), .character(" "): frozen = frozen == nil ? data : nil
        case .escape: filter = ""
        case .character, .enter, .backspace, .interrupt: break
        }
        return .show
    }

    private mutating func type(_ key: TopKey) {
        switch key {
        case .character(let character): if filter.count < Self.maxFilter { filter.append(character) }
        case .backspace: filter = String(filter.dropLast())
        case .enter: isTyping = false
        case .escape: (isTyping, filter) = (false, "")
        case .interrupt: break
        }
    }

    // MARK: - What is shown, in its order

    /// Whether one of the names has the filter in it, or matches it as a pattern.
    private func passes(_ names: String...) -> Bool {
        guard !filter.isEmpty else { return true }
        if let pattern = NamePattern(filter) { return names.contains { pattern.matches($0) } }
        let wanted = filter.lowercased()
        return names.contains { $0.lowercased().contains(wanted) }
    }

    var grants: [TopSketch.Entry] {
        sorted(shown.grants.entries.filter { passes($0.name, $0.note) }) { ($0.rate, $0.deniedRate, $0.name) }
    }

    /// Those that deny.
    var rules: [TopSketch.Entry] {
        sorted(shown.rules.entries.filter { passes($0.name, $0.note) }) { ($0.rate, $0.rate, $0.name) }
    }

    var limits: [CounterRow] {
        sorted(shown.limits.filter { $0.fullness != nil && passes($0.grant, $0.title, $0.counter, $0.subject) }) {
            ($0.fullness ?? 0, $0.fullness ?? 0, "\($0.grant)\n\($0.title)\n\($0.counter)\n\($0.subject)")
        }
    }

    private func sorted<Row>(
        _ rows: [Row], by key: (Row) -> (busy: Double, denied: Double, name: String)
    ) -> [Row] {
        rows.map { (key: key($0), row: $0) }
            .sorted { one, other in
                switch order {
                case .busiest where one.key.busy != other.key.busy: one.key.busy > other.key.busy
                case .denied where one.key.denied != other.key.denied: one.key.denied > other.key.denied
                case .busiest, .denied, .name: one.key.name < other.key.name
                }
            }
            .map(\.row)
    }
}

extension CounterRow {
    /// What is used, by all that is known.
    var used: Int64 { Swift.max(0, sharedUsed) + localUsed }

    /// Which part of the maximum is used, 0 to 1; nil if the maximum is not known.
    var fullness: Double? {
        if max < 0 { return nil }
        if remaining == 0 || max == 0 { return 1 }
        return min(1, Double(used) / Double(max))
    }
}
