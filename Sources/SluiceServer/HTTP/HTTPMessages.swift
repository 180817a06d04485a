import NIOCore
import NIOHTTP1
import SluiceTerminal

/// A request of the HTTP door, whole and within its bounds.
struct HTTPQuestion {
    var method: HTTPMethod
    /// Without the query.
    var path: String
    /// Decoded, in the order of the request.
    var query: [(name: String, value: String)]
    var headers: HTTPHeaders
    var body: ByteBuffer

    init(_ head: HTTPRequestHead, body: ByteBuffer) {
        method = head.method
        headers = head.headers
        self.body = body
        let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = String(parts[0])
        query =
            parts.count < 2
            ? []
            : parts[1].split(separator: "&").map { pair in
                let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                return (Self.decoded(sides[0]), sides.count < 2 ? "" : Self.decoded(sides[1]))
            }
    }

    /// The value of a parameter that is given once; nil if it is not given, or more than once.
    func parameter(_ name: String) -> String? {
        let values = query.filter { $0.name == name }
        return values.count == 1 ? values[0].value : nil
    }

    /// Whether all parameters are among these, each given once.
    func hasOnly(_ names: [String]) -> Bool {
        query.allSatisfy { names.contains($0.name) } && Set(query.map(\.name)).count == query.count
    }

    /// Percent-decoded. What is no escape stays as it is; bytes that are not UTF-8 are replaced.
    private static func decoded(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == UInt8(ascii: "%"), digits.count == 2,
                let escaped = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            {
                bytes.append(escaped)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// What the HTTP door answers.
struct HTTPAnswer {
    var status: HTTPResponseStatus
    var contentType: String
    var headers: [(name: String, value: String)] = []
    var body: ByteBuffer

    init(_ status: HTTPResponseStatus, contentType: String, _ body: ByteBuffer) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    /// Plain text, with a line feed at its end.
    static func text(_ status: HTTPResponseStatus, _ text: String) -> HTTPAnswer {
        HTTPAnswer(status, contentType: "text/plain; charset=utf-8", ByteBuffer(string: text + "\n"))
    }

    /// One line of JSON, with a line feed.
    static func json(_ status: HTTPResponseStatus, _ json: JSONText) -> HTTPAnswer {
        HTTPAnswer(status, contentType: "application/json", ByteBuffer(string: json.line + "\n"))
    }

    /// - Parameter code: a code word of the socket's errors.
    static func error(_ status: HTTPResponseStatus, _ code: String, _ sentence: String) -> HTTPAnswer {
        .json(status, ["error": ["code": .string(code), "message": .string(sentence)]])
    }

    func adding(_ name: String, _ value: String) -> HTTPAnswer {
        var answer = self
        answer.headers.append((name, value))
        return answer
    }
}
