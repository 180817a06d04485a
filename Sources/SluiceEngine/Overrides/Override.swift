package import SluicePolicy

/// For a time, another maximum of one limit for one grant: set by an operator, and kept in the store for all replicas.
package struct Override: Sendable, Hashable {
    package var grant: String
    /// The path of the limit: see `Limit.rule`.
    package var rule: String
    package var max: Int64
    /// When it ends (exclusive), ms since the epoch by the store's clock.
    package var untilMs: Int64

    package init(grant: String, rule: String, max: Int64, untilMs: Int64) {
        self.grant = grant
        self.rule = rule
        self.max = max
        self.untilMs = untilMs
    }

    /// Whether a limit may have that maximum: see `Limit.maxRange`. A limit whose counters grants share has none for one
    /// grant.
    func applies(to limit: Limit) -> Bool {
        rule == limit.rule && limit.mayBeOverridden && limit.maxRange.contains(max)
    }

    /// Its name in the store: a grant and a rule, encoded as names in keys are.
    static func field(grant: String, rule: String) -> [UInt8] {
        KeyText.encoded(grant.utf8) + ":".utf8 + KeyText.encoded(rule.utf8)
    }

    /// nil if it is no such name.
    fileprivate init?(field: ArraySlice<UInt8>, max: Int64, untilMs: Int64) {
        guard let colon = field.firstIndex(of: UInt8(ascii: ":")),
            let grant = KeyText.decoded(field[..<colon]), !grant.isEmpty,
            let rule = KeyText.decoded(field[(colon + 1)...]), !rule.isEmpty
        else { return nil }
        self.init(grant: grant, rule: rule, max: max, untilMs: untilMs)
    }
}

extension Override {
    /// Reads the overrides of a reply: for each its name, its maximum and when it ends, separated by spaces. Any client may
    /// write to the key, so what makes no sense is skipped.
    static func list(_ text: String) -> [Override] {
        var list: [Override] = []
        let parts = text.utf8.split(separator: UInt8(ascii: " ")).map { Array($0) }
        for at in stride(from: 0, to: parts.count - 2, by: 3) where list.count < EngineBounds.maxOverrides {
            guard let max = number(parts[at + 1]), let untilMs = number(parts[at + 2]),
                untilMs <= EngineBounds.latestMs,
                let override = Override(field: parts[at][...], max: max, untilMs: untilMs)
            else { continue }
            list.append(override)
        }
        return list
    }

    private static func number(_ digits: [UInt8]) -> Int64? {
        guard digits.count <= 18, digits.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return Int64(String(decoding: digits, as: UTF8.self))
    }
}

extension Limit {
    /// Whether each grant has counters of its own, so that one grant can have another maximum.
    package var mayBeOverridden: Bool { scope != .global && !acrossGrants }
}

/// A change of one override, as the store is asked for it.
package struct OverrideChange: Sendable, Equatable {
    package var grant: String
    package var rule: String
    package var max: Int64
    /// For how long, ms: 1 to `EngineBounds.maxOverrideMs`; 0 ends it.
    package var forMs: Int64

    package init(grant: String, rule: String, max: Int64, forMs: Int64) {
        self.grant = grant
        self.rule = rule
        self.max = max
        self.forMs = forMs
    }

    /// See `Override.field`.
    package var field: [UInt8] { Override.field(grant: grant, rule: rule) }
}

/// What came of a change.
package enum OverrideOutcome: Sendable, Equatable {
    case done
    /// There was no such override to end.
    case notFound
    /// There are as many as there may be: see `EngineBounds.maxOverrides`.
    case full
    /// The store could not read the list: its words.
    case fault(String)
}
