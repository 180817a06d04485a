import Support

/// A sidecar that answers each request with the bytes that a test gives.
final class StubSidecar: Sendable {
    private let server: StubServer

    var path: String { server.path }

    /// - Parameter answers: bytes by the request's words; nil closes the connection.
    init(_ answers: @escaping @Sendable ([String]) -> String?) async throws {
        server = try await StubServer { words in answers(words).map { .answer($0) } ?? .close }
    }

    static func error(_ text: String) -> String { "-\(text)\r\n" }
    static func text(_ text: String) -> String { "$\(text.utf8.count)\r\n\(text)\r\n" }
    static func integer(_ number: Int64) -> String { ":\(number)\r\n" }
    static func array(_ elements: [String]) -> String { "*\(elements.count)\r\n\(elements.joined())" }

    /// A map, as a connection gets it that did not ask for RESP3.
    static func map(_ members: [(String, String)]) -> String {
        array(members.flatMap { [text($0.0), $0.1] })
    }
}
