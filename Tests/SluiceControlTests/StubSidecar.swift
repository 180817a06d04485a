import NIOCore
import NIOPosix
import SluiceProtocol
import Support

/// A sidecar that answers each request with the bytes that a test gives.
final class StubSidecar: Sendable {
    let path: String
    private let folder: TemporaryFolder
    private let channel: any Channel

    /// - Parameter answers: bytes by the command's name; nil closes the connection.
    init(_ answers: @escaping @Sendable ([String]) -> String?) async throws {
        folder = try TemporaryFolder()
        path = folder.path("stub.sock")
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(StubSidecarHandler(answers))
                }
            }
            .bind(unixDomainSocketPath: path).get()
    }

    deinit { channel.close(promise: nil) }

    static func error(_ text: String) -> String { "-\(text)\r\n" }
    static func text(_ text: String) -> String { "$\(text.utf8.count)\r\n\(text)\r\n" }
    static func integer(_ number: Int64) -> String { ":\(number)\r\n" }
    static func array(_ elements: [String]) -> String { "*\(elements.count)\r\n\(elements.joined())" }

    /// A map, as a connection gets it that did not ask for RESP3.
    static func map(_ members: [(String, String)]) -> String {
        array(members.flatMap { [text($0.0), $0.1] })
    }
}

private final class StubSidecarHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let answers: @Sendable ([String]) -> String?
    // A request is an array of strings, so what reads replies reads it.
    private var parser = ReplyParser()
    private var input = ByteBuffer()

    init(_ answers: @escaping @Sendable ([String]) -> String?) {
        self.answers = answers
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        input.writeBuffer(&bytes)
        while let request = try? parser.next(in: &input) {
            guard case .array(let elements) = request else { return context.close(promise: nil) }
            let words = elements.map { if case .string(let word) = $0 { word } else { "" } }
            guard let answer = answers(words) else { return context.close(promise: nil) }
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: answer)), promise: nil)
        }
    }
}
