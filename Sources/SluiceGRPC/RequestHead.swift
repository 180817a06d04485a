import NIOHPACK

/// What a request's headers say.
///
/// It also checks that they are well formed by RFC 9113, 8.2 and 8.3, as far as that matters to a server that does not
/// forward them; the HTTP/2 handler's own check costs three times as much, and is off.
struct RequestHead {
    private(set) var path = ""
    private(set) var timeout: String?
    /// The answer if this is no gRPC request; nil if it is one.
    let httpStatus: String?

    /// nil if the headers are malformed.
    init?(_ headers: HPACKHeaders) {
        var (isPost, isGRPC, isBehindPseudoHeaders) = (false, false, false)
        var found: PseudoHeaders = []
        for (name, value, _) in headers {
            let first = name.utf8.first
            if first == UInt8(ascii: ":") {
                guard !isBehindPseudoHeaders, let pseudoHeader = PseudoHeaders(name),
                    found.insert(pseudoHeader).inserted
                else { return nil }
                switch pseudoHeader {
                case .method: isPost = value == "POST"
                case .path: path = value
                default: break
                }
                continue
            }
            isBehindPseudoHeaders = true
            guard first != nil, name.utf8.allSatisfy(Self.isOfName) else { return nil }
            switch name.utf8.count {
            case 2 where name == "te": if value != "trailers" { return nil }
            case 12 where name == "content-type": isGRPC = Self.isProto(value)
            case 12 where name == "grpc-timeout": timeout = value
            case 7, 10, 16, 17: if Self.connectionHeaders.contains(name) { return nil }
            default: break
            }
        }
        httpStatus = !isPost ? "405" : !isGRPC ? "415" : nil
    }

    private struct PseudoHeaders: OptionSet {
        let rawValue: UInt8

        static let method = Self(rawValue: 1)
        static let scheme = Self(rawValue: 2)
        static let path = Self(rawValue: 4)
        static let authority = Self(rawValue: 8)

        init(rawValue: UInt8) { self.rawValue = rawValue }

        /// The one of that name; nil if a request has none of it.
        init?(_ name: String) {
            switch name {
            case ":method": self = .method
            case ":scheme": self = .scheme
            case ":path": self = .path
            case ":authority": self = .authority
            default: return nil
            }
        }
    }

    /// Headers of HTTP/1.1 that have no place in HTTP/2.
    private static let connectionHeaders = [
        "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade",
    ]

    /// Printable ASCII but capitals and the colon.
    private static func isOfName(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: ":")
            && !(byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z"))
    }

    private static func isProto(_ type: String) -> Bool {
        guard type.hasPrefix("application/grpc") else { return false }
        let rest = type.dropFirst("application/grpc".count)
        return rest.isEmpty || rest == "+proto" || rest.hasPrefix(";") || rest.hasPrefix("+proto;")
    }
}
