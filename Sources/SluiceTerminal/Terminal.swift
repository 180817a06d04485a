import Glibc

/// A terminal as a screen of its own: keys come at once and unseen, and what was shown before comes back at the end.
package final class Terminal: @unchecked Sendable {
    // `saved` is written before and after everything else, by one task.
    private let input: Int32
    private let output: Int32
    private var saved: termios?

    private init(input: Int32, output: Int32) {
        self.input = input
        self.output = output
    }

    /// The process' own; nil unless both standard input and output lead to one that knows how to move its cursor.
    package static func ofProcess(environment: [String: String]) -> Terminal? {
        guard let kind = environment["TERM"], !kind.isEmpty, kind != "dumb" else { return nil }
        guard Style.isTerminal(descriptor: STDIN_FILENO), Style.isTerminal(descriptor: STDOUT_FILENO) else {
            return nil
        }
        return Terminal(input: STDIN_FILENO, output: STDOUT_FILENO)
    }

    /// Columns and rows; nil if it does not say.
    package var size: (columns: Int, rows: Int)? {
        var size = winsize()
        guard ioctl(output, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return nil }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// Begins. Keys that would be signals (Ctrl-C) come as bytes, so that `leave` always follows.
    package func enter() {
        var mode = termios()
        guard saved == nil, tcgetattr(input, &mode) == 0 else { return }
        saved = mode
        cfmakeraw(&mode)
        tcsetattr(input, TCSAFLUSH, &mode)
        // The alternate screen, without a cursor, and without wrapped lines.
        write("\u{1B}[?1049h\u{1B}[?25l\u{1B}[?7l")
    }

    /// Ends: everything is as before `enter`. May be called twice.
    package func leave() {
        guard var mode = saved else { return }
        saved = nil
        write("\u{1B}[?7h\u{1B}[?25h\u{1B}[?1049l")
        tcsetattr(input, TCSAFLUSH, &mode)
    }

    /// Shows lines from the top; the rest of the screen becomes empty.
    package func show(_ lines: [String]) {
        // A line is cleared before it is written: behind its last column the cursor would still be on it.
        var text = lines.enumerated().map { "\u{1B}[\($0 + 1);1H\u{1B}[K\($1)" }.joined()
        if let size, lines.count < size.rows { text += "\u{1B}[\(lines.count + 1);1H\u{1B}[J" }
        write(text)
    }

    /// What was typed; empty at the end of the input. Waits for it.
    package func read() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = Glibc.read(input, &bytes, bytes.count)
        return count > 0 ? Array(bytes[..<count]) : []
    }

    /// Where `read` reads.
    package var inputDescriptor: Int32 { input }

    private func write(_ text: String) { StandardStream.write(text, to: output) }
}
