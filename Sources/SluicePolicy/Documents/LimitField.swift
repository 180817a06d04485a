/// One field of a limit: a row from which follow its key in documents, their text, comparisons, tables and JSON. A field
/// that does not depend on others is also read by its row.
package struct LimitField: Sendable {
    /// A value as documents have it.
    package enum Value: Sendable, Equatable {
        case number(Int64)
        /// A window's length.
        case seconds(Int64)
        case word(String)
        case flag(Bool)
    }

    /// Where a field has a place of its own; every field has one in documents.
    struct Views: OptionSet {
        let rawValue: UInt8

        /// What changes in a limit.
        static let diff = Views(rawValue: 1)
        /// The parts of a limit beside its rate.
        static let summary = Views(rawValue: 2)
        /// A table with a column for each field.
        static let columns = Views(rawValue: 4)
        static let json = Views(rawValue: 8)
        static let all: Views = [.diff, .summary, .columns, .json]
    }

    /// When a summary or a table has the field.
    package enum Presence: Sendable {
        case always
        /// Not in summaries of limits that all have the default.
        case usual
        /// Not where no limit has it.
        case rare
    }

    package let key: String
    /// The title of its column, if that is not the key.
    var column: String?
    /// Its name in JSON, if that is not the key.
    var jsonName: String?
    /// The key has a meaning if one of these features is supported, or always if there are none.
    var needs: [PolicyFeatures] = []
    var views: Views = .all
    package var presence = Presence.usual
    package var isNumber = false
    /// What a table says of a limit without the field.
    package var absent = "-"
    /// `nil` if the limit has no such field.
    package let value: @Sendable (Limit) -> Value?
    /// Whether documents leave the value out.
    var isDefault: @Sendable (Limit) -> Bool = { _ in false }
    /// For people, if that is not the value's own text.
    var ownWords: (@Sendable (Limit) -> String?)?
    /// The same where a field without a place is part of this one.
    var mergedWords: (@Sendable (Limit) -> String?)?
    /// Sets the field from a document; `nil` if `PolicyReader` reads it together with others.
    var read: (@Sendable (_ reader: inout PolicyReader, _ node: DocumentNode, _ limit: inout Limit) -> Void)?
}

extension LimitField {
    /// In the order of JSON and comparisons.
    private static let all = [
        LimitField(key: "counter", views: .json, value: { .word($0.counter) }),
        LimitField(
            key: "algorithm", needs: [.slidingWindow, .slidingLog, .tokenBucket, .concurrency],
            value: { .word($0.algorithm.name) }, isDefault: { $0.algorithm == .fixedWindow }),
        LimitField(key: "max", views: [.diff, .columns, .json], isNumber: true, value: { .number($0.max) }),
        LimitField(
            key: "window", views: [.diff, .columns, .json], absent: "at once", value: { $0.window.value },
            ownWords: { $0.window == .endless ? nil : $0.window.words }),
        LimitField(
            key: "timezone", needs: [.calendarWindows], views: .json, value: { $0.window.zone.map { .word($0.name) } },
            isDefault: { $0.window.zone?.isUTC ?? true }),
        LimitField(
            key: "burst", needs: [.tokenBucket], presence: .rare, isNumber: true,
            value: { $0.burst.map { .number($0) } }, isDefault: { $0.burst == $0.max }),
        LimitField(
            key: "hold", jsonName: "hold_s", needs: [.concurrency], presence: .rare,
            value: { $0.holdSeconds.map { .number($0) } },
            ownWords: { $0.holdSeconds.map { Window.words(ofSeconds: $0) } }),
        LimitField(
            key: "scope", presence: .always, value: { .word($0.scope.name) }, isDefault: { $0.scope == .grant },
            mergedWords: { $0.scope.name.onOneLine + ($0.acrossGrants ? " of all grants" : "") }),
        LimitField(
            key: "across_grants", column: "across grants", needs: [.moreScopes], views: [.columns, .json],
            presence: .rare, value: { .flag($0.acrossGrants) }, isDefault: { !$0.acrossGrants }),
        choice(
            "on_outage", column: "outage", \.onOutage, others: .onOutage,
            why: "while Redis is unavailable every limit uses local counters"),
        choice("mode", \.mode, others: .shadow, why: "every limit is enforced"),
        countsField, precisionField,
        LimitField(
            key: "unit", presence: .rare, value: { $0.unit.map { .word($0) } },
            read: { reader, node, limit in limit.unit = reader.unit(node) }),
        LimitField(
            key: "on_deny", views: [], value: { $0.onDeny.map { .word($0) } },
            read: { reader, node, limit in limit.onDeny = reader.message(node) }),
    ]

    private static let countsField = {
        var field = choice("counts", \Limit.counts, others: [], why: "")
        field.presence = .rare
        field.absent = Limit.Counts.cost.rawValue
        // A comparison has the default, too.
        field.mergedWords = { $0.counts.rawValue }
        field.ownWords = { $0.counts == .cost ? nil : $0.counts.rawValue }
        let read = field.read
        field.read = { reader, node, limit in
            guard limit.algorithm == .concurrency else { return read?(&reader, node, &limit) ?? () }
            reader.misplaced(
                node, key: "counts", beside: "with the algorithm \(Algorithm.concurrency.name.quoted)",
                expected: "no \("counts".quoted): a call takes one slot, whatever its cost")
        }
        return field
    }()

    private static let precisionField = {
        var field = choice(
            "precision", \Limit.precision, others: .leased, why: "every call is counted exactly")
        field.presence = .rare
        field.absent = Limit.Precision.exact.rawValue
        // A comparison has the default, too.
        field.mergedWords = { $0.precision.rawValue }
        field.ownWords = { $0.precision == .exact ? nil : $0.precision.rawValue }
        let read = field.read
        field.read = { reader, node, limit in
            read?(&reader, node, &limit)
            guard limit.precision == .leased, limit.algorithm != .fixedWindow else { return }
            reader.misplaced(
                node, key: "precision", beside: "\("leased".quoted) with the algorithm \(limit.algorithm.name.quoted)",
                expected: "\("leased".quoted) only with \(Algorithm.fixedWindow.name.quoted)")
        }
        return field
    }()

    /// A field that is one of a few words, of which the first is the default.
    /// - Parameters:
    ///   - others: what the other words need.
    ///   - why: the reason in the fault of a document that has one of them without it.
    private static func choice<Word>(
        _ key: String, column: String? = nil, _ property: any WritableKeyPath<Limit, Word> & Sendable,
        others: PolicyFeatures, why: String
    ) -> LimitField where Word: CaseIterable & RawRepresentable<String> & Sendable {
        let byDefault = Word.allCases.first?.rawValue
        let words = FeatureWord<Word>.all { $0.rawValue == byDefault ? [] : others }
        return LimitField(
            key: key, column: column, needs: [others], value: { .word($0[keyPath: property].rawValue) },
            isDefault: { $0[keyPath: property].rawValue == byDefault },
            read: { reader, node, limit in
                guard let word = reader.choice(node, words, key: key, why: why) else { return }
                limit[keyPath: property] = word
            })
    }

    /// In the order of documents, and of the message about an unknown key.
    static let inDocuments = starting(with: ["counter", "window", "timezone", "max", "scope", "across_grants"])
    package static let inColumns = starting(with: ["max", "window"]).filter { $0.views.contains(.columns) }
    package static let inJSON = all.filter { $0.views.contains(.json) }
    static let inDiffs = all.filter { $0.views.contains(.diff) }
    static let inSummaries = all.filter { $0.views.contains(.summary) }

    private static func starting(with keys: [String]) -> [LimitField] {
        keys.compactMap { key in all.first { $0.key == key } } + all.filter { !keys.contains($0.key) }
    }
}

// MARK: - Words

extension LimitField {
    package var title: String { column ?? key }

    package var jsonKey: String { jsonName ?? key }

    /// For people; `nil` if the limit has no such field.
    package func words(_ limit: Limit) -> String? {
        if let ownWords { return ownWords(limit) }
        return switch value(limit) {
        case .number(let number), .seconds(let number): String(number)
        case .word(let word): word
        case .flag(let flag): flag ? "yes" : nil
        case nil: nil
        }
    }

    /// For people, together with the fields that have no place beside this one.
    func allWords(_ limit: Limit) -> String? { mergedWords.map { $0(limit) } ?? words(limit) }

    /// Whether a summary of the limit has the field.
    func isNotable(in limit: Limit) -> Bool {
        words(limit) != nil && (presence != .usual || !isDefault(limit))
    }
}

extension Limit {
    /// The longest life of a slot in seconds, if the limit counts slots.
    var holdSeconds: Int64? { holdMs.map { $0 / 1000 } }
}

extension Window {
    fileprivate var value: LimitField.Value? {
        switch kind {
        case .seconds(let seconds): .seconds(seconds)
        case .calendar(let period, _): .word(period.rawValue)
        case .endless: nil
        }
    }

    fileprivate var zone: Zone? {
        if case .calendar(_, let zone) = kind { zone } else { nil }
    }
}
