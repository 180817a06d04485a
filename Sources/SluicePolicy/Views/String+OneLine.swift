/// Text from documents and callers is shown to people: it must not break a line, move a cursor or be invisible.
extension String {
    /// Most characters of a document's text in one fault.
    private static let maxShownScalars = 60

    /// The text with every character that is not plainly visible (controls, format marks such as those that change the
    /// direction of writing, line and paragraph separators) escaped as in JSON.
    package var onOneLine: String {
        if utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return self }
        var shown = ""
        for scalar in unicodeScalars {
            if scalar.isPlainlyVisible {
                shown.unicodeScalars.append(scalar)
            } else {
                for unit in UTF16.encode(scalar)! {
                    let digits = String(unit, radix: 16)
                    shown += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            }
        }
        return shown
    }

    /// The text on one line, cut to a length that suits a terminal.
    package var shortened: String { shown { String($0) } }

    /// The text as a JSON string, on one line and shortened.
    package var quoted: String {
        let text = shown { scalar in scalar == "\"" || scalar == "\\" ? "\\\(scalar)" : String(scalar) }
        return "\"\(text)\""
    }

    private func shown(_ escape: (Unicode.Scalar) -> String) -> String {
        let head = unicodeScalars.prefix(Self.maxShownScalars)
        return head.map(escape).joined().onOneLine + (head.endIndex == unicodeScalars.endIndex ? "" : "...")
    }

    /// Whether the text holds a control character or a line separator: unfit for a reply of one line.
    package var breaksItsLine: Bool {
        unicodeScalars.contains { scalar in
            switch scalar.properties.generalCategory {
            case .control, .lineSeparator, .paragraphSeparator: true
            default: false
            }
        }
    }
}

extension Unicode.Scalar {
    fileprivate var isPlainlyVisible: Bool {
        if isASCII { return value >= 0x20 && value != 0x7F }
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .privateUse: return false
        default: return true
        }
    }
}

extension String {
    /// Without line ends at its end: editors end a file with one, which is not part of a password in it.
    package func withoutFinalLineEnds() -> String {
        var text = self[...]
        while let last = text.last, last.isNewline { text.removeLast() }
        return String(text)
    }
}
