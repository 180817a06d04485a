internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import SluiceClient
internal import SluiceHummingbird

/// A gateway that asks Sluice before each request: `example-gateway SOCKET [PORT [closed|open [MILLISECONDS]]]`.
///
/// Who calls comes from a token, what is called from the path: `GET /tools/NAME`. It listens on loopback and prints its port.
@main
struct ExampleGateway {
    /// Whom a gateway knows, and by what: yours come from its own accounts.
    static let grants = ["key-of-alice": "alice-laptop", "key-of-bob": "bob-desktop", "key-of-many": "many"]

    static func main() async throws {
        let words = CommandLine.arguments
        func word(_ index: Int, _ ordinary: String) -> String { words.count > index ? words[index] : ordinary }
        guard words.count > 1, let port = Int(word(2, "8080")), let ms = Int(word(4, "250")),
            let withoutAnswer = WithoutAnswer(rawValue: word(3, "closed"))
        else {
            fatalError("usage: example-gateway SOCKET [PORT [closed|open [MILLISECONDS]]]")
        }
        let sluice = Sluice(path: words[1], timeout: .milliseconds(ms))
        let router = Router()
        router.add(
            middleware: SluiceMiddleware(
                sluice, withoutAnswer: withoutAnswer,
                tool: { request, _ in request.uri.path.split(separator: "/").last.map(String.init) },
                options: { request, _ in
                    // Idempotent where the caller names its call; with a reservation where the call may turn out not to be made.
                    CheckOptions(
                        reserve: !request.uri.path.hasPrefix("/tools/"),
                        id: request.headers[values: HTTPField.Name("idempotency-key")!].first)
                },
                grant: { request, _ in
                    request.headers[.authorization].flatMap { grants[String($0.dropFirst("Bearer ".count))] }
                }))
        router.get("/tools/{tool}") { _, _ in "the tool ran\n" }
        router.get("/slots/{tool}") { _, _ in "the tool ran\n" }
        router.get("/broken/{tool}") { _, _ -> String in throw HTTPError(.badGateway, message: "the tool is away") }
        let application = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: port)),
            onServerRunning: { channel in
                // At once, also where a program reads it.
                FileHandle.standardOutput.write(Data("\(channel.localAddress?.port ?? 0)\n".utf8))
            })
        try await application.runService()
    }
}
