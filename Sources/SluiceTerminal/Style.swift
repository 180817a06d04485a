import Glibc

/// Whether text may be coloured, and how.
package struct Style: Sendable, Equatable {
    /// What a text says, for which there is a colour.
    package enum Tone: Sendable, Equatable {
        case plain
        /// All is well.
        case good
        /// Worth a look.
        case caution
        case bad
        /// Less important than what stands beside it.
        case faint
        case strong
    }

    package let isColoured: Bool

    package static let plain = Style(isColoured: false)

    package init(isColoured: Bool) {
        self.isColoured = isColoured
    }

    /// Colours are for terminals that know them, unless the environment has `NO_COLOR` (no-color.org).
    package init(isTerminal: Bool, environment: [String: String]) {
        let isUnwanted = environment["NO_COLOR"].map { !$0.isEmpty } ?? false
        isColoured = isTerminal && !isUnwanted && environment["TERM"] != "dumb"
    }

    package func apply(_ tone: Tone, to text: String) -> String {
        guard isColoured, !text.isEmpty, let code = Self.code(tone) else { return text }
        return "\u{1B}[\(code)m\(text)\u{1B}[0m"
    }

    /// Whether a file descriptor leads to a terminal.
    package static func isTerminal(descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// The parameters of ECMA-48's SGR; the terminal's own palette, so that it is readable on dark and light.
    private static func code(_ tone: Tone) -> String? {
        switch tone {
        case .plain: nil
        case .good: "32"
        case .caution: "33"
        case .bad: "31"
        case .faint: "2"
        case .strong: "1"
        }
    }
}
