import NIOCore
import SluiceEngine
import SluiceProtocol
import Testing

@testable import SluiceClient

/// Random and mutated bytes. A failure names the seed, which replays it.
@Suite struct FuzzTests {
    static let corpus: [[UInt8]] =
        RequestFramerTests.pipelines.map(\.bytes) + RequestFramerTests.faults.map { Array($0.bytes.utf8) }
        + [
            frame("CHECK", "g", "t", "ATTR", "a", "b", "RESERVE", "ID", "x", "TRACE", "COST", "9", "SESSION", "s"),
            frame("HELLO", "3", "AUTH", "u", "p", "SETNAME", "n") + frame("CLIENT", "SETINFO", "LIB-NAME", "x"),
            frame("COUNTERS", "GRANT", "g", "LIMIT", "5") + frame("CONFIG", "GET", "*a*?"),
        ]

    static let replies: [[UInt8]] = [
        "+OK\r\n", "-ERR no\r\n", ":-12\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*2\r\n:1\r\n*1\r\n+x\r\n", "_\r\n", "#t\r\n",
        ",1.5\r\n", "(123456789012345678901\r\n", "=7\r\ntxt:abc\r\n", "%1\r\n+a\r\n:1\r\n", "~1\r\n:1\r\n",
        ">2\r\n+a\r\n+b\r\n", "|1\r\n+k\r\n+v\r\n:7\r\n", "!5\r\nERR x\r\n", "*-1\r\n", "*0\r\n",
        DecisionReplyTests.traced2, DecisionReplyTests.traced3,
    ].map { Array($0.utf8) }

    @Test(arguments: 0..<60 as Range<UInt64>) func framingDoesNotDependOnThePieces(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<50 {
            let bytes = mutated(Self.corpus, with: &random)
            let whole = framed(bytes)
            #expect(framed(cut(bytes, longest: 7, with: &random)) == whole, "seed \(seed)")
            #expect(framed(cut(bytes, longest: 40, with: &random), discarding: true) == whole, "seed \(seed)")
            #expect(whole.rest <= ProtocolBounds.maxFrameBytes, "seed \(seed)")
        }
    }

    @Test(arguments: 0..<60 as Range<UInt64>) func everyFrameIsAnsweredOrRefused(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<50 {
            var buffer = ByteBuffer(bytes: mutated(Self.corpus, with: &random))
            var framer = RequestFramer()
            var session = ConnectionSession(id: 1, serverVersion: "1")
            var output = ByteBuffer()
            while let progress = try? framer.next(in: &buffer), progress == .frame {
                output.clear()
                do {
                    let request = try Request.parse(framer.arguments, in: buffer)
                    guard case .connection(let connection) = request else { continue }
                    _ = session.answer(connection, in: buffer, to: &output)
                } catch {
                    session.writer.writeError(error, to: &output)
                }
                var parser = ReplyParser()
                #expect((try? parser.next(in: &output)) != nil, "seed \(seed)")
                #expect(output.readableBytes == 0, "seed \(seed)")
            }
        }
    }

    @Test(arguments: 0..<60 as Range<UInt64>) func readingRepliesDoesNotDependOnThePieces(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<50 {
            let bytes = mutated(Self.replies, with: &random)
            #expect(replies(cut(bytes, longest: 5, with: &random)) == replies([bytes[...]]), "seed \(seed)")
            _ = try? DecisionReply.read(ByteBuffer(bytes: bytes))
        }
    }

    /// Replies as text, since a number that is none does not equal itself.
    private func replies(_ pieces: [ArraySlice<UInt8>]) -> [String] {
        var parser = ReplyParser()
        var buffer = ByteBuffer()
        var found: [String] = []
        for piece in pieces {
            buffer.writeBytes(piece)
            do {
                while let value = try parser.next(in: &buffer) { found.append("\(value)") }
            } catch {
                return found + ["\(error)"]
            }
        }
        return found
    }

    /// A few samples after another, with bytes changed, dropped, doubled; or plain noise.
    private func mutated(_ samples: [[UInt8]], with random: inout SeededRandom) -> [UInt8] {
        let alphabet = Array("*$:+-%_#,(=~>|!\r\n\"'\\ 0123456789abcCHECK".utf8) + [0, 0x80, 0xff]
        if Int.random(in: 0..<8, using: &random) == 0 {
            return (0..<Int.random(in: 1..<200, using: &random)).map { _ in alphabet.randomElement(using: &random)! }
        }
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let sample = samples.randomElement(using: &random)!
            // Long samples make the test slow, and their tails are all alike.
            bytes += sample.count > 3000 ? sample.prefix(200) : sample[...]
        }
        for _ in 0..<Int.random(in: 0...4, using: &random) where !bytes.isEmpty {
            let index = bytes.indices.randomElement(using: &random)!
            switch Int.random(in: 0..<4, using: &random) {
            case 0: bytes[index] = alphabet.randomElement(using: &random)!
            case 1: bytes.remove(at: index)
            case 2: bytes.insert(alphabet.randomElement(using: &random)!, at: index)
            default: bytes[index] = UInt8.random(in: 0...255, using: &random)
            }
        }
        return bytes
    }
}
