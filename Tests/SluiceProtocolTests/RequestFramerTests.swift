import NIOCore
import SluiceProtocol
import Testing

@Suite struct RequestFramerTests {
    /// Pipelines with everything that a framer may meet, and the words of their frames.
    static let pipelines: [(bytes: [UInt8], frames: [[String]])] = [
        (
            frame("CHECK", "alice", "opencode_run") + frame("PING") + frame("CHECK", "b", "t", "COST", "12"),
            [["CHECK", "alice", "opencode_run"], ["PING"], ["CHECK", "b", "t", "COST", "12"]]
        ),
        (Array("*0\r\n*-1\r\n\r\n\n \r\n*1\r\n$4\r\nPING\r\n".utf8), [["PING"]]),
        (Array("PING\r\n  check  a\tb \nQUIT\r\n".utf8), [["PING"], ["check", "a", "b"], ["QUIT"]]),
        (
            Array(#"CHECK "al ice" 'o p'"#.utf8) + Array("\r\n".utf8) + frame("PING"),
            [["CHECK", "al ice", "o p"], ["PING"]]
        ),
        (
            Array(#"ECHO "a\x41\n\r\t\b\a\q\"\\" 'it\'s \n' "" pre"fix""#.utf8) + Array("\n".utf8) + frame("PING"),
            [["ECHO", "aA\n\r\t\u{8}\u{7}q\"\\", #"it's \n"#, "", "prefix"], ["PING"]]
        ),
        (frame("ECHO", "") + frame("ECHO", "a\r\nb$1\r\n*"), [["ECHO", ""], ["ECHO", "a\r\nb$1\r\n*"]]),
        (frame("ECHO", String(repeating: "x", count: 1234)), [["ECHO", String(repeating: "x", count: 1234)]]),
        (frame("COMMAND") + Array("*2\r\n$4\r\nEC".utf8), [["COMMAND"]]),
    ]

    @Test(arguments: pipelines) func findsFrames(_ sample: (bytes: [UInt8], frames: [[String]])) {
        let result = framed(sample.bytes)
        #expect(result.frames.map { $0.map { String(decoding: $0, as: UTF8.self) } } == sample.frames)
        #expect(result.error == nil)
    }

    @Test(arguments: pipelines) func findsTheSameByteByByte(_ sample: (bytes: [UInt8], frames: [[String]])) {
        let pieces = sample.bytes.indices.map { sample.bytes[$0...$0] }
        #expect(framed(pieces) == framed(sample.bytes))
        #expect(framed(pieces, discarding: true) == framed(sample.bytes))
    }

    @Test(arguments: pipelines) func findsTheSameInEverySplit(_ sample: (bytes: [UInt8], frames: [[String]])) {
        let whole = framed(sample.bytes)
        for split in 1..<sample.bytes.count {
            #expect(framed([sample.bytes[..<split], sample.bytes[split...]]) == whole, "split at \(split)")
        }
    }

    @Test func shapesMayChangeFromFrameToFrame() {
        let shapes = [["PING"], ["CHECK", "a", "b", "COST", "1"], ["ECHO", "x"], ["CHECK", "a", "b"]]
        let bytes = shapes.flatMap { frame($0.map { Array($0.utf8) }) }
        #expect(framed(bytes).frames.map { $0.map { String(decoding: $0, as: UTF8.self) } } == shapes)
    }

    @Test func saysHowMuchIsMissing() throws {
        var framer = RequestFramer()
        var buffer = ByteBuffer()
        #expect(try framer.next(in: &buffer) == .incomplete(needsAtLeast: 1))
        buffer.writeString("*1\r\n$10\r\nabc")
        #expect(try framer.next(in: &buffer) == .incomplete(needsAtLeast: 9))
        buffer.writeString("defghij\r\n")
        #expect(try framer.next(in: &buffer) == .frame)
        #expect(buffer.string(ofArgument: framer.arguments[0]) == "abcdefghij")
        #expect(try framer.next(in: &buffer) == .incomplete(needsAtLeast: 1))
        #expect(buffer.readableBytes == 0)
    }

    @Test func aSharedBufferIsLeftAlone() throws {
        var framer = RequestFramer()
        var buffer = ByteBuffer(string: "ECHO \"a\\x41\"\r\n")
        let before = buffer
        #expect(try framer.next(in: &buffer) == .frame)
        #expect(buffer.string(ofArgument: framer.arguments[1]) == "aA")
        #expect(String(buffer: before) == "ECHO \"a\\x41\"\r\n")
    }

    private static let httpReply =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 115\r\n"
        + "Connection: close\r\n\r\nthis socket speaks RESP, the protocol of Redis, and not HTTP: use a Redis client, "
        + "such as redis-cli -s SOCKET PING\n"

    /// Words that only look like HTTP are words.
    @Test(arguments: [
        "CHECK GET HTTP/1.1", "GET /", "GET HTTP/1.1x", "get / HTTP/1.1", "HTTP/1.1", "GETHTTP/1.1", "ECHO / HTTP/1.1",
    ])
    func onlyARequestOfHTTPIsOne(line: String) {
        #expect(framed(Array("\(line)\r\n".utf8)).error == nil)
    }

    /// Bytes, the fault they are, and the whole reply.
    static let faults: [(bytes: String, error: FrameError, reply: String)] = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", .isHTTP, httpReply), ("PUT /\"a HTTP/1.0\n", .isHTTP, httpReply),
        ("*x\r\n", .invalidArgumentCount, countReply),
        ("*\r\n", .invalidArgumentCount, countReply),
        ("*-2\r\n", .invalidArgumentCount, countReply),
        ("*+1\r\n", .invalidArgumentCount, countReply),
        ("* 1\r\n", .invalidArgumentCount, countReply),
        ("*01\r\n", .invalidArgumentCount, countReply),
        ("*1\rx", .invalidArgumentCount, countReply),
        ("*1\n", .invalidArgumentCount, countReply),
        ("*1111111111111111111111111111", .invalidArgumentCount, countReply),
        (
            "*129\r\n", .tooManyArguments,
            "-TOOBIG Protocol error: too many arguments, send at most 128\r\n"
        ),
        (
            "*99999999999999999999\r\n", .tooManyArguments,
            "-TOOBIG Protocol error: too many arguments, send at most 128\r\n"
        ),
        (
            String(repeating: "a ", count: 129) + "\n", .tooManyArguments,
            "-TOOBIG Protocol error: too many arguments, send at most 128\r\n"
        ),
        (
            "*1\r\n:1\r\n", .expectedBulkString(got: UInt8(ascii: ":")),
            "-ERR Protocol error: expected '$', got ':', send every argument as a bulk string\r\n"
        ),
        (
            "*1\r\n\u{1}", .expectedBulkString(got: 1),
            "-ERR Protocol error: expected '$', got '?', send every argument as a bulk string\r\n"
        ),
        ("*1\r\n$-1\r\n", .invalidBulkLength, lengthReply),
        ("*1\r\n$\r\n", .invalidBulkLength, lengthReply),
        ("*1\r\n$4x\r\n", .invalidBulkLength, lengthReply),
        ("*1\r\n$04\r\nPING\r\n", .invalidBulkLength, lengthReply),
        (
            "*1\r\n$4\r\nPINGx\r\n", .missingLineEnd,
            "-ERR Protocol error: expected CRLF after an argument, send as many bytes as its header says\r\n"
        ),
        (
            "*1\r\n$4\r\nPING\rx", .missingLineEnd,
            "-ERR Protocol error: expected CRLF after an argument, send as many bytes as its header says\r\n"
        ),
        ("*1\r\n$65536\r\n", .frameTooBig, sizeReply),
        ("*1\r\n$99999999999999999999\r\n", .frameTooBig, sizeReply),
        ("*2\r\n$4\r\nECHO\r\n$65520\r\n", .frameTooBig, sizeReply),
        (
            String(repeating: "a", count: 65536), .lineTooBig,
            "-TOOBIG Protocol error: too big inline request, send at most 65536 bytes\r\n"
        ),
        ("ECHO \"abc\r\n", .unbalancedQuotes, quotesReply),
        ("ECHO 'abc\r\n", .unbalancedQuotes, quotesReply),
        ("ECHO \"abc\"d\r\n", .unbalancedQuotes, quotesReply),
        ("ECHO \"abc\\\r\n", .unbalancedQuotes, quotesReply),
    ]
    static let countReply =
        "-ERR Protocol error: invalid multibulk length, send * and the number of arguments\r\n"
    static let lengthReply =
        "-ERR Protocol error: invalid bulk length, send $ and the number of bytes that follow\r\n"
    static let sizeReply = "-TOOBIG Protocol error: too big request, send at most 65536 bytes\r\n"
    static let quotesReply =
        "-ERR Protocol error: unbalanced quotes in request, close each quote and put a space after it\r\n"

    @Test(arguments: faults) func refusesMalformedFrames(_ fault: (bytes: String, error: FrameError, reply: String)) {
        let bytes = frame("PING") + Array(fault.bytes.utf8)
        let result = framed(bytes)
        #expect(result.error == fault.error)
        #expect(result.frames.count == 1)
        #expect(framed(bytes.indices.map { bytes[$0...$0] }) == result)
        #expect(written { $0.writeError(fault.error, to: &$1) } == fault.reply)
    }

    @Test func theLargestFramePasses() {
        // Headers, line ends and the command's name take 24 bytes.
        let argument = [UInt8](repeating: 0x61, count: ProtocolBounds.maxFrameBytes - 24)
        let bytes = frame([Array("ECHO".utf8), argument])
        #expect(bytes.count == ProtocolBounds.maxFrameBytes)
        #expect(framed(bytes).frames.first?.last == argument)
        let words = [[UInt8]](repeating: [0x61], count: ProtocolBounds.maxArguments)
        #expect(framed(frame(words)).frames == [words])
    }

    @Test func anotherByteIsTooMuch() {
        let argument = [UInt8](repeating: 0x61, count: ProtocolBounds.maxFrameBytes - 23)
        #expect(framed(frame([Array("ECHO".utf8), argument])).error == .frameTooBig)
        // Many short arguments, each header within the bound.
        let words = [[UInt8]](repeating: [UInt8](repeating: 0x61, count: 900), count: 80)
        #expect(framed(frame(words)).error == .frameTooBig)
        let bytes = frame(words)
        #expect(framed(bytes.indices.map { bytes[$0...$0] }).error == .frameTooBig)
    }

    @Test func aFaultStays() throws {
        var framer = RequestFramer()
        var buffer = ByteBuffer(string: "*1\r\n!")
        #expect(throws: FrameError.expectedBulkString(got: UInt8(ascii: "!"))) { try framer.next(in: &buffer) }
        buffer = ByteBuffer(string: "PING\r\n")
        #expect(throws: FrameError.expectedBulkString(got: UInt8(ascii: "!"))) { try framer.next(in: &buffer) }
        #expect(framer.arguments.isEmpty)
    }

    @Test func slownessHasItsSentence() {
        #expect(
            written { $0.writeError(.tooSlow, to: &$1) }
                == "-ERR Protocol error: unfinished request, send it whole within 10 seconds\r\n")
    }

    @Test func unreadAnswersHaveTheirSentence() {
        #expect(
            written { $0.writeError(.answersUnread, to: &$1) }
                == "-TOOBIG pipeline is too long: 1024 KiB of answers are not read while more is sent, send less at once"
                + " or read meanwhile\r\n")
    }
}
