import Foundation
import NIOCore
import NIOEmbedded
import SluiceEngine
import SluiceProtocol
import Support
import Testing

@testable import SluiceServer

@Suite struct ConnectionHandlerTests {
    private static let check = RedisClient.frame(["CHECK", "g", "run"])
    private static let max = 1_000_000

    private static func checks(_ count: Int) -> [UInt8] { Array(repeating: check, count: count).flatMap(\.self) }

    private let rig: ServerRig
    private let peer: Peer

    init() throws {
        rig = try ServerRig()
        peer = try rig.connect()
    }

    // MARK: - Order

    @Test func repliesKeepTheOrderOfRequests() throws {
        try peer.send("CHECK g run\r\nPING\r\nNOSUCH\r\nCHECK g free\r\nINFO server\r\nCHECK g run\r\nPING last\r\n")
        #expect(try peer.received() == "")
        rig.answerAll()
        let text = try peer.received()
        let parts = [":999999\r\n", "+PONG", "-ERR unknown command 'NOSUCH'", "/tools/free", "sluice_version:1.2.3"]
        let places = parts.map { text.range(of: $0)?.lowerBound }
        #expect(!places.contains(nil) && places.compactMap(\.self) == places.compactMap(\.self).sorted())
        #expect(Peer.remaining(in: text) == [Self.max - 1, -1, Self.max - 2])
        #expect(text.hasSuffix("$4\r\nlast\r\n"))
    }

    /// However the bytes are cut into reads, the answers are the same.
    @Test func everySplitOfTheInputIsAnsweredAlike() throws {
        let input =
            Self.checks(3) + Array("PING\r\n\r\nECHO \"a b\"\r\n".utf8) + RedisClient.frame(["PEEK", "g", "run"])
            + Array("*0\r\nQUIT\r\n".utf8)
        var whole: String?
        for seed in UInt64(0)..<60 {
            let rig = try ServerRig()
            let peer = try rig.connect()
            var random = SeededRandom(seed: seed)
            var rest = input[...]
            while !rest.isEmpty {
                // Seed 0 takes all at once, seed 1 a byte at a time.
                let count = seed == 0 ? rest.count : seed == 1 ? 1 : Int.random(in: 1...12, using: &random)
                try peer.send(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
                if Bool.random(using: &random) { rig.answerAll() }
            }
            rig.answerAll()
            let text = try peer.received().replacing(/:31[0-9]{9}\r\n|:[0-9]{11}\r\n|:[0-9]{10}\r\n/, with: ":T\r\n")
            if whole == nil { whole = text }
            #expect(text == whole, "seed \(seed)")
            #expect(!peer.isOpen)
        }
        #expect(whole?.hasSuffix("+OK\r\n") == true)
    }

    /// Clients send a transaction in one piece, and take what comes before the answer to EXEC for queued.
    @Test func nothingOfATransactionIsRun() throws {
        let all = "CHECK g run\r\nMULTI\r\nCHECK g run\r\nCHECK g\r\nCHARGE g run 5\r\nPING\r\nEXEC\r\nCHECK g run\r\n"
        try peer.send(all)
        rig.answerAll()
        var text = try peer.received()
        #expect(Peer.remaining(in: text) == [Self.max - 1, Self.max - 2])
        #expect(text.components(separatedBy: "-ERR not run and not charged").count == 4)
        #expect(text.contains("+OK\r\n-ERR not run") && text.contains("-EXECABORT nothing was run"))
        // However it comes, and until it ends.
        for byte in Array("MULTI\r\nCHECK g run\r\nDISCARD\r\n".utf8) { try peer.send([byte]) }
        text = try peer.received()
        #expect(text.hasPrefix("+OK\r\n-ERR not run") && text.hasSuffix("\r\n+OK\r\n"))
        try peer.send("CHECK g run\r\n")
        rig.answerAll()
        #expect(try peer.remaining() == [Self.max - 3])
    }

    /// A check that waits is answered in the form of its time.
    @Test func namesComeFromTheNextCheckOn() throws {
        try peer.send("CHECK g run\r\nSELECT 1\r\nCHECK g run\r\nSELECT 0\r\nCHECK g run\r\n")
        rig.answerAll()
        let text = try peer.received()
        #expect(text.hasPrefix("*9\r\n:1\r\n"))
        #expect(text.components(separatedBy: "*18\r\n$7\r\nallowed\r\n:1\r\n").count == 2)
        #expect(text.components(separatedBy: "*9\r\n:1\r\n").count == 3)
    }

    // MARK: - Room

    /// At the bound nothing more is taken and nothing more is read, until answers have gone out.
    @Test func readsNoMoreThanMayWait() throws {
        let bound = ProtocolBounds.maxPipelinedRequests
        try peer.send(Self.checks(bound + 10))
        #expect(rig.host.limiter.waitingCount == bound)
        let before = peer.reads.count
        peer.channel.read()
        #expect(peer.reads.count == before)
        try peer.send(Self.checks(1))
        #expect(rig.host.limiter.waitingCount == bound)
        rig.answerAll()
        #expect(peer.reads.count > before)
        #expect(try peer.remaining() == (1...bound + 11).map { Self.max - $0 })
    }

    /// Requests that need not wait, behind one that does, count as well.
    @Test func repliesThatWaitForTheirTurnAreBounded() throws {
        try peer.send(Self.check + Array(String(repeating: "PING\r\n", count: 5_000).utf8))
        let before = peer.reads.count
        peer.channel.read()
        #expect(peer.reads.count == before)
        rig.answerAll()
        #expect(try peer.received().components(separatedBy: "+PONG\r\n").count == 5_001)
        peer.channel.read()
        #expect(peer.reads.count > before)
    }

    /// Long replies to short requests go out in pieces, not all in one.
    @Test func repliesAreNotGatheredWithoutBound() throws {
        try peer.send(String(repeating: "COMMAND DOCS\r\n", count: 1_000))
        let pieces = try peer.pieces()
        let length = pieces.reduce(0) { $0 + $1.readableBytes }
        #expect(length % 1_000 == 0 && length > 3 * ProtocolBounds.maxUnreadOutputBytes)
        let longest = pieces.map(\.readableBytes).max() ?? 0
        #expect(longest <= ProtocolBounds.maxUnreadOutputBytes + length / 1_000)
    }

    @Test func takesNothingWhileThePeerDoesNotRead() throws {
        peer.channel.isWritable = false
        peer.channel.pipeline.fireChannelWritabilityChanged()
        let before = peer.reads.count
        try peer.send("PING\r\nPING\r\n")
        peer.channel.read()
        #expect(try peer.received() == "")
        #expect(peer.reads.count == before)
        peer.channel.isWritable = true
        peer.channel.pipeline.fireChannelWritabilityChanged()
        #expect(try peer.received() == "+PONG\r\n+PONG\r\n")
        #expect(peer.reads.count > before)
    }

    /// A write may change the channel's writability before it returns. What is being written must not go out twice.
    @Test func aWriteThatChangesWritabilityRepeatsNothing() throws {
        final class Flapping: ChannelOutboundHandler {
            typealias OutboundIn = ByteBuffer

            func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
                let channel = context.channel as? EmbeddedChannel
                for isWritable in [false, true] {
                    channel?.isWritable = isWritable
                    context.fireChannelWritabilityChanged()
                }
                context.write(data, promise: promise)
            }
        }
        let rig = try ServerRig()
        let peer = try rig.connect(outermost: Flapping())
        let bound = ProtocolBounds.maxPipelinedRequests
        try peer.send(Self.checks(bound + 500) + Array("PING end\r\n".utf8))
        rig.answerAll()
        let text = try peer.received()
        #expect(Peer.remaining(in: text) == (1...bound + 500).map { Self.max - $0 })
        #expect(text.components(separatedBy: "$3\r\nend\r\n").count == 2)
    }

    // MARK: - The end

    /// The error for a malformed frame follows the earlier replies, and then the connection closes.
    @Test func anErrorComesInItsTurnAndCloses() throws {
        try peer.send(Self.check + Array("*x\r\nPING\r\n".utf8))
        try peer.send("PING\r\n")
        #expect(peer.isOpen)
        rig.answerAll()
        let text = try peer.received()
        #expect(Peer.remaining(in: text) == [Self.max - 1])
        #expect(text.hasSuffix("number of arguments\r\n") && !text.contains("PONG"))
        #expect(!peer.isOpen)
        #expect(rig.host.connections.count == 0)
    }

    @Test func quitIsAnsweredOnceAndCloses() throws {
        try peer.send("PING\r\nQUIT\r\nPING\r\n")
        try? peer.send("PING\r\n")
        #expect(try peer.received() == "+PONG\r\n+OK\r\n")
        #expect(!peer.isOpen)
    }

    /// The last reply cannot go out at once; what happens meanwhile must not send it again.
    @Test func whatClosesBehindASlowPeerIsSentOnce() throws {
        final class Holding: ChannelOutboundHandler {
            typealias OutboundIn = ByteBuffer
            var held: (NIOAny, EventLoopPromise<Void>?)?
            var writes = 0

            func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
                writes += 1
                held = (data, promise)
            }
        }
        let rig = try ServerRig()
        let holding = Holding()
        let peer = try rig.connect(outermost: holding)
        try peer.send("QUIT\r\n")
        peer.closeWriting()
        peer.channel.pipeline.fireChannelReadComplete()
        #expect(holding.writes == 1 && peer.isOpen)
        holding.held?.1?.succeed()
        #expect(!peer.isOpen)
    }

    /// The end of the input finds more requests read than there was room for: all are answered, then it closes.
    @Test func halfClosureAnswersAllThatWasRead() throws {
        let count = ProtocolBounds.maxPipelinedRequests * 2 + 7
        try peer.send(Self.checks(count))
        peer.closeWriting()
        #expect(peer.isOpen)
        rig.answerAll()
        #expect(try peer.remaining() == (1...count).map { Self.max - $0 })
        #expect(!peer.isOpen)
    }

    @Test func halfClosureInTheMiddleOfAFrameCloses() throws {
        try peer.send("PING\r\n*2\r\n$4\r\nEC")
        peer.closeWriting()
        #expect(try peer.received() == "+PONG\r\n")
        #expect(!peer.isOpen)
    }

    @Test func aDrainAnswersWhatWaitsAndReportsItsEnd() throws {
        let rig = try ServerRig()
        let (idle, busy) = (try rig.connect(), try rig.connect())
        try busy.send(Self.checks(ProtocolBounds.maxPipelinedRequests + 3))
        var isDrained = false
        rig.host.drain { isDrained = true }
        #expect(!idle.isOpen && busy.isOpen && !isDrained)
        // New connections are closed.
        #expect(try !rig.connect().isOpen)
        rig.answerAll()
        #expect(try busy.remaining().count == ProtocolBounds.maxPipelinedRequests + 3)
        #expect(!busy.isOpen && isDrained)
    }

    @Test func aDrainCutsOffPeersThatHoldItUp() throws {
        try peer.send(Self.check)
        var isDrained = false
        rig.host.drain { isDrained = true }
        rig.eventLoop.advanceTime(by: .nanoseconds(ServerBounds.drainLimitNs - 1))
        #expect(peer.isOpen && !isDrained)
        rig.eventLoop.advanceTime(by: .nanoseconds(1))
        #expect(!peer.isOpen && isDrained)
        // The answer comes for nobody.
        rig.answerAll()
    }

    // MARK: - Sweeping

    @Test func aFrameThatNeverEndsIsGivenUp() throws {
        try peer.send("PING\r\n*3\r\n$5\r\nCHE")
        #expect(try peer.received() == "+PONG\r\n")
        peer.handler.sweep(now: later(Int64(ProtocolBounds.maxFrameSeconds) - 1))
        // More of it does not buy more time.
        try peer.send("C")
        #expect(peer.isOpen)
        peer.handler.sweep(now: later(Int64(ProtocolBounds.maxFrameSeconds)))
        #expect(try peer.received().hasPrefix("-ERR Protocol error: unfinished request"))
        #expect(!peer.isOpen)
    }

    @Test func aConnectionBetweenFramesMayIdle() throws {
        try peer.send("*1\r\n$4\r\nPI")
        try peer.send("NG\r\n")
        peer.handler.sweep(now: later(100_000))
        #expect(peer.isOpen)
        #expect(try peer.received() == "+PONG\r\n")
    }

    /// While the server itself does not read, a frame cannot end.
    @Test func timeWithoutReadingIsNotTheFramesDelay() throws {
        try peer.send("*1\r\n$4\r\nPI")
        peer.channel.isWritable = false
        peer.channel.pipeline.fireChannelWritabilityChanged()
        peer.handler.sweep(now: later(20))
        peer.channel.isWritable = true
        peer.channel.pipeline.fireChannelWritabilityChanged()
        peer.handler.sweep(now: later(25))
        #expect(peer.isOpen)
        try peer.send("NG\r\n")
        #expect(try peer.received() == "+PONG\r\n")
    }

    @Test func aPeerThatReadsNothingIsCutOff() throws {
        peer.channel.isWritable = false
        peer.channel.pipeline.fireChannelWritabilityChanged()
        peer.handler.sweep(now: later(Int64(ProtocolBounds.maxUnreadSeconds) - 1))
        #expect(peer.isOpen)
        peer.handler.sweep(now: later(Int64(ProtocolBounds.maxUnreadSeconds)))
        #expect(!peer.isOpen)
    }

    @Test func theHostSweepsItsConnections() throws {
        rig.host.sweepConnections()
        try peer.send("*1\r\n$4\r\nPI")
        rig.eventLoop.advanceTime(by: .nanoseconds(ServerBounds.sweepIntervalNs * 3))
        // Its clock is the machine's, which has not moved.
        #expect(peer.isOpen)
    }

    // MARK: - Who may connect, and ask

    @Test func oneConnectionTooManyIsRefused() throws {
        let rig = try ServerRig(maxConnections: 2)
        let peers = [try rig.connect(), try rig.connect()]
        let refused = try rig.connect()
        #expect(try refused.received().hasPrefix("-BUSY too many connections"))
        #expect(!refused.isOpen)
        try peers[0].channel.close().wait()
        #expect(try rig.connect().isOpen)
        #expect(peers[1].isOpen)
    }

    /// This channel has no credentials to show, so it is nobody's.
    @Test func operatorsCommandsAreNotForEverybody() throws {
        try peer.send("COUNTERS\r\nINFO redis\r\nCOUNTERS\r\n")
        let text = try peer.received()
        #expect(text.components(separatedBy: "-NOPERM this command is for operators").count == 3)
        #expect(text.contains("redis_state:closed\r\n"))
    }

    /// An answer that comes when its connection has gone reaches nobody, least of all the next one.
    @Test func aLateAnswerReachesNobodyElse() throws {
        let rig = try ServerRig()
        let gone = try rig.connect()
        try gone.send(Self.checks(3))
        rig.eventLoop.run()
        try gone.channel.close().wait()
        let next = try rig.connect()
        try next.send(Self.checks(2))
        rig.answerAll()
        #expect(try next.remaining() == [Self.max - 4, Self.max - 5])
    }
}
