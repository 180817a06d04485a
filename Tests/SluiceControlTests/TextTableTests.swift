import SluiceTerminal
import Testing

@Suite struct TextTableTests {
    @Test func columnsAreAlignedAndNoLineEndsWithSpaces() {
        var table = TextTable([.init("tool"), .init("used", .right), .init("note")])
        table.append(["opencode_run", .init(7), ""])
        table.append(["x", .init(12345), "full"])
        #expect(
            table.render(.plain) == """
                tool           used  note
                opencode_run      7
                x             12345  full

                """)
    }

    @Test func anEmptyCellKeepsItsColumn() {
        var table = TextTable([.init("a"), .init("b", .right), .init("c")])
        table.append(["", "", "z"])
        table.append(["x", "yy", "z"])
        #expect(table.render(.plain) == "a   b  c\n       z\nx  yy  z\n")
    }

    @Test func wideAndCombiningCharactersTakeTheirColumns() {
        var table = TextTable([.init("grant"), .init("n", .right)])
        table.append(["日本語", .init(1)])
        table.append(["e\u{301}tude", .init(2)])
        table.append(["한국", .init(3)])
        table.append(["🚀", .init(4)])
        #expect(
            table.render(.plain) == """
                grant   n
                日本語  1
                e\u{301}tude   2
                한국    3
                🚀      4

                """)
    }

    @Test func whatWouldUpsetATerminalIsEscaped() {
        let table = TextTable(facts: [("grant", "a\u{1B}[31m\tb\n\u{202E}c\u{7F}"), ("😈", "\u{E0001}")])
        #expect(
            table.render(.plain) == "grant  a\\u001b[31m\\u0009b\\u000a\\u202ec\\u007f\n😈     \\udb40\\udc01\n")
    }

    @Test func coloursDoNotCountAsColumns() {
        let table = TextTable(facts: [("verdict", .init("allow", .good)), ("n", .init("1", .plain))])
        #expect(
            table.render(Style(isColoured: true))
                == "\u{1B}[2mverdict\u{1B}[0m  \u{1B}[32mallow\u{1B}[0m\n\u{1B}[2mn\u{1B}[0m        1\n")
    }
}

@Suite struct StyleTests {
    @Test(arguments: [
        (true, [:], true), (false, [:], false), (true, ["NO_COLOR": "1"], false), (true, ["NO_COLOR": ""], true),
        (true, ["TERM": "dumb"], false), (true, ["TERM": "xterm-256color"], true),
    ])
    func coloursAreForTerminalsWithoutNoColor(isTerminal: Bool, environment: [String: String], expected: Bool) {
        #expect(Style(isTerminal: isTerminal, environment: environment).isColoured == expected)
    }
}

@Suite struct DurationTextTests {
    @Test(arguments: [
        (0, "0ms"), (850, "850ms"), (999, "999ms"), (1_000, "1s"), (12_399, "12.3s"), (59_999, "59.9s"),
        (60_000, "1m"), (245_000, "4m 5s"), (3_600_000, "1h"), (3_605_000, "1h"), (7_380_000, "2h 3m"),
        (86_400_000, "1d"), (273_600_000, "3d 4h"), (-1_500, "-1.5s"),
    ])
    func format(milliseconds: Int64, expected: String) {
        #expect(DurationText.format(milliseconds: milliseconds) == expected)
    }

    @Test func theLongestIsFormattedToo() {
        #expect(DurationText.format(seconds: .max) == "106751991167d 7h")
        #expect(DurationText.format(milliseconds: .min) == "-106751991167d 7h")
        #expect(DurationText.format(.milliseconds(90_500)) == "1m 30s")
    }

    @Test(arguments: [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)])
    func parse(text: String, milliseconds: Int64) {
        #expect(DurationText.parse(text) == .milliseconds(milliseconds))
    }

    @Test(arguments: ["", "10", "s", "-1s", "+1s", "1.5s", "1 s", "1d", "1001h", "99999999999999999999s"])
    func refuse(text: String) {
        #expect(DurationText.parse(text) == nil)
    }
}
