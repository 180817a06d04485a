import SwiftProtobuf

/// What external authorization reads of a `CheckRequest`: where it lies in the message. A gateway sends dozens of headers
/// of which one or two matter, so they are not made texts.
struct AuthorizationRequest: Sendable {
    private let bytes: [UInt8]
    private var method = 0..<0
    /// In the order of the message: of equal names the last counts.
    private var headers: [(name: Range<Int>, value: Range<Int>)] = []
    /// The headers of a gateway that sends them as a list: of equal names the first counts.
    private var headerList: [HeaderValue] = []
    private var textBody = 0..<0
    private var rawBody = 0..<0
    private(set) var contextExtensions: [String: String] = [:]
    /// What Envoy's mcp filter found.
    private(set) var call: MCPMetadata?
    /// What the JWT filter verified.
    private(set) var tokens: Google_Protobuf_Struct?
    private(set) var principal = ""

    private struct HeaderValue {
        var name = 0..<0
        var value = 0..<0
        var rawValue = 0..<0
    }

    private static let tokenNamespace = "envoy.filters.http.jwt_authn"

    /// - Throws: `WireReader.Malformed`, or an error of SwiftProtobuf, if the bytes are no such message.
    init(serializedBytes bytes: [UInt8]) throws {
        self.bytes = bytes
        var fields = WireReader(bytes)
        while let field = try fields.next() {
            if field.isBytes && field.number == 1 { try readAttributes(field.range) }
        }
    }

    private mutating func readAttributes(_ range: Range<Int>) throws {
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            guard field.isBytes else { continue }
            switch field.number {
            case 1: try readSource(field.range)
            case 4: try readRequest(field.range)
            case 10:
                let (name, value) = try WireReader.entry(bytes, field.range)
                contextExtensions[try text(name)] = try text(value)
            case 11: try readMetadata(field.range)
            default: break
            }
        }
    }

    private mutating func readSource(_ range: Range<Int>) throws {
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            if field.isBytes && field.number == 4 { principal = try text(field.range) }
        }
    }

    private mutating func readRequest(_ range: Range<Int>) throws {
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            if field.isBytes && field.number == 2 { try readHTTP(field.range) }
        }
    }

    private mutating func readHTTP(_ range: Range<Int>) throws {
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            guard field.isBytes else { continue }
            switch field.number {
            case 2: method = try checked(field.range)
            case 3:
                let (name, value) = try WireReader.entry(bytes, field.range)
                headers.append((try checked(name), try checked(value)))
            case 11: textBody = try checked(field.range)
            case 12: rawBody = field.range
            case 13: try readHeaderList(field.range)
            default: break
            }
        }
    }

    private mutating func readHeaderList(_ range: Range<Int>) throws {
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            guard field.isBytes, field.number == 1 else { continue }
            var header = HeaderValue()
            var parts = WireReader(bytes, field.range)
            while let part = try parts.next() {
                guard part.isBytes else { continue }
                switch part.number {
                case 1: header.name = try checked(part.range)
                case 2: header.value = try checked(part.range)
                case 3: header.rawValue = part.range
                default: break
                }
            }
            headerList.append(header)
        }
    }

    private mutating func readMetadata(_ range: Range<Int>) throws {
        var fields = WireReader(bytes, range)
        while let field = try fields.next() {
            guard field.isBytes, field.number == 1 else { continue }
            let (name, value) = try WireReader.entry(bytes, field.range)
            if equals(name, MCPCall.metadataNamespace) {
                call = try MCPMetadata(bytes, value)
            } else if equals(name, Self.tokenNamespace) {
                tokens = try Google_Protobuf_Struct(serializedBytes: Array(bytes[value]))
            }
        }
    }

    // MARK: - Texts

    private func text(_ range: Range<Int>) throws(WireReader.Malformed) -> String {
        try WireReader.text(bytes, range)
    }

    /// A text has to be UTF-8, whether or not it is read.
    private func checked(_ range: Range<Int>) throws(WireReader.Malformed) -> Range<Int> {
        if bytes[range].contains(where: { $0 >= 0x80 }) { _ = try text(range) }
        return range
    }

    private func equals(_ range: Range<Int>, _ text: String) -> Bool { WireReader.equals(bytes, range, text) }

    // MARK: - What was read

    var isPost: Bool { equals(method, "POST") }

    var body: [UInt8] { Array(bytes[rawBody.isEmpty ? textBody : rawBody]) }

    /// - Parameter name: in lower case, as gateways send them.
    func header(_ name: String) -> String? {
        if let header = headers.last(where: { equals($0.name, name) }) {
            return String(decoding: bytes[header.value], as: UTF8.self)
        }
        guard let header = headerList.first(where: { equals($0.name, name) }) else { return nil }
        return String(validating: bytes[header.rawValue.isEmpty ? header.value : header.rawValue], as: UTF8.self)
    }
}
