package import SluiceProtocol

/// A line of the decision log as it was read. Ranges are offsets into the bytes that it was read from.
package struct DecisionLogRecord: Sendable {
    /// What a line is.
    package enum Kind: Sendable, Equatable {
        case decision, settlement
        /// An operator cleared counters, or overrode a maximum.
        case operation
        /// The beginning of a file or process: 1 if every decision is logged, 0 if only denials are, else one in so many.
        case sample(Int64)
        /// So many lines are missing before it.
        case dropped(Int64)
        /// It is no line of a decision log.
        case malformed
    }

    /// What was answered.
    package enum Verdict: Sendable, Equatable {
        case decided(ReplyVerdict)
        /// `BUSY`: nothing was decided.
        case busy
    }

    /// ms since 1970.
    package internal(set) var timeMs: Int64 = -1
    /// What the check came in by; empty if the line does not say.
    package internal(set) var door = 0..<0
    package internal(set) var action = DecisionLogLine.Action.check
    package internal(set) var grant = 0..<0
    /// Empty for a settlement.
    package internal(set) var tool = 0..<0
    package internal(set) var server: Range<Int>?
    package internal(set) var session: Range<Int>?
    package internal(set) var attributes: [(name: Range<Int>, value: Range<Int>)] = []
    package internal(set) var cost: Int64 = 1
    package internal(set) var isApproved = false
    /// Whether a reservation was asked for.
    package internal(set) var reserves = false
    /// The idempotency key.
    package internal(set) var id: Range<Int>?
    package internal(set) var verdict = Verdict.busy
    package internal(set) var rule = 0..<0
    package internal(set) var source = 0..<0
    /// Of the binding limit; -1: unknown.
    package internal(set) var used: Int64 = -1
    package internal(set) var max: Int64 = -1
    /// -1: unknown, or never.
    package internal(set) var retryAfterMs: Int64 = -1
    package internal(set) var reservation: Range<Int>?
    /// Of a settlement: whether there was such a reservation, not settled before.
    package internal(set) var isDone = false

    private var sample: Int64?
    private var dropped: Int64?
    private var hasVerdict = false
    private var hasAction = false

    package init() {}

    private mutating func clear() {
        var attributes: [(name: Range<Int>, value: Range<Int>)] = []
        swap(&attributes, &self.attributes)
        self = DecisionLogRecord()
        attributes.removeAll(keepingCapacity: true)
        swap(&attributes, &self.attributes)
    }

    /// Reads one line without its line feed. Members may be in any order; unknown ones are passed over.
    ///
    /// - Parameter bytes: strings with escapes are replaced by their meaning in place, which is never longer.
    package mutating func read(_ bytes: inout [UInt8], _ line: Range<Int>) -> Kind {
        clear()
        var cursor = JSONCursor(index: line.lowerBound, end: line.upperBound)
        guard readMembers(&bytes, &cursor), cursor.isAtEnd(bytes) else { return .malformed }
        if let sample { return .sample(sample) }
        if let dropped { return .dropped(dropped) }
        guard timeMs >= 0, hasAction, !grant.isEmpty, cost >= 0, cost <= ProtocolBounds.maxCost else {
            return .malformed
        }
        switch action {
        case .check, .peek, .charge, .refund: return hasVerdict && !tool.isEmpty ? .decision : .malformed
        case .commit, .cancel, .release: return reservation == nil ? .malformed : .settlement
        case .clear, .override: return .operation
        }
    }

    private mutating func readMembers(_ bytes: inout [UInt8], _ cursor: inout JSONCursor) -> Bool {
        cursor.members(&bytes) { name, bytes, cursor in readMember(name, &bytes, &cursor) }
    }

    private mutating func readMember(_ name: Range<Int>, _ bytes: inout [UInt8], _ cursor: inout JSONCursor) -> Bool {
        guard let member = Member(bytes, name) else { return cursor.skip(&bytes, depth: 0) }
        switch member {
        case .attributes: return readAttributes(&bytes, &cursor)
        case .approved, .reserve, .done:
            guard let flag = cursor.flag(bytes) else { return false }
            set(member, flag)
        case .cost, .used, .max, .retryAfterMs, .sample, .dropped:
            guard let number = cursor.number(bytes) else { return false }
            set(member, number)
        case .time, .door, .action, .verdict, .grant, .tool, .server, .session, .id, .rule, .source, .reservation:
            guard let text = cursor.string(&bytes) else { return false }
            return set(member, text, bytes)
        }
        return true
    }

    private mutating func set(_ member: Member, _ flag: Bool) {
        switch member {
        case .approved: isApproved = flag
        case .reserve: reserves = flag
        default: isDone = flag
        }
    }

    private mutating func set(_ member: Member, _ number: Int64) {
        switch member {
        case .cost: cost = number
        case .used: used = number
        case .max: max = number
        case .retryAfterMs: retryAfterMs = number
        case .sample: sample = number
        default: dropped = number
        }
    }

    private mutating func set(_ member: Member, _ text: Range<Int>, _ bytes: [UInt8]) -> Bool {
        switch member {
        case .door: door = text
        case .grant: grant = text
        case .tool: tool = text
        case .server: server = text
        case .session: session = text
        case .id: id = text
        case .rule: rule = text
        case .source: source = text
        case .reservation: reservation = text
        case .time:
            guard let ms = DecisionLogTime.ms(bytes, text) else { return false }
            timeMs = ms
        case .action:
            guard let action = DecisionLogLine.Action(rawValue: bytes.text(text)) else { return false }
            (self.action, hasAction) = (action, true)
        default:
            guard let verdict = Verdict(bytes.text(text)) else { return false }
            (self.verdict, hasVerdict) = (verdict, true)
        }
        return true
    }

    private mutating func readAttributes(_ bytes: inout [UInt8], _ cursor: inout JSONCursor) -> Bool {
        cursor.members(&bytes) { name, bytes, cursor in
            guard attributes.count < ProtocolBounds.maxAttributes, let value = cursor.string(&bytes) else {
                return false
            }
            attributes.append((name, value))
            return true
        }
    }
}

extension DecisionLogRecord {
    /// The members that are read.
    private enum Member: String, CaseIterable {
        case time, door, action, grant, tool, server, session, attributes, cost, approved, reserve, id, verdict, rule,
            source, used, max
        case retryAfterMs = "retry_after_ms"
        case reservation, done, sample, dropped

        private static let names = allCases.map { ($0, Array($0.rawValue.utf8)) }

        init?(_ bytes: [UInt8], _ name: Range<Int>) {
            for (member, text) in Self.names where text.count == name.count && bytes[name].elementsEqual(text) {
                self = member
                return
            }
            return nil
        }
    }
}

extension DecisionLogRecord.Verdict {
    fileprivate init?(_ word: String) {
        if word == DecisionLogLine.busy {
            self = .busy
        } else if let verdict = ReplyVerdict(rawValue: word) {
            self = .decided(verdict)
        } else {
            return nil
        }
    }
}

extension [UInt8] {
    /// The text of a range; bytes that are not UTF-8 are replaced.
    package func text(_ range: Range<Int>) -> String { String(decoding: self[range], as: UTF8.self) }
}
