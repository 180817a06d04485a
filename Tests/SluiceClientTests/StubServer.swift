import Foundation
import NIOCore
import NIOPosix
import SluiceProtocol

/// A server on a Unix socket in a folder of its own, that answers each request as a test says.
final class StubServer: Sendable {
    enum Action: Sendable {
        /// These bytes.
        case answer(String)
        /// These bytes, one system call each.
        case drip(String)
        /// Nothing, now or ever.
        case ignore
        case close
    }

    let path: String
    private let folder: URL
    private let channel: any Channel

    private init(path: String, folder: URL, channel: any Channel) {
        self.path = path
        self.folder = folder
        self.channel = channel
    }

    /// Runs `body` against a server; `respond` is asked for each request, with its words.
    static func with(
        _ respond: @escaping @Sendable ([String]) -> Action, _ body: (StubServer) async throws -> Void
    ) async throws {
        // Not the user's own temporary folder, whose path may be too long for a socket.
        let folder = URL(fileURLWithPath: "/tmp/sluice-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("stub.sock").path
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(StubHandler(respond))
                }
            }
            .bind(unixDomainSocketPath: path).get()
        let server = StubServer(path: path, folder: folder, channel: channel)
        do {
            try await body(server)
        } catch {
            try await channel.close().get()
            throw error
        }
        try await channel.close().get()
    }
}

private final class StubHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let respond: @Sendable ([String]) -> StubServer.Action
    private var framer = RequestFramer()
    private var input = ByteBuffer()

    init(_ respond: @escaping @Sendable ([String]) -> StubServer.Action) {
        self.respond = respond
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        input.writeBuffer(&bytes)
        while let progress = try? framer.next(in: &input), progress == .frame {
            let words = framer.arguments.map(input.string(ofArgument:))
            switch respond(words) {
            case .answer(let text): context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
            case .drip(let text):
                for byte in text.utf8 {
                    context.writeAndFlush(wrapOutboundOut(ByteBuffer(integer: byte)), promise: nil)
                }
            case .ignore: break
            case .close: context.close(promise: nil)
            }
        }
    }
}

/// The echo of a request, as a bulk string.
func echo(_ words: [String]) -> StubServer.Action {
    let text = words.joined(separator: " ")
    return .answer("$\(text.utf8.count)\r\n\(text)\r\n")
}

/// A decision as Sluice writes it.
func decision(_ version: RESPVersion, _ fields: DecisionFields) -> StubServer.Action {
    var output = ByteBuffer()
    ReplyWriter(version: version).writeDecision(fields, to: &output)
    return .drip(String(buffer: output))
}
