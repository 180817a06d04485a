import Foundation
import NIOCore
import NIOEmbedded
import NIOPosix
import SluiceEngine
import SluiceProtocol
import Support
import Testing

@testable import SluiceServer

/// What a connection may have done in one turn of the event loop is bounded, and turns go round.
@Suite struct TurnTests {
    private let look = HeldLook()
    private let rig: ServerRig
    private static let share = ServerBounds.maxShareOfTurn

    init() throws { rig = try ServerRig(look: look) }

    private func count(_ part: String, _ text: String) -> Int { text.components(separatedBy: part).count - 1 }

    private func pings(_ count: Int) -> [UInt8] { Array(String(repeating: "PING\r\n", count: count).utf8) }

    /// The loop ends its turn, polls its sockets, finds nothing new, and ends the next turn.
    private func turn() {
        rig.eventLoop.run()
        look.look()
        rig.eventLoop.run()
    }

    @Test func aConnectionHasItsShareOfATurn() throws {
        let (greedy, good) = (try rig.connect(), try rig.connect())
        try greedy.arrive(pings(Self.share * 2 + 5))
        #expect(count("PONG", try greedy.received()) == Self.share)
        // Who comes behind it is answered in the same turn.
        try good.arrive(pings(1))
        #expect(try good.received() == "+PONG\r\n")
        rig.eventLoop.run()
        #expect(try greedy.received() == "" && look.isRequested)
        turn()
        #expect(count("PONG", try greedy.received()) == Self.share + 5)
        #expect(!look.isRequested)
    }

    /// However soon the loop finds that there is work left, it looks at all sockets before it goes on with that.
    @Test func allSocketsAreLookedAtBeforeAnybodyGetsASecondShare() throws {
        let (greedy, good) = (try rig.connect(), try rig.connect())
        try greedy.arrive(pings(Self.share * 2))
        _ = try greedy.received()
        rig.eventLoop.run()
        look.look()
        try good.arrive(pings(1))
        #expect(try good.received() == "+PONG\r\n")
        #expect(try greedy.received() == "")
        rig.eventLoop.run()
        #expect(count("PONG", try greedy.received()) == Self.share)
    }

    /// When a turn is full, those that come later in it still get a little at once.
    @Test func aFullTurnHasRoomForACaller() throws {
        let greedy = try (0..<90).map { _ in try rig.connect() }
        for peer in greedy { try peer.arrive(pings(Self.share * 2)) }
        let served = try greedy.map { count("PONG", try $0.received()) }
        let full = ServerBounds.maxWorkPerTurn / Self.share
        #expect(served.prefix(full).allSatisfy { $0 == Self.share })
        #expect(served.dropFirst(full).allSatisfy { $0 == ServerBounds.minShareOfTurn })
        let good = try rig.connect()
        try good.arrive(pings(ServerBounds.minShareOfTurn))
        #expect(count("PONG", try good.received()) == ServerBounds.minShareOfTurn)
    }

    @Test func whatFitsIntoOneShareNeedsNoOtherTurn() throws {
        let peer = try rig.connect()
        try peer.arrive(pings(Self.share))
        #expect(count("PONG", try peer.received()) == Self.share && !look.isRequested)
    }

    /// A share is one of a turn, not of an event.
    @Test func whatComesInPiecesHasOneShareToo() throws {
        let peer = try rig.connect()
        for _ in 0..<4 { try peer.arrive(pings(Self.share)) }
        #expect(count("PONG", try peer.received()) == Self.share)
        turn()
        #expect(count("PONG", try peer.received()) == Self.share * 3)
        #expect(!look.isRequested)
    }

    @Test func nothingMoreIsReadMeanwhile() throws {
        let peer = try rig.connect()
        try peer.arrive(pings(Self.share + 1))
        let before = peer.reads.count
        peer.channel.read()
        #expect(peer.reads.count == before)
        turn()
        #expect(peer.reads.count == before + 1)
    }

    @Test func turnsGoRound() throws {
        let peers = try (0..<3).map { _ in try rig.connect() }
        for peer in peers { try peer.arrive(pings(Self.share * 9)) }
        #expect(try peers.map { count("PONG", try $0.received()) } == [1, 1, 1].map { $0 * Self.share })
        for shares in [[3, 2, 2], [2, 3, 2], [2, 2, 3], [1, 1, 1]] {
            turn()
            #expect(try peers.map { count("PONG", try $0.received()) } == shares.map { $0 * Self.share })
        }
        #expect(!look.isRequested)
    }

    /// However many have work left, a turn stays short, and all come round.
    @Test func whatIsLeftOfEarlierTurnsIsBoundedTogether() throws {
        let peers = try (0..<40).map { _ in try rig.connect() }
        for peer in peers {
            rig.eventLoop.run()
            try peer.arrive(pings(Self.share * 2))
            #expect(count("PONG", try peer.received()) == Self.share)
        }
        var turns = 0
        while look.isRequested {
            turns += 1
            turn()
            let served = try peers.reduce(0) { $0 + count("PONG", try $1.received()) }
            #expect(served <= ServerBounds.maxWorkPerTurn)
        }
        let connectionsPerTurn = ServerBounds.maxWorkPerTurn / Self.share
        #expect(turns == (40 + connectionsPerTurn - 1) / connectionsPerTurn)
    }

    /// What fills a turn with new input leaves one share for old.
    @Test func whatIsLeftGoesOnHoweverMuchArrives() throws {
        let old = try rig.connect()
        try old.arrive(pings(Self.share * 4))
        _ = try old.received()
        for _ in 1...3 {
            rig.eventLoop.run()
            look.look()
            for _ in 0..<ServerBounds.maxWorkPerTurn / Self.share { try rig.connect().arrive(pings(Self.share)) }
            rig.eventLoop.run()
            #expect(count("PONG", try old.received()) == Self.share)
        }
        #expect(!look.isRequested)
    }

    @Test func errorsAndReportsCountByWhatTheyCost() throws {
        let (wrong, curious, long) = (try rig.connect(), try rig.connect(), try rig.connect())
        try wrong.arrive(Array(String(repeating: "CHECK g\r\n", count: 1_000).utf8))
        let errors = count("-", try wrong.received())
        #expect(errors > 0 && errors <= Self.share / 2)
        try curious.arrive(Array(String(repeating: "INFO\r\n", count: 1_000).utf8))
        let reports = count("sluice_version", try curious.received())
        #expect(reports > 0 && reports <= Self.share / ServerBounds.workPerReport)
        try long.arrive(Array(String(repeating: "COMMAND DOCS\r\n", count: 1_000).utf8))
        let bytes = try long.received().utf8.count
        #expect(bytes > 0 && bytes < 2 * Self.share * ServerBounds.replyBytesPerWork)
        while look.isRequested { turn() }
        #expect(count("sluice_version", try curious.received()) + reports == 1_000)
    }

    /// Checks are work as well, and wait for the store only once they were taken.
    @Test func checksHaveTheirShare() throws {
        let peer = try rig.connect()
        try peer.arrive(Array(repeating: RedisClient.frame(["CHECK", "g", "run"]), count: 200).flatMap(\.self))
        #expect(rig.host.limiter.waitingCount == Self.share)
        // They are on their way before what is left goes on.
        rig.eventLoop.run()
        #expect(rig.link.sent.count == 1)
        turn()
        #expect(rig.host.limiter.waitingCount == 200)
    }

    @Test func aConnectionThatClosesMeanwhileIsPassedOver() throws {
        let (gone, other) = (try rig.connect(), try rig.connect())
        for peer in [gone, other] { try peer.arrive(pings(Self.share + 1)) }
        _ = try gone.channel.close().wait()
        turn()
        #expect(count("PONG", try other.received()) == Self.share + 1)
        #expect(!look.isRequested)
    }

    /// However many operators ask for counters, the store is asked for one piece, and answers them in turn.
    @Test func surveysTakeTurns() throws {
        let peers = try (0..<3).map { _ in try rig.connect(asOperator: true) }
        for peer in peers { try peer.arrive(Array(String(repeating: "COUNTERS\r\nPING\r\n", count: 4).utf8)) }
        var order: [Int] = []
        for _ in 0..<12 {
            turn()
            #expect(rig.link.scans.count == 1)
            rig.link.scans.removeFirst()()
            rig.eventLoop.run()
            for (index, peer) in peers.enumerated() where count("PONG", try peer.received()) > 0 { order.append(index) }
        }
        #expect(order == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
        turn()
        #expect(rig.link.scans.isEmpty && !look.isRequested)
    }

    /// An operator that asks for counters waits for them before anything behind that is done.
    @Test func nothingBehindASurveyIsTaken() throws {
        let peer = try rig.connect(asOperator: true)
        try peer.arrive(Array("COUNTERS\r\nCHECK g run\r\nCOUNTERS\r\n".utf8))
        turn()
        #expect(rig.link.scans.count == 1 && rig.host.limiter.waitingCount == 0)
        rig.link.scans.removeFirst()()
        #expect(rig.host.limiter.waitingCount == 1)
    }

    /// The store's answer may lie in its socket: that is read before the store counts as lost.
    @Test func theStoreIsCalledAwayOnlyAfterALook() throws {
        let rig = try ServerRig(budgetMs: 20, look: look)
        let peer = try rig.connect()
        try peer.arrive(RedisClient.frame(["CHECK", "g", "run"]))
        rig.eventLoop.run()
        #expect(rig.link.sent.count == 1)
        // Its clock is the machine's.
        let sentNs = SystemClock.monotonicNs()
        while SystemClock.monotonicNs() - sentNs < 20_000_000 {}
        rig.eventLoop.advanceTime(by: .milliseconds(20))
        #expect(look.isRequested && rig.host.limiter.isShared)
        #expect(try peer.received().contains("local"))
        rig.link.answerAll()
        look.look()
        rig.eventLoop.run()
        #expect(rig.host.limiter.isShared && rig.host.limiter.statistics.outages == 0)
    }

    @Test func aLookThatFindsNothingCallsTheStoreAway() throws {
        let rig = try ServerRig(budgetMs: 20, look: look)
        let peer = try rig.connect()
        try peer.arrive(RedisClient.frame(["CHECK", "g", "run"]))
        rig.eventLoop.run()
        let sentNs = SystemClock.monotonicNs()
        while SystemClock.monotonicNs() - sentNs < 20_000_000 {}
        rig.eventLoop.advanceTime(by: .milliseconds(20))
        #expect(look.isRequested && rig.host.limiter.isShared)
        look.look()
        rig.eventLoop.run()
        #expect(!rig.host.limiter.isShared && rig.host.limiter.statistics.outages == 1)
    }
}

/// Since when what is found may have lain there.
@Suite struct LoopTurnsTests {
    @Test func aLoopThatSleptFindsWhatCameJustThen() {
        var turns = LoopTurns()
        turns.open(nowNs: 1_000_000)
        turns.close(nowNs: 1_010_000)
        turns.open(nowNs: 9_000_000)
        #expect(turns.readableNs == 9_000_000 && turns.beganNs == 9_000_000 && turns.number == 2)
    }

    @Test func whatComesDuringALongTurnHasWaitedSince() {
        var turns = LoopTurns()
        turns.open(nowNs: 1_000_000)
        turns.open(nowNs: 50_000_000)
        #expect(turns.number == 1 && turns.beganNs == 1_000_000)
        turns.close(nowNs: 96_000_000)
        turns.open(nowNs: 96_000_000 + ServerBounds.sleepNs)
        #expect(turns.readableNs == 1_000_000)
    }
}

/// The real thing, on a real loop.
@Suite struct LoopLookTests {
    /// Tasks that are given to the loop all run before it looks; what asked for a look comes behind them, each time.
    @Test func itCallsBackBehindALookAtTheSockets() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let order = loop.makePromise(of: [String].self)
        try await loop.submit {
            let look = LoopLook(eventLoop: loop)
            var seen: [String] = []
            look.whenLooked = {
                seen.append("look")
                guard seen.count(where: { $0 == "look" }) < 3 else {
                    look.close()
                    look.whenLooked = nil
                    return order.succeed(seen)
                }
                look.request()
                look.request()
                loop.assumeIsolated().execute {
                    seen.append("task")
                    loop.assumeIsolated().execute { seen.append("its task") }
                }
            }
            look.open()
            // Its pipe is there once the tasks before this one have run.
            loop.assumeIsolated().execute { loop.assumeIsolated().execute { look.request() } }
        }.get()
        let seen = try await order.futureResult.get()
        #expect(seen == ["look", "task", "its task", "look", "task", "its task", "look"])
    }
}
