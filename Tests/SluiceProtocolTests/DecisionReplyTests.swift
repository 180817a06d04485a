import NIOCore
import SluiceProtocol
import Testing

@Suite struct DecisionReplyTests {
    static let fields = DecisionFields(
        allowed: false, limit: 100, remaining: 0, retryAfterMs: 1500, resetMs: 51_000, verdict: .limit,
        rule: "/tools/x/limits/rate", source: .cache, message: "Too many.", waitMs: 1500, reservation: "",
        trace: [
            TraceEntry(rule: "/tools/x/limits/rate", windowStartMs: 1_785_000_000_000, used: 100, max: 100),
            TraceEntry(rule: "/all_tools/limits/all", windowStartMs: 0, used: 1, max: 1_000_000_000_000),
        ])
    static let traced2 = written(.resp2) { $0.writeDecision(fields, to: &$1) }
    static let traced3 = written(.resp3) { $0.writeDecision(fields, to: &$1) }

    private func decision(_ text: String) throws -> DecisionReply {
        guard case .decision(let reply) = try DecisionReply.read(ByteBuffer(string: text)) else { throw NoFrame() }
        return reply
    }

    @Test(arguments: [traced2, traced3]) func readsEveryField(_ text: String) throws {
        // Bytes before the reader index do not matter, nor do those of the next reply.
        var buffer = ByteBuffer(string: "+OK\r\n" + text + ":1\r\n")
        buffer.moveReaderIndex(forwardBy: 5)
        guard case .decision(let reply) = try DecisionReply.read(buffer) else { throw NoFrame() }
        #expect(reply.allowed == false)
        #expect([reply.limit, reply.remaining, reply.retryAfterMs, reply.resetMs] == [100, 0, 1500, 51_000])
        #expect(reply.verdict == .limit)
        #expect(reply.source == .cache)
        #expect(buffer.string(ofArgument: reply.rule) == "/tools/x/limits/rate")
        #expect(buffer.string(ofArgument: reply.message) == "Too many. Try again in 2 seconds.")
        #expect(reply.reservation?.isEmpty == true)
        #expect(reply.trace == Self.fields.trace)
        #expect(reply.byteCount == text.utf8.count)
    }

    @Test(arguments: [traced2, traced3]) func waitsForTheLastByte(_ text: String) throws {
        for length in 0..<text.utf8.count {
            #expect(try DecisionReply.read(ByteBuffer(bytes: text.utf8.prefix(length))) == .incomplete)
        }
    }

    @Test(arguments: [RESPVersion.resp2, .resp3]) func everyVerdictAndSource(_ version: RESPVersion) throws {
        for verdict in ReplyVerdict.allCases {
            for source in ReplySource.allCases {
                let fields = DecisionFields(allowed: true, verdict: verdict, rule: "r", source: source)
                let reply = try decision(written(version) { $0.writeDecision(fields, to: &$1) })
                #expect(reply.allowed)
                #expect(reply.verdict == verdict)
                #expect(reply.source == source)
                #expect(reply.reservation == nil && reply.trace == nil)
            }
        }
    }

    @Test func passesOverWhatItDoesNotKnow() throws {
        let array = Self.traced2.replacing("*11\r\n", with: "*13\r\n") + ":5\r\n%1\r\n+a\r\n*1\r\n$1\r\nx\r\n"
        #expect(try decision(array).trace == Self.fields.trace)
        #expect(try decision(array).byteCount == array.utf8.count)
        let map = "%12\r\n$3\r\nnew\r\n*2\r\n:1\r\n#t\r\n" + String(Self.traced3.utf8.dropFirst(5))!
        #expect(try decision(map).limit == 100)
        #expect(try decision(map).byteCount == map.utf8.count)
    }

    @Test func errorsAreReadToo() throws {
        let buffer = ByteBuffer(string: "-BUSY too many checks are waiting\r\n")
        guard case .error(let text, let byteCount) = try DecisionReply.read(buffer) else { throw NoFrame() }
        #expect(buffer.string(ofArgument: text) == "BUSY too many checks are waiting")
        #expect(byteCount == buffer.readableBytes)
    }

    @Test(arguments: [
        ("+OK\r\n", ReplyError.malformed("expected a decision or an error")),
        ("*8\r\n", .malformed("expected at least nine elements")),
        ("%8\r\n", .malformed("expected at least nine fields")),
        ("*9\r\n$1\r\n1\r\n", .malformed("expected an element of another type")),
        ("%9\r\n" + String(repeating: "$1\r\nx\r\n:1\r\n", count: 9), .malformed("expected each of the nine fields")),
        ("*9\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n$5\r\nmaybe\r\n", .malformed("expected a verdict")),
        ("*9\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n$-2\r\n", .malformed("expected a number of bytes from 0 up")),
    ]) func refuses(_ text: String, _ error: ReplyError) {
        #expect(throws: error) { try DecisionReply.read(ByteBuffer(string: text)) }
    }
}
