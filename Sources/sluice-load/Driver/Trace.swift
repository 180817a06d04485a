/// Checks with their times, recorded or for a replay: one a line, `ms grant tool`, followed in any order by `cost n`,
/// `session name` and `reserve`. Times count from the first line's clock and need not ascend.
///
///     0.000 alice-laptop opencode_run
///     12.375 bob opencode_run cost 5 session s-1
///
/// In names, spaces, `%`, `#` and characters that are not printable ASCII are written as `%` and two hexadecimal
/// digits. Empty lines and lines that begin with `#` are ignored.
struct Trace: Sendable, Equatable {
    struct Entry: Sendable, Equatable {
        /// From the start of the trace.
        var atNs: Int64
        var target: CheckTarget
    }

    /// By time.
    private(set) var entries: [Entry] = []
    private(set) var grants: [String] = []
    /// Empty if no check has a session; otherwise the empty one stands for none.
    private(set) var sessions: [String] = []
    private(set) var kinds: [CheckKind] = []

    var durationNs: Int64 { entries.last?.atNs ?? 0 }

    // MARK: - Reading

    init(text: String) throws(LineFault) {
        var grantNumbers: [String: UInt32] = [:]
        var sessionNumbers: [String: UInt32] = [:]
        var kindNumbers: [CheckKind: UInt16] = [:]
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard let first = words.first, !first.hasPrefix("#") else { continue }
            let check = try Self.check(words, line: index + 1)
            guard entries.count < LoadBounds.maxTraceChecks else {
                throw LineFault(line: index + 1, problem: "there are more than \(LoadBounds.maxTraceChecks) checks")
            }
            let kind = kindNumbers[check.kind] ?? UInt16(kinds.count)
            if kindNumbers.updateValue(kind, forKey: check.kind) == nil { kinds.append(check.kind) }
            guard kinds.count <= LoadBounds.maxKinds else {
                throw LineFault(
                    line: index + 1,
                    problem: "there are more than \(LoadBounds.maxKinds) kinds of checks (by tool, cost and reserve)")
            }
            let target = CheckTarget(
                grant: Self.number(check.grant, &grantNumbers, &grants),
                session: Self.number(check.session, &sessionNumbers, &sessions), kind: kind)
            entries.append(Entry(atNs: check.atNs, target: target))
        }
        if sessions == [""] { sessions = [] }
        entries.sort { $0.atNs < $1.atNs }
    }

    private struct Check {
        var atNs: Int64
        var grant: String
        var session = ""
        var kind: CheckKind
    }

    private static func check(_ words: [Substring], line: Int) throws(LineFault) -> Check {
        func fault(_ problem: String) -> LineFault { LineFault(line: line, problem: problem) }
        guard words.count >= 3, let ms = Double(words[0]), ms >= 0, ms <= Double(LoadBounds.maxSeconds) * 1e3 else {
            throw fault("expected ms grant tool, such as '12.375 alice opencode_run cost 5'")
        }
        func name(_ word: Substring) throws(LineFault) -> String {
            guard let name = decoded(word), (1...LoadBounds.maxNameBytes).contains(name.utf8.count) else {
                throw fault("'\(word)' is no name of 1 to \(LoadBounds.maxNameBytes) bytes")
            }
            return name
        }
        var check = Check(
            atNs: Int64(ms * 1e6), grant: try name(words[1]), kind: CheckKind(tool: try name(words[2]), cost: 1))
        var index = 3
        while index < words.count {
            switch (words[index], index + 1 < words.count ? words[index + 1] : nil) {
            case ("reserve", _):
                check.kind.reserves = true
                index += 1
            case ("cost", let value?):
                guard let cost = Int64(value), (1...LoadBounds.maxCost).contains(cost) else {
                    throw fault("cost is '\(value)', expected 1 to \(LoadBounds.maxCost)")
                }
                check.kind.cost = cost
                index += 2
            case ("session", let value?):
                check.session = try name(value)
                index += 2
            default: throw fault("'\(words[index])' is not known here, expected cost n, session name or reserve")
            }
        }
        check.kind.hasSession = !check.session.isEmpty
        return check
    }

    /// The number of a name, assigned at its first use.
    private static func number(
        _ name: String, _ numbers: inout [String: UInt32], _ names: inout [String]
    ) -> UInt32 {
        if let number = numbers[name] { return number }
        let number = UInt32(names.count)
        numbers[name] = number
        names.append(name)
        return number
    }

    // MARK: - Writing

    /// The lines of checks that a run with these settings sent.
    /// - Parameter entries: with times that count from the start, in any order.
    static func text(of entries: [Entry], _ settings: LoadSettings) -> String {
        var text = "# ms grant tool [cost n] [session name] [reserve]\n"
        for entry in entries.sorted(by: { $0.atNs < $1.atNs }) {
            let kind = settings.kinds[Int(entry.target.kind)]
            text += "\(Format.decimal(Double(entry.atNs) / 1e6, places: 3)) "
            text += "\(encoded(settings.grantName(Int(entry.target.grant)))) \(encoded(kind.tool))"
            if kind.cost != 1 { text += " cost \(kind.cost)" }
            if settings.sessionCount > 0, kind.hasSession {
                text += " session \(encoded(settings.sessionName(Int(entry.target.session))))"
            }
            text += kind.reserves ? " reserve\n" : "\n"
        }
        return text
    }

    private static func encoded(_ name: String) -> String {
        var encoded = ""
        for byte in name.utf8 {
            if (0x21...0x7e).contains(byte), byte != UInt8(ascii: "%"), byte != UInt8(ascii: "#") {
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                encoded += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
        return encoded
    }

    private static func decoded(_ word: Substring) -> String? {
        guard word.utf8.contains(UInt8(ascii: "%")) else { return String(word) }
        var bytes: [UInt8] = []
        var rest = word.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, let value = UInt8(Substring(digits), radix: 16), value != 0 else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
