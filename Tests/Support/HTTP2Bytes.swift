/// HTTP/2 frames as bytes, also those that no proper client sends.
package enum HTTP2Bytes {
    package enum Kind: UInt8, Sendable {
        case data, headers, priority, reset, settings, pushPromise, ping, goAway, windowUpdate, continuation
    }

    /// What a client begins with.
    package static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(.settings)
    /// What it answers to the server's settings, which hold from then on.
    package static let acknowledgement = frame(.settings, flags: 1)
    package static let endStream: UInt8 = 0x1
    package static let endHeaders: UInt8 = 0x4
    package static let padded: UInt8 = 0x8

    package static func frame(_ kind: Kind, flags: UInt8 = 0, stream: Int = 0, _ payload: [UInt8] = []) -> [UInt8] {
        number(payload.count, bytes: 3) + [kind.rawValue, flags] + number(stream, bytes: 4) + payload
    }

    /// A number, most significant byte first.
    package static func number(_ value: Int, bytes count: Int) -> [UInt8] {
        (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// The head of a gRPC request, without compression.
    package static func request(_ stream: Int, path: String, flags: UInt8 = endHeaders) -> [UInt8] {
        let type = "application/grpc"
        let block: [UInt8] =
            [0x83, 0x86, 0x04, UInt8(path.utf8.count)] + Array(path.utf8) + [0x0F, 0x10, UInt8(type.utf8.count)]
            + Array(type.utf8)
        return frame(.headers, flags: flags, stream: stream, block)
    }

    /// A message of gRPC that ends its request.
    package static func message(_ stream: Int, _ bytes: [UInt8]) -> [UInt8] {
        frame(.data, flags: endStream, stream: stream, [0] + number(bytes.count, bytes: 4) + bytes)
    }

    /// One setting.
    package static func setting(_ parameter: Int, _ value: Int) -> [UInt8] {
        frame(.settings, number(parameter, bytes: 2) + number(value, bytes: 4))
    }

    package static func windowUpdate(_ stream: Int, by increment: Int) -> [UInt8] {
        frame(.windowUpdate, stream: stream, number(increment, bytes: 4))
    }

    /// The frames that bytes hold: kind, stream and payload; what is incomplete at the end is left out.
    package static func frames(_ bytes: [UInt8]) -> [(kind: UInt8, stream: Int, payload: [UInt8])] {
        var frames: [(kind: UInt8, stream: Int, payload: [UInt8])] = []
        var rest = bytes[...]
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            guard rest.count >= 9 + length else { break }
            let stream = head[5...].reduce(0) { $0 << 8 | Int($1) }
            frames.append((head[3], stream, Array(rest.dropFirst(9).prefix(length))))
            rest = rest.dropFirst(9 + length)
        }
        return frames
    }

    /// The error code of the last `GOAWAY` in bytes; nil if there is none.
    package static func goAwayCode(_ bytes: [UInt8]) -> Int? {
        frames(bytes).last { $0.kind == Kind.goAway.rawValue }?.payload.dropFirst(4).prefix(4)
            .reduce(0) { $0 << 8 | Int($1) }
    }
}

/// Frames that cost a server work and ask for nothing, sent without end.
package enum HTTP2Flood: String, CaseIterable, Sendable {
    case rapidReset, ping, settings, priority, continuation, emptyData, emptyPaddedData, streamErrors, tooManyStreams

    private typealias Bytes = HTTP2Bytes

    /// What comes before, on a new connection.
    package func beginning(_ path: String) -> [UInt8] {
        switch self {
        case .rapidReset, .ping, .settings, .priority, .tooManyStreams: []
        case .continuation: Bytes.request(1, path: path, flags: 0)
        case .emptyData, .emptyPaddedData: Bytes.request(1, path: path)
        case .streamErrors: []
        }
    }

    /// The error code of the `GOAWAY` that ends it: `ENHANCE_YOUR_CALM`, or `PROTOCOL_ERROR` for streams beyond the number
    /// that the server's settings allow.
    package var code: Int { self == .tooManyStreams ? 1 : 11 }

    /// Whether the bound is so many in a second.
    package var isRate: Bool {
        switch self {
        case .rapidReset, .ping, .settings, .priority, .streamErrors: true
        case .continuation, .emptyData, .emptyPaddedData, .tooManyStreams: false
        }
    }

    /// The frames number `index`, from 0.
    package func frames(_ index: Int, _ path: String) -> [UInt8] {
        let stream = 2 * index + 1
        switch self {
        case .rapidReset:
            return Bytes.request(stream, path: path)
                + Bytes.frame(.reset, stream: stream, Bytes.number(8, bytes: 4))
        case .ping: return Bytes.frame(.ping, Bytes.number(index, bytes: 8))
        case .settings: return Bytes.setting(4, 65_535 + index % 2)
        case .priority: return Bytes.frame(.priority, stream: 1, Bytes.number(0, bytes: 4) + [16])
        case .continuation: return Bytes.frame(.continuation, stream: 1, [0x10, 1, UInt8(ascii: "x"), 0])
        case .emptyData: return Bytes.frame(.data, stream: 1)
        case .emptyPaddedData:
            return Bytes.frame(.data, flags: Bytes.padded, stream: 1, [255] + [UInt8](repeating: 0, count: 255))
        // The server is made to reset the stream: an update by nothing is an error.
        case .streamErrors: return Bytes.request(stream, path: path) + Bytes.windowUpdate(stream, by: 0)
        case .tooManyStreams: return Bytes.request(stream, path: path)
        }
    }
}
