import Foundation
import NIOCore
import NIOEmbedded
import SluiceEngine
import SluiceProtocol
import Support
import Testing

@testable import SluiceServer

/// What clients make the sidecar hold is counted in bytes, and bounded.
@Suite struct MemoryTests {
    private static let check = RedisClient.frame(["CHECK", "g", "run"])
    /// Its answer is as long as it is.
    private static let echo = RedisClient.frame(["ECHO", String(repeating: "x", count: 10_000)])

    private static func echoes(_ count: Int) -> [UInt8] { Array(repeating: echo, count: count).flatMap(\.self) }

    /// Holds written bytes until it is asked to release them.
    private final class Unread: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        private var held: [(ByteBuffer, EventLoopPromise<Void>?)] = []
        private(set) var writes = 0
        var bytes: Int { held.reduce(0) { $0 + $1.0.readableBytes } }
        var isHolding = true

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            guard isHolding else { return context.write(data, promise: promise) }
            writes += 1
            held.append((unwrapOutboundIn(data), promise))
        }

        func release(into context: ChannelHandlerContext) {
            isHolding = false
            for (bytes, promise) in held { context.writeAndFlush(NIOAny(bytes), promise: promise) }
            held = []
        }
    }

    /// Freed memory is given back to the system once hardly any checks come, and not for a little.
    @Test func freedMemoryIsGivenBack() {
        var freed = FreedMemory()
        let (much, little) = (100 * ServerBounds.fewestFreedBytes, ServerBounds.fewestFreedBytes - 1)
        // A busy second; a quiet one; it was given back; a little; much, twice.
        let seconds: [(heldBytes: Int, checks: Int64)] = [
            (much, 0), (10, 1_000), (10, 1_010), (10, 1_010), (little, 1_010), (0, 1_010), (much, 1_010), (0, 1_010),
        ]
        let due = seconds.map { freed.isDue(heldBytes: $0.heldBytes, checks: $0.checks) }
        #expect(due == [false, false, true, false, false, false, false, true])
        FreedMemory.giveBack()
    }

    private func slow(_ rig: ServerRig) throws -> (Peer, Unread) {
        let unread = Unread()
        let peer = try rig.connect(outermost: unread)
        peer.handler.unreadBytes = { _ in unread.bytes }
        return (peer, unread)
    }

    private func pings(_ count: Int) -> [UInt8] { Array(String(repeating: "PING\r\n", count: count).utf8) }

    @Test func whatGoesIsCountedNoMore() throws {
        let rig = try ServerRig()
        let peers = try (0..<5).map { _ in try rig.connect() }
        for peer in peers { try peer.send(Self.check + Array("INFO\r\nPING\r\n".utf8)) }
        #expect(rig.host.memory.connectionBytes == peers.reduce(0) { $0 + $1.handler.heldBytes })
        #expect(rig.host.memory.connectionBytes >= 5 * ServerBounds.bytesPerConnection)
        rig.answerAll()
        for peer in peers { try peer.channel.close().wait() }
        #expect(rig.host.memory.connectionBytes == 0)
    }

    /// Answers that are there at once, behind one that waits for the store.
    @Test func answersBehindAWaitingCheckCount() throws {
        let rig = try ServerRig()
        let peer = try rig.connect()
        try peer.send(Self.check)
        let before = peer.handler.heldBytes
        try peer.send(Self.echoes(30))
        let grown = peer.handler.heldBytes - before
        rig.answerAll()
        let bytes = try peer.received().utf8.count
        #expect(bytes > 300_000 && grown >= bytes)
        peer.handler.sweep(now: later(0))
        #expect(peer.handler.heldBytes < before + bytes)
    }

    /// And are bounded for each connection, as those are that it does not read.
    @Test func answersBehindAWaitingCheckAreBounded() throws {
        let rig = try ServerRig()
        let peer = try rig.connect()
        // Their requests are short: what is not answered yet lies in the input, and is not read on.
        try peer.send(Self.check + Array(String(repeating: "COMMAND DOCS\r\n", count: 600).utf8))
        #expect(peer.handler.heldBytes < ProtocolBounds.maxUnreadOutputBytes * 3 / 2)
        let before = peer.reads.count
        peer.channel.read()
        #expect(peer.reads.count == before)
        rig.answerAll()
        let bytes = try peer.pieces().reduce(0) { $0 + $1.readableBytes }
        try peer.send("COMMAND DOCS\r\n")
        let one = try peer.received().utf8.count
        #expect(bytes > 600 * one && 600 * one > 2 * ProtocolBounds.maxUnreadOutputBytes)
    }

    @Test func unfinishedRequestsCount() throws {
        let rig = try ServerRig()
        let peer = try rig.connect()
        try peer.send("*2\r\n$4\r\nECHO\r\n$60000\r\n" + String(repeating: "x", count: 50_000))
        #expect(peer.handler.heldBytes >= 50_000)
    }

    /// Each piece of output takes more than its bytes: behind one that is not read, the rest is gathered in one.
    @Test func whatIsNotReadIsGatheredInOnePiece() throws {
        let rig = try ServerRig()
        let (peer, unread) = try slow(rig)
        for _ in 0..<1_000 { try peer.send("PING\r\n") }
        #expect(unread.writes < 400)
        #expect(rig.host.memory.connectionBytes < 200_000)
        // All are answered, and sent once the first have been read.
        let context = try peer.channel.pipeline.syncOperations.context(handler: unread)
        unread.release(into: context)
        rig.eventLoop.run()
        #expect(try peer.received() == String(repeating: "+PONG\r\n", count: 1_000))
        peer.handler.sweep(now: later(0))
        #expect(rig.host.memory.connectionBytes < 100_000)
    }

    /// Many clients write a pipeline to its end before they read: its answers wait for them, up to the bound.
    @Test func aPipelineIsTakenBeforeItsAnswersAreRead() throws {
        let rig = try ServerRig()
        let (peer, unread) = try slow(rig)
        let most = ProtocolBounds.maxUnreadOutputBytes / 10_100
        for _ in 0..<most {
            let before = peer.reads.count
            peer.channel.read()
            #expect(peer.reads.count == before + 1)
            try peer.send(Self.echo)
        }
        for _ in 0..<4 { try peer.send(Self.echo) }
        let before = peer.reads.count
        peer.channel.read()
        #expect(peer.reads.count == before)
        #expect(peer.handler.heldBytes < 3 * ProtocolBounds.maxUnreadOutputBytes)
        unread.release(into: try peer.channel.pipeline.syncOperations.context(handler: unread))
        rig.eventLoop.run()
        #expect(try peer.received().components(separatedBy: "$10000\r\n").count == most + 5)
        #expect(peer.reads.count > before)
    }

    /// It waits for the sidecar to read, as the sidecar waits for it: it is told why, and closed.
    @Test func whoSendsMoreAndReadsNothingIsClosedSoon() throws {
        let rig = try ServerRig()
        let (peer, unread) = try slow(rig)
        var waiting = 0
        peer.handler.waitingBytes = { _ in waiting }
        for _ in 0..<120 { try peer.send(Self.echo) }
        let soon = Int64(ProtocolBounds.maxStalledSeconds)
        // It may be busy with something else, as long as it sends nothing.
        for second in 0...10 { peer.handler.sweep(now: later(Int64(second))) }
        waiting = 1
        for second in 20..<20 + soon { peer.handler.sweep(now: later(second)) }
        #expect(peer.isOpen && unread.bytes > 0 && rig.host.memory.unread == 0)
        peer.handler.sweep(now: later(20 + soon))
        #expect(rig.host.memory.unread == 1)
        unread.release(into: try peer.channel.pipeline.syncOperations.context(handler: unread))
        rig.eventLoop.run()
        let text = try peer.received()
        #expect(text.hasSuffix("-TOOBIG \(FrameError.answersUnread.sentence)\r\n"))
        #expect(!peer.isOpen)
    }

    /// Its answers are not unread: they wait for the store.
    @Test func whoWaitsForTheStoreStays() throws {
        let rig = try ServerRig()
        let peer = try rig.connect()
        peer.handler.waitingBytes = { _ in 1 }
        try peer.send(Self.check + Self.echoes(120))
        for second in 0..<2 * Int64(ProtocolBounds.maxStalledSeconds) { peer.handler.sweep(now: later(second)) }
        #expect(peer.isOpen && rig.host.memory.unread == 0)
    }

    /// However slowly.
    @Test func whoReadsMeanwhileStays() throws {
        let rig = try ServerRig()
        let (peer, _) = try slow(rig)
        var unreadBytes = 3 * ProtocolBounds.maxUnreadOutputBytes
        peer.handler.unreadBytes = { _ in unreadBytes }
        peer.handler.waitingBytes = { _ in 1 }
        for _ in 0..<120 { try peer.send(Self.echo) }
        for second in 0..<Int64(ProtocolBounds.maxUnreadSeconds) {
            unreadBytes -= 1
            peer.handler.sweep(now: later(second))
        }
        #expect(peer.isOpen && rig.host.memory.unread == 0)
    }

    /// However little it is.
    @Test func whoReadsNothingIsClosed() throws {
        let rig = try ServerRig()
        let (peer, _) = try slow(rig)
        try peer.send("PING\r\n")
        // Seen by the first of these, and then timed.
        peer.handler.sweep(now: later(0))
        peer.handler.sweep(now: later(Int64(ProtocolBounds.maxUnreadSeconds) - 1))
        #expect(peer.isOpen)
        peer.handler.sweep(now: later(Int64(ProtocolBounds.maxUnreadSeconds) + 1))
        #expect(!peer.isOpen)
        #expect(rig.host.memory.unread == 1)
    }

    @Test func whoReadsAtLastStays() throws {
        let rig = try ServerRig()
        let (peer, unread) = try slow(rig)
        try peer.send("PING\r\n")
        peer.handler.sweep(now: later(0))
        unread.release(into: try peer.channel.pipeline.syncOperations.context(handler: unread))
        peer.handler.sweep(now: later(Int64(ProtocolBounds.maxUnreadSeconds) + 1))
        #expect(peer.isOpen)
    }

    /// Those that hold most go first, and only as many as must.
    @Test func atTheBoundThoseThatHoldMostAreClosed() throws {
        let rig = try ServerRig(memoryBytes: 16 * 1_048_576)
        let good = try rig.connect()
        let greedy = try (0..<40).map { _ in try rig.connect() }
        for peer in greedy {
            try peer.send(Self.check + Self.echoes(90))
            #expect(rig.host.memory.connectionBytes + rig.host.limiter.heldBytes <= 18 * 1_048_576)
        }
        let closed = greedy.count { !$0.isOpen }
        #expect(closed > 0 && closed < greedy.count)
        #expect(rig.host.memory.closed == Int64(closed))
        #expect(rig.host.memory.connectionBytes + rig.host.limiter.heldBytes <= rig.host.memory.limitBytes)
        try good.send("PING\r\n")
        #expect(try good.received() == "+PONG\r\n")
    }

    /// What was written and has been read holds nothing, though nobody said so.
    @Test func whatWasReadClosesNobody() throws {
        let rig = try ServerRig(memoryBytes: 16 * 1_048_576)
        let peers = try (0..<20).map { _ in try rig.connect() }
        for _ in 0..<20 {
            for peer in peers { try peer.send(Self.echoes(10)) }
            for peer in peers { _ = try peer.pieces() }
        }
        #expect(peers.allSatisfy(\.isOpen) && rig.host.memory.closed == 0)
    }

    @Test func withoutRoomNobodyComesIn() throws {
        let rig = try ServerRig(maxConnections: 10_000, memoryBytes: 1_048_576)
        var peers: [Peer] = []
        while rig.host.memory.refused == 0 { peers.append(try rig.connect()) }
        #expect(peers.count - 1 < 1_048_576 / ServerBounds.bytesPerConnection)
        let refused = try #require(peers.last)
        #expect(!refused.isOpen)
        #expect(try refused.received().hasPrefix("-BUSY the memory for clients is used up"))
        #expect(peers.count { $0.isOpen } == peers.count - 1)
        try peers[0].channel.close().wait()
        #expect(try rig.connect().isOpen)
    }

    @Test func infoShowsWhatIsHeld() throws {
        let rig = try ServerRig()
        let peer = try rig.connect()
        try peer.send("INFO memory\r\n")
        let text = try peer.received()
        for name in ["memory_limit_bytes:536870912", "memory_connections_bytes:", "memory_tables_bytes:"] {
            #expect(text.contains(name))
        }
    }
}
