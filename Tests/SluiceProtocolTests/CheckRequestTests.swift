import NIOCore
import SluiceProtocol
import Testing

@Suite struct CheckRequestTests {
    private func check(_ words: String...) throws -> (CheckRequest, (Range<Int>?) -> String?) {
        let (request, buffer) = try parsed(frame(words.map { Array($0.utf8) }))
        guard case .check(let check) = request else { throw NoFrame() }
        return (check, { $0.map(buffer.string(ofArgument:)) })
    }

    @Test func theShortestCheck() throws {
        let (check, text) = try check("CHECK", "alice-laptop", "opencode_run")
        #expect(text(check.grant) == "alice-laptop")
        #expect(text(check.tool) == "opencode_run")
        #expect(check.cost == 1)
        #expect(check.server == nil && check.session == nil && check.id == nil && check.attributes.isEmpty)
        #expect(!check.reserve && !check.approved && !check.trace && !check.isPeek)
    }

    @Test func everyOptionInAnyOrderAndCase() throws {
        let (check, text) = try check(
            "ChEcK", "g", "t", "trace", "ID", "k-1", "attr", "team", "red", "APPROVED", "Session", "s1", "Attr",
            "region", "eu", "reserve", "SERVER", "srv", "cost", "1000000000000")
        #expect(check.cost == ProtocolBounds.maxCost)
        #expect(text(check.server) == "srv")
        #expect(text(check.session) == "s1")
        #expect(text(check.id) == "k-1")
        #expect(check.attributes.map { [text($0.name), text($0.value)] } == [["team", "red"], ["region", "eu"]])
        #expect(check.reserve && check.approved && check.trace && !check.isPeek)
    }

    @Test func peek() throws {
        let (check, text) = try check("peek", "g", "t", "COST", "2", "SESSION", "s", "APPROVED", "TRACE")
        #expect(check.isPeek && check.cost == 2 && check.approved && check.trace)
        #expect(text(check.session) == "s")
    }

    @Test(arguments: [
        "é", "日本語の名前", "🙂 smile", "a/b{c}", "x", String(repeating: "n", count: 256), "1234567", "12345678", "123456789",
    ])
    func goodNames(_ name: String) throws {
        let (check, text) = try check("CHECK", name, "t", "SERVER", name, "ATTR", name, name)
        #expect(text(check.grant) == name)
        #expect(text(check.server) == name)
    }

    /// At every place of a name, so that each way to look at the bytes finds it; also where nothing follows the frame.
    @Test(arguments: [1, 2, 7, 8, 9, 15, 16, 17, 31, 256]) func aBadByteIsFoundEverywhere(_ length: Int) throws {
        for index in 0..<length {
            for (byte, fault) in [(UInt8(0), "has a NUL byte, send text without it"), (0xff, notUTF8), (0xc3, notUTF8)]
            {
                var name = [UInt8](repeating: 0x61, count: length)
                name[index] = byte
                for words in [["CHECK", "%", "t"], ["CHECK", "g", "%"]] {
                    let bytes = frame(words.map { $0 == "%" ? name : Array($0.utf8) })
                    let what = words[1] == "%" ? "grant" : "tool"
                    #expect(throws: RequestError(.badArgument, "the \(what) \(fault)")) { try parsed(bytes) }
                }
            }
        }
    }

    private let notUTF8 = "is not valid UTF-8, send text in UTF-8"

    @Test(
        arguments: [
            [0xc0, 0x80], [0xc1, 0xbf], [0xe0, 0x9f, 0x80], [0xed, 0xa0, 0x80], [0xf0, 0x8f, 0x80, 0x80],
            [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0x80], [0xe2, 0x82], [0xf0, 0x9f, 0x99], [0xc3, 0x28],
        ] as [[UInt8]]) func malformedUTF8(_ name: [UInt8])
    {
        #expect(throws: RequestError(.badArgument, "the grant is not valid UTF-8, send text in UTF-8")) {
            try parsed(frame([Array("CHECK".utf8), name, Array("t".utf8)]))
        }
    }

    static let long = String(repeating: "n", count: 257)
    static let usage =
        "CHECK <grant> <tool> [COST n] [SERVER server] [SESSION session] [ATTR name value]... [RESERVE] [ID key] "
        + "[APPROVED] [TRACE]"

    static let faults: [(words: [String], reply: String)] = [
        (["CHECK"], "-ERR wrong number of arguments for 'check' command, send \(usage)\r\n"),
        (["check", "g"], "-ERR wrong number of arguments for 'check' command, send \(usage)\r\n"),
        (
            ["PEEK", "g"],
            "-ERR wrong number of arguments for 'peek' command, send PEEK <grant> <tool> [COST n] [SERVER server] "
                + "[SESSION session] [ATTR name value]... [APPROVED] [TRACE]\r\n"
        ),
        (["CHECK", "", "t"], "-BADARG the grant is empty, send 1 to 256 bytes\r\n"),
        (["CHECK", "g", ""], "-BADARG the tool is empty, send 1 to 256 bytes\r\n"),
        (["CHECK", long, "t"], "-BADARG the grant has 257 bytes, send 1 to 256 bytes\r\n"),
        (["CHECK", "g", "t", "SERVER", ""], "-BADARG SERVER is empty, send 1 to 256 bytes\r\n"),
        (["CHECK", "g", "t", "SESSION", long], "-BADARG SESSION has 257 bytes, send 1 to 256 bytes\r\n"),
        (["CHECK", "g", "t", "ID", "a\0"], "-BADARG ID has a NUL byte, send text without it\r\n"),
        (["CHECK", "g", "t", "ATTR", "", "v"], "-BADARG the name of ATTR is empty, send 1 to 256 bytes\r\n"),
        (["CHECK", "g", "t", "ATTR", "n", ""], "-BADARG the value of ATTR is empty, send 1 to 256 bytes\r\n"),
        (
            ["CHECK", "g", "t", "COST", "0", "RESERVE"],
            "-BADARG COST 0 takes no RESERVE and no ID, since it charges nothing, send COST 1 or more or leave them out\r\n"
        ),
        (
            ["CHECK", "g", "t", "ID", "x", "COST", "0"],
            "-BADARG COST 0 takes no RESERVE and no ID, since it charges nothing, send COST 1 or more or leave them out\r\n"
        ),
        (["CHECK", "g", "t", "COST", "-1"], cost("-1")),
        (["CHECK", "g", "t", "COST", "+1"], cost("+1")),
        (["CHECK", "g", "t", "COST", "1.5"], cost("1.5")),
        (["CHECK", "g", "t", "COST", "a\r\nb"], cost("a??b")),
        (["CHECK", "g", "t", "COST", ""], cost("")),
        (["CHECK", "g", "t", "COST", "1000000000001"], cost("1000000000001")),
        (["CHECK", "g", "t", "COST", "18446744073709551617"], cost("18446744073709551617")),
        (["CHECK", "g", "t", "COST"], "-BADARG COST has no value, send COST n\r\n"),
        (["CHECK", "g", "t", "SERVER"], "-BADARG SERVER has no value, send SERVER name\r\n"),
        (["CHECK", "g", "t", "SESSION"], "-BADARG SESSION has no value, send SESSION name\r\n"),
        (["CHECK", "g", "t", "ID"], "-BADARG ID has no value, send ID key\r\n"),
        (["CHECK", "g", "t", "ATTR", "n"], "-BADARG ATTR has no value, send ATTR name value\r\n"),
        (["CHECK", "g", "t", "COST", "1", "cost", "1"], "-BADARG COST is given twice, send it once\r\n"),
        (["CHECK", "g", "t", "TRACE", "TRACE"], "-BADARG TRACE is given twice, send it once\r\n"),
        (["CHECK", "g", "t", "RESERVE", "RESERVE"], "-BADARG RESERVE is given twice, send it once\r\n"),
        (["CHECK", "g", "t", "APPROVED", "APPROVED"], "-BADARG APPROVED is given twice, send it once\r\n"),
        (["CHECK", "g", "t", "SERVER", "a", "SERVER", "a"], "-BADARG SERVER is given twice, send it once\r\n"),
        (["CHECK", "g", "t", "SESSION", "a", "SESSION", "a"], "-BADARG SESSION is given twice, send it once\r\n"),
        (["CHECK", "g", "t", "ID", "a", "ID", "a"], "-BADARG ID is given twice, send it once\r\n"),
        (
            ["CHECK", "g", "t", "ATTR", "n", "1", "ATTR", "n", "2"],
            "-BADARG ATTR 'n' is given twice, send each attribute once\r\n"
        ),
        (
            ["CHECK", "g", "t"] + (0..<17).flatMap { ["ATTR", "n\($0)", "v"] },
            "-BADARG ATTR is given too often, send at most 16 attributes\r\n"
        ),
        (
            ["CHECK", "g", "t", "NOPE"],
            "-BADARG unknown option 'NOPE', send COST, SERVER, SESSION, ATTR, RESERVE, ID, APPROVED or TRACE\r\n"
        ),
        (
            ["CHECK", "g", "t", String(repeating: "y", count: 70)],
            "-BADARG unknown option '\(String(repeating: "y", count: 64))...', send COST, SERVER, SESSION, ATTR, RESERVE, "
                + "ID, APPROVED or TRACE\r\n"
        ),
        (
            ["PEEK", "g", "t", ""],
            "-BADARG unknown option '', send COST, SERVER, SESSION, ATTR, APPROVED or TRACE\r\n"
        ),
        (
            ["PEEK", "g", "t", "RESERVE"],
            "-BADARG PEEK takes no RESERVE, since it charges nothing, send CHECK or leave RESERVE out\r\n"
        ),
        (
            ["PEEK", "g", "t", "ID", "x"],
            "-BADARG PEEK takes no ID, since it charges nothing, send CHECK or leave ID out\r\n"
        ),
    ]

    private static func cost(_ word: String) -> String {
        "-BADARG COST is '\(word)', send a whole number from 0 to 1000000000000\r\n"
    }

    @Test(arguments: faults) func refusesWrongArguments(_ fault: (words: [String], reply: String)) throws {
        let error = try #require(throws: RequestError.self) { try parsed(frame(fault.words.map { Array($0.utf8) })) }
        #expect(written { $0.writeError(error, to: &$1) } == fault.reply)
    }
}
