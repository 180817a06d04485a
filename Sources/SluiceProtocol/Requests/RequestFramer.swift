package import NIOCore

/// Finds the frames of requests in the bytes of one connection: RESP arrays of bulk strings, and inline commands.
///
/// Nothing is copied and, once `arguments` has grown, nothing is allocated: a frame is described by ranges into the
/// connection's own buffer. The way to use it, for each stretch of bytes that was appended to `buffer`:
///
/// ```swift
/// while case .check(let check) = try framer.nextRequest(in: &buffer) { ... }
/// ```
///
/// which is `next`, and then `Request.parse` of what it found. The bytes of a frame stay in `buffer`, unread, until the
/// next call, which takes them off. So between two calls bytes may be appended to the buffer, and `discardReadBytes()`
/// may be called on it, but its reader index must stay where it is. After `.incomplete`, what is left in the buffer is
/// the beginning of a frame.
///
/// No byte of an array is looked at twice but those of an unfinished header (`ProtocolBounds.maxHeaderBytes`), and no
/// byte of an unfinished line is searched twice, however small the pieces that arrive.
package struct RequestFramer: Sendable {
    package enum Progress: Equatable, Sendable {
        /// `arguments` describes a frame.
        case frame
        /// The buffer ends inside a frame, or is empty; at least so many bytes are missing.
        case incomplete(needsAtLeast: Int)
    }

    private enum State: Sendable {
        /// Waits for the first header or byte of a frame. Becomes `header`, `line`, or stays (empty frames).
        case start
        /// Waits for the `$` header of the next of `remaining` arguments. Becomes `bytes`, `handedOut` or `failed`.
        case header(remaining: Int)
        /// Waits for `length` bytes and CR LF. Becomes `header`, or `failed`.
        case bytes(length: Int, remaining: Int)
        /// Waits for the line feed of an inline command. Becomes `handedOut`, `start` (a blank line) or `failed`.
        case line
        /// The caller has the frame; the next call takes its bytes off the buffer and becomes `start`.
        case handedOut
        /// Stays for ever: where the next frame would begin is unknown.
        case failed(FrameError)
    }

    private enum Step {
        case frame
        case skip
        case quotedLine(length: Int)
        case incomplete(needsAtLeast: Int)
        case failed(FrameError)
    }

    /// The arguments of the current frame, the command's name first; meaningless unless `next` returned `.frame`.
    /// Ranges are offsets from the buffer's reader index: they index its readable bytes.
    package private(set) var arguments: [Range<Int>] = []

    private var state = State.start
    /// Offset from the buffer's reader index up to which the current frame has been read.
    private var position = 0

    package init() {
        arguments.reserveCapacity(16)
    }

    /// Takes the previous frame off `buffer` and finds the next one. Blank lines, `*0` and `*-1` are passed over.
    ///
    /// Throws what is to be sent before the connection is closed; every later call throws it again.
    package mutating func next(in buffer: inout ByteBuffer) throws(FrameError) -> Progress {
        switch state {
        case .failed(let error): throw error
        case .handedOut: takeOff(&buffer)
        case .start, .header, .bytes, .line: break
        }
        while true {
            switch advance(over: buffer.readableBytesUInt8Span) {
            case .frame:
                state = .handedOut
                return .frame
            case .quotedLine(let length):
                guard let error = splitQuoted(length: length, in: &buffer) else {
                    state = .handedOut
                    return .frame
                }
                throw fail(error)
            case .skip: takeOff(&buffer)
            case .incomplete(let missing): return .incomplete(needsAtLeast: missing)
            case .failed(let error): throw fail(error)
            }
        }
    }

    /// How many bytes of the buffer are behind the frame that was handed out last.
    package func bytesBehind(in buffer: ByteBuffer) -> Int {
        if case .handedOut = state { buffer.readableBytes - position } else { buffer.readableBytes }
    }

    private mutating func takeOff(_ buffer: inout ByteBuffer) {
        buffer.moveReaderIndex(forwardBy: position)
        position = 0
        state = .start
    }

    private mutating func fail(_ error: FrameError) -> FrameError {
        arguments.removeAll(keepingCapacity: true)
        state = .failed(error)
        return error
    }

    private mutating func advance(over bytes: Span<UInt8>) -> Step {
        while true {
            let step: Step?
            switch state {
            case .start: step = readStart(bytes)
            case .header(let remaining): step = readHeader(bytes, remaining: remaining)
            case .bytes(let length, let remaining): step = readBytes(bytes, length: length, remaining: remaining)
            case .line: step = readLine(bytes)
            case .handedOut, .failed: preconditionFailure("next(in:) leaves these states before it reads")
            }
            if let step { return step }
        }
    }

    private mutating func readStart(_ bytes: Span<UInt8>) -> Step? {
        guard !bytes.isEmpty else { return .incomplete(needsAtLeast: 1) }
        guard bytes[0] == UInt8(ascii: "*") else {
            arguments.removeAll(keepingCapacity: true)
            state = .line
            return nil
        }
        if readWhole(bytes) { return .frame }
        arguments.removeAll(keepingCapacity: true)
        switch readDecimal(bytes, from: 1, maxBytes: ProtocolBounds.maxHeaderBytes) {
        case .value(let count, let end):
            guard count >= -1 else { return .failed(.invalidArgumentCount) }
            guard count <= ProtocolBounds.maxArguments else { return .failed(.tooManyArguments) }
            position = end
            guard count > 0 else { return .skip }
            state = .header(remaining: Int(count))
            return nil
        case .incomplete: return .incomplete(needsAtLeast: 1)
        case .invalid: return .failed(.invalidArgumentCount)
        }
    }

    /// Reads a frame that is here in full and has numbers of one to three digits, which is nearly every frame; false if
    /// it is anything else. It is tried once for a frame, so what it looks at in vain is looked at twice in all.
    private mutating func readWhole(_ bytes: Span<UInt8>) -> Bool {
        let raw = bytes.bytes
        guard let count = ShortHeader(raw, at: 0, type: UInt8(ascii: "*")),
            count.value > 0, count.value <= ProtocolBounds.maxArguments
        else { return false }
        // Requests of one connection mostly have one shape, and then the array keeps its length.
        if arguments.count < count.value {
            for _ in arguments.count..<count.value { arguments.append(0..<0) }
        } else if arguments.count > count.value {
            arguments.removeLast(arguments.count - count.value)
        }
        var offset = count.end
        var slots = arguments.mutableSpan
        for index in 0..<count.value {
            guard let length = ShortHeader(raw, at: offset, type: UInt8(ascii: "$")) else { return false }
            let end = length.end &+ length.value
            guard end &+ 2 <= raw.byteCount, raw.isLineEnd(at: end) else { return false }
            slots[index] = Range(uncheckedBounds: (length.end, end))
            offset = end &+ 2
        }
        guard offset <= ProtocolBounds.maxFrameBytes else { return false }
        position = offset
        return true
    }

    private mutating func readHeader(_ bytes: Span<UInt8>, remaining: Int) -> Step? {
        guard remaining > 0 else { return .frame }
        guard position < bytes.count else { return .incomplete(needsAtLeast: 1) }
        let type = bytes[position]
        guard type == UInt8(ascii: "$") else { return .failed(.expectedBulkString(got: type)) }
        switch readDecimal(bytes, from: position + 1, maxBytes: ProtocolBounds.maxHeaderBytes) {
        case .value(let length, let end):
            guard length >= 0 else { return .failed(.invalidBulkLength) }
            guard length <= ProtocolBounds.maxFrameBytes, end + Int(length) + 2 <= ProtocolBounds.maxFrameBytes else {
                return .failed(.frameTooBig)
            }
            position = end
            state = .bytes(length: Int(length), remaining: remaining)
            return nil
        case .incomplete: return .incomplete(needsAtLeast: 1)
        case .invalid: return .failed(.invalidBulkLength)
        }
    }

    private mutating func readBytes(_ bytes: Span<UInt8>, length: Int, remaining: Int) -> Step? {
        let end = position + length
        guard end + 2 <= bytes.count else { return .incomplete(needsAtLeast: end + 2 - bytes.count) }
        guard bytes[end] == UInt8(ascii: "\r"), bytes[end + 1] == UInt8(ascii: "\n") else {
            return .failed(.missingLineEnd)
        }
        arguments.append(position..<end)
        position = end + 2
        state = .header(remaining: remaining - 1)
        return nil
    }

    private mutating func readLine(_ bytes: Span<UInt8>) -> Step? {
        let limit = min(bytes.count, ProtocolBounds.maxFrameBytes)
        var index = position
        while index < limit, bytes[index] != UInt8(ascii: "\n") { index += 1 }
        position = index
        guard index < limit else {
            return index == ProtocolBounds.maxFrameBytes ? .failed(.lineTooBig) : .incomplete(needsAtLeast: 1)
        }
        position = index + 1
        if InlineLine.isOfHTTP(bytes.extracting(0..<index)) { return .failed(.isHTTP) }
        switch InlineLine.split(bytes.extracting(0..<index), into: &arguments) {
        case .plain: return arguments.isEmpty ? .skip : .frame
        case .hasQuotes: return .quotedLine(length: index)
        case .failed(let error): return .failed(error)
        }
    }

    /// A quoted word is never longer than it was written, so it is unquoted where it stands. The buffer is copied if it
    /// is shared; people type these lines.
    private mutating func splitQuoted(length: Int, in buffer: inout ByteBuffer) -> FrameError? {
        arguments.removeAll(keepingCapacity: true)
        return buffer.withUnsafeMutableReadableBytes { bytes in
            InlineLine.splitQuoted(UnsafeMutableRawBufferPointer(rebasing: bytes[..<length]), into: &arguments)
        }
    }
}
