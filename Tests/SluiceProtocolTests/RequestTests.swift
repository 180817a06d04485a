import NIOCore
import SluiceProtocol
import Testing

/// Commands other than checks.
@Suite struct RequestTests {
    @Test func reservations() throws {
        let (request, buffer) = try parsed(frame("commit", "alice", "f00d", "7"))
        guard case .settle(let commit) = request else { throw NoFrame() }
        #expect(commit.action == .commit(cost: 7))
        #expect(buffer.string(ofArgument: commit.grant) == "alice")
        #expect(buffer.string(ofArgument: commit.reservation) == "f00d")
        guard case .settle(let cancel) = try parsed("CANCEL", "alice", "f00d") else { throw NoFrame() }
        #expect(cancel.action == .cancel)
        guard case .settle(let release) = try parsed("RELEASE", "alice", "f00d") else { throw NoFrame() }
        #expect(release.action == .release)
    }

    @Test func throttle() throws {
        let (request, buffer) = try parsed(frame("cl.throttle", "user:1", "15", "30", "60"))
        guard case .throttle(let throttle) = request else { throw NoFrame() }
        #expect(buffer.string(ofArgument: throttle.key) == "user:1")
        #expect(
            [throttle.maxBurst, throttle.countPerPeriod, throttle.periodSeconds, throttle.quantity] == [15, 30, 60, 1])
        guard case .throttle(let other) = try parsed("CL.THROTTLE", "k", "0", "1", "1", "0") else { throw NoFrame() }
        #expect(other.quantity == 0)
    }

    @Test func operators() throws {
        var counters = CountersRequest()
        #expect(counters.limit == 100)
        #expect(try parsed("COUNTERS") == .operators(.counters(counters)))
        (counters.grant, counters.tool, counters.limit) = ("g", "t", 10_000)
        #expect(
            try parsed("counters", "limit", "10000", "TOOL", "t", "grant", "g") == .operators(.counters(counters)))
        (counters.isAtLimit, counters.order, counters.cursor) = (true, .remaining, "0.s7.a")
        #expect(
            try parsed(
                "COUNTERS", "ATLIMIT", "CURSOR", "0.s7.a", "Sort", "Remaining", "limit", "10000", "TOOL", "t", "grant",
                "g") == .operators(.counters(counters)))
        var tail = TailRequest()
        #expect(try parsed("TAIL") == .operators(.tail(tail)))
        (tail.deniedOnly, tail.grant, tail.tool) = (true, "a*", "denied")
        #expect(try parsed("tail", "tool", "denied", "Denied", "GRANT", "a*") == .operators(.tail(tail)))
        #expect(try parsed("INFO") == .operators(.info(sections: [])))
        #expect(try parsed("INFO", "Server", "all") == .operators(.info(sections: ["server", "all"])))
        #expect(try parsed("POLICY", "SHOW", "Alice") == .operators(.policy(["SHOW", "Alice"])))
        guard case .explain(let check) = try parsed("EXPLAIN", "g", "t", "COST", "3") else {
            throw RequestError(.error, "not EXPLAIN")
        }
        #expect(check.isPeek && check.cost == 3)
        #expect(try parsed("CLEAR", "é") == .operators(.clear(ClearRequest(grant: "é"))))
        #expect(
            try parsed("CLEAR", "g", "t", "DRYRUN")
                == .operators(.clear(ClearRequest(grant: "g", tool: "t", isDryRun: true))))
        #expect(
            try parsed("CLEAR", "g", "CURSOR", "0.s1") == .operators(.clear(ClearRequest(grant: "g", cursor: "0.s1"))))
        #expect(
            try parsed("CLEAR", "g", "t", "cursor", "0.s1")
                == .operators(.clear(ClearRequest(grant: "g", tool: "t", cursor: "0.s1"))))
        #expect(try parsed("OVERRIDE") == .operators(.override(.list(grant: nil))))
        #expect(try parsed("OVERRIDE", "g") == .operators(.override(.list(grant: "g"))))
        #expect(
            try parsed("override", "g", "/r", "50", "3600", "dryrun")
                == .operators(.override(.change(grant: "g", rule: "/r", max: 50, seconds: 3_600, isDryRun: true))))
        #expect(
            try parsed("OVERRIDE", "g", "/r", "off")
                == .operators(.override(.change(grant: "g", rule: "/r", max: nil, seconds: 0, isDryRun: false))))
    }

    @Test func connections() throws {
        #expect(try parsed("HELLO") == .connection(.hello(version: nil, name: nil)))
        #expect(
            try parsed("HELLO", "3", "auth", "u", "p", "SetName", "me")
                == .connection(.hello(version: .resp3, name: "me")))
        #expect(try parsed("AUTH", "secret") == .connection(.auth))
        #expect(try parsed("AUTH", "user", "secret") == .connection(.auth))
        #expect(try parsed("SELECT", "0") == .connection(.select(namesFields: false)))
        #expect(try parsed("SELECT", "1") == .connection(.select(namesFields: true)))
        #expect(try parsed("multi") == .connection(.multi))
        #expect(try parsed("EXEC") == .connection(.exec))
        #expect(try parsed("DISCARD") == .connection(.discard))
        #expect(try parsed("QUIT") == .connection(.quit))
        #expect(try parsed("RESET") == .connection(.reset))
    }

    static let faults: [(words: [String], reply: String)] = [
        (
            ["get", "x"],
            "-ERR unknown command 'get', send one of CHECK, PEEK, COMMIT, CANCEL, RELEASE, CHARGE, REFUND, CL.THROTTLE, COUNTERS, TAIL, CLEAR, OVERRIDE, "
                + "EXPLAIN, POLICY, INFO, PING, ECHO, HELLO, AUTH, SELECT, CLIENT, COMMAND, CONFIG, MULTI, EXEC, DISCARD, RESET, QUIT\r\n"
        ),
        (
            ["commit", "g", "r"],
            "-ERR wrong number of arguments for 'commit' command, send COMMIT <grant> <reservation> <n>\r\n"
        ),
        (
            ["CANCEL", "g", "r", "1"],
            "-ERR wrong number of arguments for 'cancel' command, send CANCEL <grant> <reservation>\r\n"
        ),
        (["COMMIT", "g", "r", "x"], "-BADARG the cost is 'x', send a whole number from 0 to 1000000000000\r\n"),
        (["COMMIT", "", "r", "1"], "-BADARG the grant is empty, send 1 to 256 bytes\r\n"),
        (["RELEASE", "g", ""], "-BADARG the reservation is empty, send 1 to 256 bytes\r\n"),
        (
            ["CL.THROTTLE", "k", "1", "2"],
            "-ERR wrong number of arguments for 'cl.throttle' command, send CL.THROTTLE <key> <max_burst> "
                + "<count_per_period> <period> [quantity]\r\n"
        ),
        (
            ["CL.THROTTLE", "k", "1", "0", "2"],
            "-BADARG count_per_period is '0', send a whole number from 1 to 1000000000000\r\n"
        ),
        (["COUNTERS", "x"], "-BADARG unknown option 'x', send GRANT, TOOL, ATLIMIT, SORT, LIMIT or CURSOR\r\n"),
        (["COUNTERS", "SORT", "x"], "-BADARG SORT is 'x', send USED, REMAINING or GRANT\r\n"),
        (["COUNTERS", "ATLIMIT", "ATLIMIT"], "-BADARG ATLIMIT is given twice, send it once\r\n"),
        (["COUNTERS", "grant"], "-BADARG GRANT has no value, send GRANT and a value\r\n"),
        (["COUNTERS", "TOOL", "a", "TOOL", "b"], "-BADARG TOOL is given twice, send it once\r\n"),
        (["TAIL", "x"], "-BADARG unknown option 'x', send DENIED, GRANT or TOOL\r\n"),
        (["TAIL", "DENIED", "denied"], "-BADARG DENIED is given twice, send it once\r\n"),
        (["TAIL", "TOOL", ""], "-BADARG TOOL is empty, send 1 to 256 bytes\r\n"),
        (["COUNTERS", "LIMIT", "0"], "-BADARG LIMIT is '0', send a whole number from 1 to 10000\r\n"),
        (["COUNTERS", "LIMIT", "10001"], "-BADARG LIMIT is '10001', send a whole number from 1 to 10000\r\n"),
        (["PING", "a", "b"], "-ERR wrong number of arguments for 'ping' command, send PING [message]\r\n"),
        (["ECHO"], "-ERR wrong number of arguments for 'echo' command, send ECHO <message>\r\n"),
        (["HELLO", "4"], "-NOPROTO unsupported protocol version, send HELLO 2 or HELLO 3\r\n"),
        (
            ["HELLO", "x"],
            "-ERR Protocol version is not an integer or out of range, send HELLO 2 or HELLO 3\r\n"
        ),
        (
            ["HELLO", "3", "AUTH", "u"],
            "-ERR Syntax error in HELLO option 'AUTH', send AUTH user password or SETNAME name\r\n"
        ),
        (["SELECT", "2"], "-ERR DB index is out of range, send SELECT 0, or 1 for replies with names\r\n"),
        (["SELECT", "x"], "-ERR DB index is out of range, send SELECT 0, or 1 for replies with names\r\n"),
        (
            ["CLIENT", "KILL"],
            "-ERR unknown subcommand or wrong number of arguments for 'KILL', send CLIENT ID, GETNAME, SETNAME name, "
                + "SETINFO key value, INFO, LIST, NO-EVICT on, NO-TOUCH on or CAPA name\r\n"
        ),
        (
            ["CLIENT", "SETNAME", "a b"],
            "-ERR Client names cannot contain spaces, newlines or special characters, send printable ASCII\r\n"
        ),
        (
            ["CONFIG", "SET", "save", ""],
            "-ERR unknown subcommand or wrong number of arguments for 'SET', send CONFIG GET pattern, settings are sluiced's "
                + "own flags\r\n"
        ),
        (
            ["COMMAND", "NOPE"],
            "-ERR unknown subcommand or wrong number of arguments for 'NOPE', send COMMAND COUNT, LIST, INFO, DOCS or "
                + "GETKEYS command arguments\r\n"
        ),
        (
            ["COMMAND", "GETKEYS", "PING"],
            "-ERR The command has no key arguments, send one that takes a grant\r\n"
        ),
        (
            ["COMMAND", "GETKEYS", "get", "x"],
            "-ERR Invalid command specified, send a command that COMMAND LIST names\r\n"
        ),
        (
            ["COMMAND", "GETKEYS", "cancel", "x"],
            "-ERR Invalid number of arguments specified for command, send CANCEL <grant> <reservation>\r\n"
        ),
    ]

    @Test(arguments: faults) func refuses(_ fault: (words: [String], reply: String)) throws {
        let error = try #require(throws: RequestError.self) { try parsed(frame(fault.words.map { Array($0.utf8) })) }
        #expect(written { $0.writeError(error, to: &$1) } == fault.reply)
    }

    @Test func textThatIsNotUTF8IsRefused() {
        #expect(throws: RequestError(.badArgument, "argument '??' is not valid UTF-8, send text in UTF-8")) {
            try parsed(frame([Array("POLICY".utf8), [0xff, 0xfe]]))
        }
    }

    @Test func anUnknownCommandIsQuotedHarmlessly() throws {
        let error = try #require(throws: RequestError.self) { try parsed(frame([[0x1b, 0x0d, 0x0a, 0xff, 0x41]])) }
        #expect(error.sentence.hasPrefix("unknown command '????A', send one of CHECK"))
    }
}
