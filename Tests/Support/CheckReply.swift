/// A sidecar's decision, parsed from RESP independently of the code under test.
package struct CheckReply: Sendable, Equatable {
    package struct Look: Sendable, Equatable {
        package var rule: String
        package var windowStartMs: Int
        package var used: Int
        package var max: Int
    }

    package var allowed: Bool
    package var limit: Int
    package var remaining: Int
    package var retryAfterMs: Int
    package var resetMs: Int
    package var verdict: String
    package var rule: String
    package var source: String
    package var message: String
    /// nil if it was not asked for; empty if there is none.
    package var reservation: String?
    /// nil if it was not asked for.
    package var trace: [Look]?

    /// The names of the fields, in their order.
    package static let fieldNames = [
        "allowed", "limit", "remaining", "retry_after_ms", "reset_ms", "verdict", "rule", "source", "message",
    ]

    /// What may come after them.
    private static let extraNames = [[], ["reservation"], ["trace"], ["reservation", "trace"]]

    /// - Throws: the answer itself, if it is not a decision.
    package init(_ answer: RedisAnswer) throws {
        var fields: [RedisAnswer]
        switch answer {
        case .array(let elements): fields = elements
        case .map(let pairs):
            let names = stride(from: 0, to: pairs.count, by: 2).map { pairs[$0].text ?? "" }
            guard names.prefix(9).elementsEqual(Self.fieldNames),
                Self.extraNames.contains(Array(names.dropFirst(9)))
            else { throw SupportError("other fields: \(names)") }
            fields = stride(from: 1, to: pairs.count, by: 2).map { pairs[$0] }
        default: throw SupportError("not a decision: \(answer)")
        }
        guard (9...11).contains(fields.count) else { throw SupportError("\(fields.count) fields: \(answer)") }
        let numbers = fields.prefix(5).compactMap(\.integer)
        let texts = fields[5..<9].compactMap(\.text)
        guard numbers.count == 5, texts.count == 4, numbers[0] == 0 || numbers[0] == 1 else {
            throw SupportError("not a decision: \(answer)")
        }
        allowed = numbers[0] == 1
        limit = numbers[1]
        remaining = numbers[2]
        retryAfterMs = numbers[3]
        resetMs = numbers[4]
        verdict = texts[0]
        rule = texts[1]
        source = texts[2]
        message = texts[3]
        // A reservation is a text, a trace is a list, and they come in this order.
        var extras = fields[9...]
        reservation = extras.first?.text
        if reservation != nil { extras.removeFirst() }
        trace = try extras.popFirst().map { extra in
            guard let looks = extra.elements else { throw SupportError("not a trace: \(extra)") }
            return try looks.map(Self.look)
        }
        guard extras.isEmpty else { throw SupportError("too many fields: \(answer)") }
    }

    private static func look(_ answer: RedisAnswer) throws -> Look {
        guard let parts = answer.elements, parts.count == 4, let rule = parts[0].text, let start = parts[1].integer,
            let used = parts[2].integer, let max = parts[3].integer
        else { throw SupportError("not an element of a trace: \(answer)") }
        return Look(rule: rule, windowStartMs: start, used: used, max: max)
    }
}

extension RedisClient {
    /// `CHECK` with these words.
    package func check(_ words: String...) throws -> CheckReply { try CheckReply(command(["CHECK"] + words)) }

    /// `PEEK` with these words.
    package func peek(_ words: String...) throws -> CheckReply { try CheckReply(command(["PEEK"] + words)) }

    /// One field of `INFO`.
    package func info(_ field: String) throws -> String? {
        try command(["INFO"]).text?.split(whereSeparator: \.isNewline).first { $0.hasPrefix("\(field):") }
            .map { String($0.dropFirst(field.count + 1)) }
    }
}
