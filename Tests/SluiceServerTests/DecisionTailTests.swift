import Foundation
import NIOCore
import NIOEmbedded
import SluiceProtocol
import Support
import Testing

@testable import SluiceServer

/// What a listener gets of decisions, and what it costs the others.
@Suite struct DecisionTailTests {
    private static let line = Array("{\"a\":1}\n".utf8)

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    // MARK: - The queue

    @Test func linesAreBulkStrings() {
        var tail = DecisionTail()
        tail.append(Self.line, nowNs: 0)
        #expect(Self.text(tail.take(nowNs: 0)) == "$7\r\n{\"a\":1}\r\n")
        #expect(tail.take(nowNs: 0).isEmpty)
    }

    @Test func linesOfASecondMayComeAtOnceAndThenTheRateHolds() {
        var tail = DecisionTail()
        let rate = ServerBounds.tailLinesPerSecond
        let nowNs: Int64 = 5_000_000_000
        for _ in 0..<2 * rate { tail.append(Self.line, nowNs: nowNs) }
        #expect(tail.leftOut == rate)
        let first = Self.text(tail.take(nowNs: nowNs))
        #expect(first.components(separatedBy: "{\"a\":1}").count == Int(rate) + 1)
        // The report is due at once, since there was none before.
        #expect(first.hasSuffix("$16\r\n{\"dropped\":\(rate)}\r\n") && tail.leftOut == 0)
        // Half a second later half as many have room; the next report comes a second after the last.
        for _ in 0..<rate { tail.append(Self.line, nowNs: nowNs + 500_000_000) }
        #expect(tail.leftOut == rate / 2)
        #expect(tail.reportNs == nowNs + 1_000_000_000)
        #expect(!Self.text(tail.take(nowNs: nowNs + 500_000_000)).contains("dropped"))
        #expect(Self.text(tail.take(nowNs: nowNs + 1_000_000_000)) == "$15\r\n{\"dropped\":\(rate / 2)}\r\n")
    }

    @Test func whatWaitsIsBoundedInBytes() {
        var tail = DecisionTail()
        let long = [UInt8](repeating: UInt8(ascii: "x"), count: 9_999) + [UInt8(ascii: "\n")]
        for _ in 0..<100 { tail.append(long, nowNs: 1) }
        #expect(tail.leftOut > 0 && tail.waiting.count < ServerBounds.maxTailBytes + 2 * long.count)
        let kept = tail.waiting.count / long.count
        #expect(tail.leftOut == Int64(100 - kept))
        #expect(Self.text(tail.take(nowNs: 1, isLast: true)).contains("{\"dropped\":\(100 - kept)}"))
    }

    @Test func namesAndPatternsAreMatched() {
        func matches(_ grant: String?, _ tool: String?) -> Bool {
            var request = TailRequest()
            (request.grant, request.tool) = (grant, tool)
            let input = Array("xalice-laptoprun".utf8)
            return TailFilter(request).matches(CheckRequest(grant: 1..<13, tool: 13..<16), in: input.span)
        }
        #expect(matches(nil, nil) && matches("alice-laptop", nil) && matches("alice-*", "run") && matches("*", "*n"))
        #expect(!matches("alice", nil) && !matches("alice-laptop", "ru") && !matches("bob-*", nil))
    }

    // MARK: - The connection

    /// The decisions that a listener got since the last call.
    private static func lines(_ peer: Peer) throws -> [String] {
        try peer.received().components(separatedBy: "\r\n").filter { $0.hasPrefix("{") }
    }

    private static func count(_ text: String, _ lines: [String]) -> Int { lines.count { $0.contains(text) } }

    /// A listener, whom the sidecar takes for an operator.
    private static func listen(_ rig: ServerRig, _ words: String...) async throws -> Peer {
        let peer = try rig.connect(asOperator: true)
        try peer.send(["TAIL"] + words)
        #expect(try peer.received() == "+OK\r\n")
        return peer
    }

    @Test func decisionsOfOthersAreStreamed() async throws {
        let rig = try ServerRig()
        #expect(rig.host.decisionLog == nil)
        let all = try await Self.listen(rig)
        let denied = try await Self.listen(rig, "DENIED", "GRANT", "g*")
        let peer = try rig.connect()
        // The first waits for the store, and is answered later.
        try peer.send(["CHECK", "g1", "run"])
        #expect(try Self.lines(all).isEmpty)
        rig.answerAll()
        try peer.send(["CHECK", "g2", "none"])
        try peer.send(["CHECK", "h", "none", "SERVER", "s"])
        rig.eventLoop.run()
        let (everything, some) = (try Self.lines(all), try Self.lines(denied))
        #expect(everything.count == 3 && Self.count("\"verdict\":\"deny\"", everything) == 2)
        #expect(everything[0].contains(#""door":"socket","action":"check","grant":"g1","tool":"run""#))
        #expect(some.count == 1 && some[0].contains("\"g2\""))
        // What they send is dropped; when they close, nothing is encoded any more.
        try all.send(["CHECK", "g1", "run"])
        #expect(try all.received() == "" && all.isOpen)
        _ = try all.channel.finish()
        #expect(rig.host.decisionLog?.listenerCount == 1)
        _ = try denied.channel.finish()
        #expect(rig.host.decisionLog == nil)
    }

    @Test func onlyOperatorsListenAndOnlyAFew() async throws {
        let rig = try ServerRig()
        let stranger = try rig.connect()
        try stranger.send(["TAIL"])
        #expect(try stranger.received().hasPrefix("-NOPERM "))
        var listeners: [Peer] = []
        for _ in 0..<ServerBounds.maxTails { listeners.append(try await Self.listen(rig)) }
        let late = try rig.connect(asOperator: true)
        try late.send(["TAIL"])
        #expect(try late.received().hasPrefix("-BUSY 8 connections listen to decisions already"))
        try late.send(["PING"])
        #expect(try late.received() == "+PONG\r\n")
        // A place is taken again, and its new owner gets nothing that the old one asked for.
        let peer = try rig.connect()
        try peer.send(["CHECK", "g", "run"])
        _ = try listeners[3].channel.finish()
        try late.send(["TAIL", "GRANT", "other"])
        #expect(try late.received() == "+OK\r\n")
        rig.answerAll()
        #expect(try Self.lines(late).isEmpty)
        #expect(try Self.lines(listeners[0]).count == 1)
    }

    @Test func aListenerThatDoesNotReadHoldsLittleAndIsToldWhatItMissed() async throws {
        let rig = try ServerRig()
        let listener = try await Self.listen(rig)
        listener.channel.isWritable = false
        listener.channel.pipeline.fireChannelWritabilityChanged()
        let peer = try rig.connect()
        let count = 3_000
        for _ in 0..<count { try peer.arrive(Array("CHECK g none\r\n".utf8)) }
        rig.eventLoop.run()
        #expect(try Self.lines(listener).isEmpty)
        let held = listener.handler.heldBytes
        #expect(held < ServerBounds.maxTailBytes + 65_536)
        // However long it waits, it is not closed.
        listener.handler.sweep(now: later(120))
        #expect(listener.isOpen)
        listener.channel.isWritable = true
        listener.channel.pipeline.fireChannelWritabilityChanged()
        rig.eventLoop.run()
        let lines = try Self.lines(listener)
        let dropped = lines.compactMap { $0.firstMatch(of: #/"dropped":(\d+)/#).flatMap { Int($0.1) } }.reduce(0, +)
        #expect(dropped > 0 && lines.count - 1 + dropped == count)
    }

    @Test func aDrainEndsTheStreamAfterWhatWaits() async throws {
        let rig = try ServerRig()
        let listener = try await Self.listen(rig)
        let peer = try rig.connect()
        try peer.arrive(Array("CHECK g none\r\n".utf8))
        rig.host.drain {}
        rig.eventLoop.run()
        #expect(try Self.lines(listener).count == 1 && !listener.isOpen)
        #expect(rig.host.decisionLog == nil)
    }

    /// A log in a file goes on when listeners come and go.
    @Test func aFileAndListenersGetTheSameLines() async throws {
        let rig = try ServerRig()
        let folder = try TemporaryFolder()
        let file = try LineFile(folder.path("d"))
        let writerLoop = PolledLoop()
        let writer = LineWriter(file, eventLoop: writerLoop, logger: rig.host.logger)
        rig.host.decisionLog = DecisionLog(DecisionLogConfiguration(file: file, sample: 0), writer: writer)
        let listener = try await Self.listen(rig)
        let peer = try rig.connect()
        try peer.send(["CHECK", "g", "none"])
        try peer.send(["CHECK", "g", "free"])
        let lines = try Self.lines(listener)
        #expect(lines.count == 2)
        _ = try listener.channel.finish()
        try peer.send(["CHECK", "g", "none"])
        let log = try #require(rig.host.decisionLog)
        #expect(log.lineCount == 2)
        nonisolated(unsafe) var isWritten = false
        log.close { isWritten = true }
        try await waitUntil("the lines are written") {
            writerLoop.run()
            return isWritten
        }
        let written = try String(contentsOfFile: folder.path("d"), encoding: .utf8).split(separator: "\n")
        #expect(written.count == 3 && written[1] == lines[0])
    }
}
