internal import NIOCore
internal import SluiceProtocol

/// Reads replies of RESP2 and RESP3 from the bytes of one connection as they arrive. Sluice's replies are text; invalid
/// UTF-8, which only `ECHO` can cause, is replaced. Push messages of RESP3 answer no request, and are dropped.
///
/// It consumes the buffer at once, element by element, so a large reply in many pieces is read once. Depth, size and
/// the number of elements are bounded, and nothing is reserved because a header announces it.
struct ReplyParser: Sendable {
    private enum Kind: Sendable {
        case array
        case map
        case push
        /// RESP3's attributes of the value that follows: read and dropped.
        case attribute
    }

    private struct Aggregate: Sendable {
        var kind: Kind
        /// Elements that are still missing; keys and values count separately.
        var remaining: Int
        var items: [Reply] = []
    }

    private enum Element {
        case value(Reply, byteCount: Int)
        case opens(Kind, count: Int, byteCount: Int)
        case incomplete
    }

    /// The aggregates around the next element, the innermost last.
    private var open: [Aggregate] = []
    /// Bytes that the current reply has taken so far.
    private var bytesRead = 0
    /// Elements that the current reply has announced so far.
    private var elementsAnnounced = 0
    /// Where the search for the end of an unfinished line continues, counted from the line's first byte.
    private var searched = 0

    /// The next reply, or `nil` if it is incomplete. After an error nothing more can be read.
    mutating func next(in buffer: inout ByteBuffer) throws(ReplyError) -> Reply? {
        while true {
            switch try readElement(buffer.readableBytesUInt8Span) {
            case .incomplete:
                return nil
            case .value(let value, let byteCount):
                try take(byteCount, off: &buffer)
                if let reply = close(with: value) { return reply }
            case .opens(let kind, let count, let byteCount):
                try take(byteCount, off: &buffer)
                try announce(count)
                if count == 0 {
                    if let value = self.value(kind, []), let reply = close(with: value) { return reply }
                } else {
                    guard open.count < ProtocolBounds.maxReplyDepth else { throw .tooDeep }
                    open.append(Aggregate(kind: kind, remaining: count))
                }
            }
        }
    }

    private mutating func take(_ byteCount: Int, off buffer: inout ByteBuffer) throws(ReplyError) {
        buffer.moveReaderIndex(forwardBy: byteCount)
        searched = 0
        bytesRead += byteCount
        guard bytesRead <= ProtocolBounds.maxReplyBytes else { throw .tooBig }
    }

    private mutating func announce(_ count: Int) throws(ReplyError) {
        elementsAnnounced += count
        guard elementsAnnounced <= ProtocolBounds.maxReplyElements else { throw .tooBig }
    }

    /// Adds a value to its aggregate; returns the whole reply if it was the last missing part.
    private mutating func close(with value: Reply) -> Reply? {
        var value = value
        while !open.isEmpty {
            let last = open.count - 1
            open[last].items.append(value)
            open[last].remaining -= 1
            guard open[last].remaining == 0 else { return nil }
            let aggregate = open.removeLast()
            guard let closed = self.value(aggregate.kind, aggregate.items) else { return nil }
            value = closed
        }
        startReply()
        return value
    }

    private mutating func startReply() {
        bytesRead = 0
        elementsAnnounced = 0
    }

    /// - Returns: nil for what is dropped.
    private mutating func value(_ kind: Kind, _ items: [Reply]) -> Reply? {
        switch kind {
        case .array: return .array(items)
        case .map:
            return .map(stride(from: 0, to: items.count, by: 2).map { .init(key: items[$0], value: items[$0 + 1]) })
        case .push:
            guard open.isEmpty else { return .array(items) }
            startReply()
            return nil
        case .attribute: return nil
        }
    }

    private mutating func readElement(_ bytes: Span<UInt8>) throws(ReplyError) -> Element {
        guard !bytes.isEmpty else { return .incomplete }
        let type = bytes[0]
        switch type {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ","), UInt8(ascii: "("), UInt8(ascii: "#"),
            UInt8(ascii: "_"):
            return try readLine(bytes, type: type)
        case UInt8(ascii: ":"):
            guard let (value, end) = try readNumber(bytes) else { return .incomplete }
            return .value(.integer(value), byteCount: end)
        case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
            return try readBulk(bytes, type: type)
        case UInt8(ascii: "*"), UInt8(ascii: "~"): return try readHeader(bytes, .array)
        case UInt8(ascii: "%"): return try readHeader(bytes, .map)
        case UInt8(ascii: ">"): return try readHeader(bytes, .push)
        case UInt8(ascii: "|"): return try readHeader(bytes, .attribute)
        default: throw .malformed("expected the type of a reply, got byte \(type)")
        }
    }

    private func readNumber(_ bytes: Span<UInt8>) throws(ReplyError) -> (Int64, Int)? {
        switch readDecimal(bytes, from: 1, maxBytes: ProtocolBounds.maxHeaderBytes) {
        case .value(let value, let end): return (value, end)
        case .incomplete: return nil
        case .invalid: throw .malformed("expected a whole number and CRLF")
        }
    }

    private func readHeader(_ bytes: Span<UInt8>, _ kind: Kind) throws(ReplyError) -> Element {
        guard let (count, end) = try readNumber(bytes) else { return .incomplete }
        if count == -1, case .array = kind { return .value(.null, byteCount: end) }
        guard count >= 0 else { throw .malformed("expected a number of elements from 0 up") }
        guard count <= ProtocolBounds.maxReplyElements else { throw .tooBig }
        switch kind {
        case .array, .push: return .opens(kind, count: Int(count), byteCount: end)
        case .map, .attribute: return .opens(kind, count: Int(count) * 2, byteCount: end)
        }
    }

    private func readBulk(_ bytes: Span<UInt8>, type: UInt8) throws(ReplyError) -> Element {
        guard let (length, start) = try readNumber(bytes) else { return .incomplete }
        if length == -1, type == UInt8(ascii: "$") { return .value(.null, byteCount: start) }
        guard length >= 0 else { throw .malformed("expected a number of bytes from 0 up") }
        guard length <= ProtocolBounds.maxReplyBytes else { throw .tooBig }
        let end = start + Int(length)
        guard end + 2 <= bytes.count else { return .incomplete }
        guard bytes[end] == UInt8(ascii: "\r"), bytes[end + 1] == UInt8(ascii: "\n") else {
            throw .malformed("expected CRLF after a bulk string")
        }
        let text = bytes.string(start..<end)
        switch type {
        case UInt8(ascii: "="): return .value(.string(String(text.dropFirst(4))), byteCount: end + 2)
        case UInt8(ascii: "!"): return .value(Self.error(text), byteCount: end + 2)
        default: return .value(.string(text), byteCount: end + 2)
        }
    }

    private mutating func readLine(_ bytes: Span<UInt8>, type: UInt8) throws(ReplyError) -> Element {
        var index = max(1, searched)
        while index < bytes.count, bytes[index] != UInt8(ascii: "\r") { index += 1 }
        guard index <= ProtocolBounds.maxReplyLineBytes else { throw .tooBig }
        searched = index
        guard index + 1 < bytes.count else { return .incomplete }
        guard bytes[index + 1] == UInt8(ascii: "\n") else { throw .malformed("expected CRLF at the end of a line") }
        let text = bytes.string(1..<index)
        let value: Reply
        switch (type, text) {
        case (UInt8(ascii: "-"), _): value = Self.error(text)
        case (UInt8(ascii: "_"), ""): value = .null
        case (UInt8(ascii: "#"), "t"): value = .boolean(true)
        case (UInt8(ascii: "#"), "f"): value = .boolean(false)
        case (UInt8(ascii: ","), _):
            guard let number = Double(text) else { throw .malformed("expected a floating-point number") }
            value = .double(number)
        case (UInt8(ascii: "+"), _), (UInt8(ascii: "("), _): value = .string(text)
        default: throw .malformed("expected #t, #f or a null")
        }
        return .value(value, byteCount: index + 2)
    }

    private static func error(_ text: String) -> Reply {
        let words = text.split(separator: " ", maxSplits: 1)
        return .error(code: words.first.map(String.init) ?? "", message: words.count > 1 ? String(words[1]) : "")
    }
}
