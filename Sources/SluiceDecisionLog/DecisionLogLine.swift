package import NIOCore
package import SluiceProtocol

/// The lines of the decision log: one JSON object (RFC 8259) each, with a line feed. This file writes them, and
/// `DecisionLogReader` reads them.
///
/// - A decision has `time`, `door`, `action` (`check`, `peek`, `charge`, `refund`), `grant`, `tool`, what else the gateway said
///   (`server`, `session`, `attributes`, `cost` if it is not 1, `approved`, `reserve`, `id`), and the answer: `verdict`, `rule`, `source`, `used`, `max`,
///   `remaining`, `retry_after_ms`, each of the last four only where it is known; `reservation` if one was made. A check answered `BUSY`
///   has the verdict `busy`.
/// - A settlement has `time`, `door`, `action` (`commit`, `cancel`, `release`), `grant`, `reservation`, `cost`, and `done`.
/// - A clear by an operator has `time`, `door`, `action` (`clear`), `grant`, `tool` if it is of one, `cleared` (how many counters held
///   something) and `uid`.
/// - An override by an operator has `time`, `door`, `action` (`override`), `grant`, `rule`, `max` and `seconds` (neither if it was
///   ended), and `uid`.
/// - A line with `sample` begins each file and each process: 1 if every decision is logged, a larger number for one in so many of those
///   allowed, 0 for none of them. A line with `dropped` says how many lines are missing before it.
package enum DecisionLogLine {
    /// What a line says of its question or settlement.
    package enum Action: String, Sendable, CaseIterable {
        case check, peek, charge, refund, commit, cancel, release, clear, override
    }

    /// The verdict of a check that was answered `BUSY`: nothing was decided.
    package static let busy = "busy"

    /// The members of a question, after those of the line's head.
    package static func append(
        _ check: CheckRequest, _ action: Action, in input: ByteBuffer, to line: inout [UInt8]
    ) {
        let bytes = input.readableBytesUInt8Span
        append("action", action.rawValue, to: &line)
        append("grant", bytes, check.grant, to: &line)
        append("tool", bytes, check.tool, to: &line)
        if let server = check.server { append("server", bytes, server, to: &line) }
        if let session = check.session { append("session", bytes, session, to: &line) }
        if !check.attributes.isEmpty {
            line += #""attributes":{"#.utf8
            for attribute in check.attributes {
                appendText(bytes, attribute.name, to: &line)
                line.append(UInt8(ascii: ":"))
                appendText(bytes, attribute.value, to: &line)
                line.append(UInt8(ascii: ","))
            }
            line[line.count - 1] = UInt8(ascii: "}")
            line.append(UInt8(ascii: ","))
        }
        if check.cost != 1 { append("cost", check.cost, to: &line) }
        if check.approved { append("approved", true, to: &line) }
        if check.reserve { append("reserve", true, to: &line) }
        if let id = check.id { append("id", bytes, id, to: &line) }
    }

    /// The members of a settlement, except `done`.
    package static func append(_ request: SettleRequest, in input: ByteBuffer, to line: inout [UInt8]) {
        let bytes = input.readableBytesUInt8Span
        let action: Action =
            switch request.action {
            case .commit: .commit
            case .cancel: .cancel
            case .release: .release
            }
        append("action", action.rawValue, to: &line)
        append("grant", bytes, request.grant, to: &line)
        append("reservation", bytes, request.reservation, to: &line)
        if case .commit(let cost) = request.action { append("cost", cost, to: &line) }
    }

    /// The members of an operator's clear.
    package static func append(
        grant: String, tool: String?, cleared: Int, userID: UInt32, to line: inout [UInt8]
    ) {
        append("action", Action.clear.rawValue, to: &line)
        append("grant", grant, to: &line)
        if let tool { append("tool", tool, to: &line) }
        append("cleared", Int64(cleared), to: &line)
        append("uid", Int64(userID), to: &line)
    }

    /// The members of an operator's override.
    ///
    /// - Parameter max: nil if it was ended.
    package static func append(
        grant: String, rule: String, max: Int64?, seconds: Int64, userID: UInt32, to line: inout [UInt8]
    ) {
        append("action", Action.override.rawValue, to: &line)
        append("grant", grant, to: &line)
        append("rule", rule, to: &line)
        if let max {
            append("max", max, to: &line)
            append("seconds", seconds, to: &line)
        }
        append("uid", Int64(userID), to: &line)
    }

    // MARK: - Members, each with a comma behind it

    package static func append(_ name: StaticString, _ text: String, to line: inout [UInt8]) {
        appendName(name, to: &line)
        let bytes = Array(text.utf8)
        appendText(bytes.span, 0..<bytes.count, to: &line)
        line.append(UInt8(ascii: ","))
    }

    package static func append(_ name: StaticString, _ number: Int64, to line: inout [UInt8]) {
        appendName(name, to: &line)
        line += String(number).utf8
        line.append(UInt8(ascii: ","))
    }

    package static func append(_ name: StaticString, _ flag: Bool, to line: inout [UInt8]) {
        appendName(name, to: &line)
        line += (flag ? "true," : "false,").utf8
    }

    /// Ends a line whose last member has a comma behind it.
    package static func end(_ line: inout [UInt8]) {
        line[line.count - 1] = UInt8(ascii: "}")
        line.append(UInt8(ascii: "\n"))
    }

    private static func append(
        _ name: StaticString, _ bytes: Span<UInt8>, _ range: Range<Int>, to line: inout [UInt8]
    ) {
        appendName(name, to: &line)
        appendText(bytes, range, to: &line)
        line.append(UInt8(ascii: ","))
    }

    private static func appendName(_ name: StaticString, to line: inout [UInt8]) {
        line.append(UInt8(ascii: "\""))
        name.withUTF8Buffer { line.append(contentsOf: $0) }
        line.append(UInt8(ascii: "\""))
        line.append(UInt8(ascii: ":"))
    }

    /// A string in quotes. Control characters are escaped: the log may be read at a terminal.
    private static func appendText(_ bytes: Span<UInt8>, _ range: Range<Int>, to line: inout [UInt8]) {
        line.append(UInt8(ascii: "\""))
        for index in range {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                line.append(UInt8(ascii: "\\"))
                line.append(byte)
            case 0..<0x20, 0x7F:
                line += "\\u00".utf8
                line.append(Self.hexDigits[Int(byte >> 4)])
                line.append(Self.hexDigits[Int(byte & 0xF)])
            default: line.append(byte)
            }
        }
        line.append(UInt8(ascii: "\""))
    }

    private static let hexDigits = Array("0123456789abcdef".utf8)
}
