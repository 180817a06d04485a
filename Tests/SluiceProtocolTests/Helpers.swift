import NIOCore
import SluiceEngine
import SluiceProtocol

/// A request as a client sends it: an array of bulk strings.
func frame(_ words: String...) -> [UInt8] { frame(words.map { Array($0.utf8) }) }

func frame(_ words: [[UInt8]]) -> [UInt8] {
    var bytes = Array("*\(words.count)\r\n".utf8)
    for word in words { bytes += Array("$\(word.count)\r\n".utf8) + word + Array("\r\n".utf8) }
    return bytes
}

/// What came out of a framer: the words of each frame, then the fault that ended it, if any.
struct Framed: Equatable, CustomStringConvertible {
    var frames: [[[UInt8]]] = []
    var error: FrameError?
    /// Bytes that were left in the buffer as the beginning of a frame.
    var rest = 0

    var description: String {
        "\(frames.map { $0.map { String(decoding: $0, as: UTF8.self) } }) \(String(describing: error)) rest \(rest)"
    }
}

/// Feeds a framer piece by piece, as a connection would.
func framed(_ pieces: [ArraySlice<UInt8>], discarding: Bool = false) -> Framed {
    var framer = RequestFramer()
    var buffer = ByteBuffer()
    var result = Framed()
    for piece in pieces {
        buffer.writeBytes(piece)
        do {
            while case .frame = try framer.next(in: &buffer) {
                result.frames.append(framer.arguments.map { words(of: buffer, $0) })
                if discarding { buffer.discardReadBytes() }
            }
            result.rest = buffer.readableBytes
        } catch {
            result.error = error
            result.rest = 0
            return result
        }
    }
    return result
}

func framed(_ bytes: [UInt8]) -> Framed { framed([bytes[...]]) }

private func words(of buffer: ByteBuffer, _ range: Range<Int>) -> [UInt8] {
    buffer.getBytes(at: buffer.readerIndex + range.lowerBound, length: range.count) ?? []
}

/// Parses the one request that the bytes hold, and says what it is made of.
func parsed(_ bytes: [UInt8]) throws -> (request: Request, buffer: ByteBuffer) {
    var framer = RequestFramer()
    var buffer = ByteBuffer(bytes: bytes)
    guard case .frame = try framer.next(in: &buffer) else { throw NoFrame() }
    return (try Request.parse(framer.arguments, in: buffer), buffer)
}

func parsed(_ words: String...) throws -> Request { try parsed(frame(words.map { Array($0.utf8) })).request }

struct NoFrame: Error {}

/// What a session writes for one request, as text.
func answer(_ session: inout ConnectionSession, _ words: String...) throws -> String {
    let (request, buffer) = try parsed(frame(words.map { Array($0.utf8) }))
    guard case .connection(let connection) = request else { throw NoFrame() }
    var output = ByteBuffer()
    _ = session.answer(connection, in: buffer, to: &output)
    return String(buffer: output)
}

/// What a writer writes, as text.
func written(_ version: RESPVersion = .resp2, _ write: (ReplyWriter, inout ByteBuffer) -> Void) -> String {
    var output = ByteBuffer()
    write(ReplyWriter(version: version), &output)
    return String(buffer: output)
}

/// Cuts bytes into pieces of one to `longest` bytes.
func cut(_ bytes: [UInt8], longest: Int, with random: inout SeededRandom) -> [ArraySlice<UInt8>] {
    var pieces: [ArraySlice<UInt8>] = []
    var start = 0
    while start < bytes.count {
        let end = min(bytes.count, start + Int.random(in: 1...longest, using: &random))
        pieces.append(bytes[start..<end])
        start = end
    }
    return pieces
}
