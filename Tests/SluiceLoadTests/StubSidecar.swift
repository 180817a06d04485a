import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import SluiceProtocol
import Support

/// A sidecar that counts in memory: every grant may make `max` calls in a window, and a window is over after so many checks,
/// whatever the time, so that tests do not depend on it.
final class StubSidecar: Sendable {
    enum Conduct: Sendable {
        case honest
        /// Honest, and writes a few bytes at a time.
        case drips
        /// Admits one check more than the maximum, and counts it.
        case admitsOneTooMany
        /// Forgets the fifth charge of every window.
        case losesCharges
        /// Answers every fifth check with something that is no reply of Sluice.
        case answersGarbage
        /// Closes the connection instead of answering every hundredth check.
        case closes
        case answersBusy
        case answersErrors
        /// Reads, and answers nothing.
        case isSilent
    }

    static let max: Int64 = 10

    private let channel: any Channel
    private let counters: NIOLockedValueBox<StubCounters>

    /// How many checks it has read.
    var checkCount: Int { counters.withLockedValue { $0.checkCount } }

    /// - Parameter counters: shared by the sidecars of one store.
    init(
        path: String, _ conduct: Conduct = .honest, counters: NIOLockedValueBox<StubCounters> = .init(StubCounters())
    ) async throws {
        self.counters = counters
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(StubHandler(conduct: conduct, counters: counters))
                }
            }
            .bind(unixDomainSocketPath: path).get()
    }

    func stop() async throws { try await channel.close() }
}

/// What a stub, or several of them, have counted.
struct StubCounters: Sendable {
    private let checksPerWindow: Int
    private(set) var checkCount = 0
    private var window: Int64 = 1
    private var used: [String: Int64] = [:]

    /// - Parameter checksPerWindow: many more than are ever in flight; otherwise answers come for windows that the oracle
    ///   has judged already.
    init(checksPerWindow: Int = 500) { self.checksPerWindow = checksPerWindow }

    mutating func decide(_ grant: String, _ conduct: StubSidecar.Conduct) -> DecisionFields {
        checkCount += 1
        if checkCount % checksPerWindow == 0 {
            window += 1
            used = [:]
        }
        var tally = used[grant, default: 0]
        var most = StubSidecar.max
        if case .admitsOneTooMany = conduct { most += 1 }
        let isAllowed = tally < most
        if isAllowed { tally += 1 }
        if case .losesCharges = conduct, tally == 5, isAllowed { used[grant] = 4 } else { used[grant] = tally }
        return DecisionFields(
            allowed: isAllowed, limit: StubSidecar.max, remaining: Swift.max(0, StubSidecar.max - tally),
            retryAfterMs: isAllowed ? 0 : 10, resetMs: 10, verdict: isAllowed ? .allow : .limit,
            rule: "/tools/t/limits/c",
            source: .shared,
            trace: [
                TraceEntry(rule: "/tools/t/limits/c", windowStartMs: window * 1000, used: tally, max: StubSidecar.max)
            ])
    }
}

private final class StubHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let conduct: StubSidecar.Conduct
    private let counters: NIOLockedValueBox<StubCounters>
    private var framer = RequestFramer()
    private var input = ByteBuffer()

    init(conduct: StubSidecar.Conduct, counters: NIOLockedValueBox<StubCounters>) {
        self.conduct = conduct
        self.counters = counters
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        input.writeBuffer(&bytes)
        var output = ByteBuffer()
        let writer = ReplyWriter(version: .resp2)
        do {
            while try framer.next(in: &input) == .frame {
                guard case .check(let check) = try Request.parse(framer.arguments, in: input) else { continue }
                let grant = input.getString(at: input.readerIndex + check.grant.lowerBound, length: check.grant.count)
                let (decision, number) = counters.withLockedValue { counters in
                    (counters.decide(grant ?? "", conduct), counters.checkCount)
                }
                switch conduct {
                case .honest, .drips, .admitsOneTooMany, .losesCharges:
                    writer.writeDecision(decision, to: &output)
                case .answersGarbage:
                    if number % 5 == 0 {
                        output.writeString("+PONG\r\n")
                    } else {
                        writer.writeDecision(decision, to: &output)
                    }
                case .closes:
                    if number % 100 == 0 { return context.close(promise: nil) }
                    writer.writeDecision(decision, to: &output)
                case .answersBusy: writer.writeError(.busy, "too many checks are waiting", to: &output)
                case .answersErrors: writer.writeError(.error, "unknown command 'CHECK'", to: &output)
                case .isSilent: break
                }
            }
        } catch {
            return context.close(promise: nil)
        }
        if case .drips = conduct {
            while let piece = output.readSlice(length: min(7, output.readableBytes)), piece.readableBytes > 0 {
                context.writeAndFlush(wrapOutboundOut(piece), promise: nil)
            }
        }
        context.writeAndFlush(wrapOutboundOut(output), promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
