import NIOCore
import SluiceProtocol
import Testing

@testable import SluiceClient

@Suite struct ReplyParserTests {
    static let samples: [(text: String, value: Reply)] = [
        ("+OK\r\n", .string("OK")),
        ("-BADARG COST is 'x', send n\r\n", .error(code: "BADARG", message: "COST is 'x', send n")),
        ("-\r\n", .error(code: "", message: "")),
        (":0\r\n", .integer(0)),
        (":-9223372036854775808\r\n", .integer(.min)),
        (":9223372036854775807\r\n", .integer(.max)),
        ("$5\r\na\r\nbc\r\n", .string("a\r\nbc")),
        ("$0\r\n\r\n", .string("")),
        ("$-1\r\n", .null),
        ("*-1\r\n", .null),
        ("_\r\n", .null),
        ("#t\r\n", .boolean(true)),
        ("#f\r\n", .boolean(false)),
        (",1.5\r\n", .double(1.5)),
        (",-inf\r\n", .double(-.infinity)),
        ("(3492890328409238509324850943850943825024385\r\n", .string("3492890328409238509324850943850943825024385")),
        ("!7\r\nERR bad\r\n", .error(code: "ERR", message: "bad")),
        ("=7\r\ntxt:abc\r\n", .string("abc")),
        ("*0\r\n", .array([])),
        ("*2\r\n*1\r\n:1\r\n*0\r\n", .array([.array([.integer(1)]), .array([])])),
        ("~2\r\n+a\r\n+b\r\n", .array([.string("a"), .string("b")])),
        ("%1\r\n+a\r\n*1\r\n:1\r\n", .map([.init(key: .string("a"), value: .array([.integer(1)]))])),
        ("%0\r\n", .map([])),
        (">1\r\n+hi\r\n>0\r\n+OK\r\n", .string("OK")),
        ("*1\r\n>1\r\n+hi\r\n", .array([.array([.string("hi")])])),
        ("|1\r\n+ttl\r\n:1\r\n*1\r\n|0\r\n:5\r\n", .array([.integer(5)])),
    ]

    @Test(arguments: samples) func readsValues(_ sample: (text: String, value: Reply)) throws {
        let bytes = Array((sample.text + ":42\r\n").utf8)
        for split in 0..<bytes.count {
            var parser = ReplyParser()
            var buffer = ByteBuffer(bytes: bytes[..<split])
            var values: [Reply] = []
            while let value = try parser.next(in: &buffer) { values.append(value) }
            buffer.writeBytes(bytes[split...])
            while let value = try parser.next(in: &buffer) { values.append(value) }
            #expect(values == [sample.value, .integer(42)], "split at \(split)")
            #expect(buffer.readableBytes == 0)
        }
    }

    static let faults: [(text: String, error: ReplyError)] = [
        ("x", .malformed("expected the type of a reply, got byte 120")),
        (":1x\r\n", .malformed("expected a whole number and CRLF")),
        ("$-2\r\n", .malformed("expected a number of bytes from 0 up")),
        ("$1\r\nabc", .malformed("expected CRLF after a bulk string")),
        ("*-2\r\n", .malformed("expected a number of elements from 0 up")),
        ("%-1\r\n", .malformed("expected a number of elements from 0 up")),
        ("+a\rb", .malformed("expected CRLF at the end of a line")),
        ("#x\r\n", .malformed("expected #t, #f or a null")),
        ("_x\r\n", .malformed("expected #t, #f or a null")),
        (",x\r\n", .malformed("expected a floating-point number")),
        ("*1000001\r\n", .tooBig),
        ("*600000\r\n*600000\r\n", .tooBig),
        ("%9223372036854775807\r\n", .tooBig),
        ("$16777217\r\n", .tooBig),
        ("+" + String(repeating: "a", count: ProtocolBounds.maxReplyLineBytes), .tooBig),
        (String(repeating: "*1\r\n", count: 17), .tooDeep),
    ]

    @Test(arguments: faults) func refuses(_ fault: (text: String, error: ReplyError)) {
        var parser = ReplyParser()
        var buffer = ByteBuffer(string: fault.text)
        #expect(throws: fault.error) { try parser.next(in: &buffer) }
    }

    @Test func aReplyOfManySmallPiecesIsBoundedAsAWhole() {
        var parser = ReplyParser()
        var buffer = ByteBuffer(string: "*100\r\n")
        let piece = "$1048576\r\n" + String(repeating: "a", count: 1_048_576) + "\r\n"
        #expect(throws: ReplyError.tooBig) {
            for _ in 0..<100 {
                buffer.writeString(piece)
                _ = try parser.next(in: &buffer)
                buffer.discardReadBytes()
            }
        }
    }

    @Test func readsWhatTheWriterWrites() throws {
        for version in [RESPVersion.resp2, .resp3] {
            let writer = ReplyWriter(version: version)
            var buffer = ByteBuffer()
            writer.writeMapHeader(2, to: &buffer)
            writer.writeBulkString("a", to: &buffer)
            writer.writeInteger(-7, to: &buffer)
            writer.writeSimpleString("b", to: &buffer)
            writer.writeNull(to: &buffer)
            writer.writeText("long", to: &buffer)
            writer.writeError(.noPermission, "ask an operator", to: &buffer)
            var parser = ReplyParser()
            let first = try parser.next(in: &buffer)
            switch version {
            case .resp2: #expect(first == .array([.string("a"), .integer(-7), .string("b"), .null]))
            case .resp3:
                #expect(
                    first
                        == .map([
                            .init(key: .string("a"), value: .integer(-7)), .init(key: .string("b"), value: .null),
                        ]))
            }
            #expect(try parser.next(in: &buffer) == .string("long"))
            #expect(try parser.next(in: &buffer) == .error(code: "NOPERM", message: "ask an operator"))
        }
    }
}
