import Foundation
import Support
import SluiceEngine
import Testing

@testable import SluiceServer

@Suite struct ConnectionTableTests {
    @Test func aSlotIsUsedAgainWhenNoAnswerIsDue() throws {
        let rig = try ServerRig()
        var table = ConnectionTable(capacity: 10)
        let first = table.add(rig.makeHandler())
        #expect(first == 0)
        table.remove(0)
        table.remove(0)
        #expect(table.count == 0)
        #expect(table.add(rig.makeHandler()) == 0)
    }

    @Test func aSlotIsNotUsedAgainWhileAnswersAreUnderWay() throws {
        let rig = try ServerRig()
        var table = ConnectionTable(capacity: 10)
        _ = table.add(rig.makeHandler())
        table.expectAnswer(0)
        table.expectAnswer(0)
        table.remove(0)
        #expect(table.add(rig.makeHandler()) == 1)
        table.noteAnswer(0)
        #expect(table[0] == nil && table.handler(0) == nil)
        #expect(table.add(rig.makeHandler()) == 2)
        table.noteAnswer(0)
        #expect(table.add(rig.makeHandler()) == 0)
        #expect(table.count == 3)
    }

    @Test func thereIsAMost() throws {
        let rig = try ServerRig()
        var table = ConnectionTable(capacity: 2)
        let handlers = (0..<3).map { _ in rig.makeHandler() }
        #expect(handlers.map { table.add($0) } == [0, 1, nil])
        table.remove(1)
        #expect(table.add(handlers[2]) == 1)
        #expect(table.all.count == 2)
    }

    /// Connections come and go while answers are under way: each answer reaches the connection that asked, or nobody.
    @Test(arguments: 0..<100)
    func answersReachWhoAsked(seed: Int) throws {
        let rig = try ServerRig()
        var random = SeededRandom(seed: UInt64(seed))
        var table = ConnectionTable(capacity: 8)
        var live: [Int: ConnectionHandler] = [:]
        var pending: [(slot: Int, asker: ConnectionHandler)] = []
        for _ in 0..<300 {
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                let handler = rig.makeHandler()
                if let slot = table.add(handler) {
                    #expect(live[slot] == nil)
                    live[slot] = handler
                } else {
                    #expect(live.count == 8)
                }
            case 1:
                guard let slot = live.keys.sorted().randomElement(using: &random) else { continue }
                table.remove(slot)
                live[slot] = nil
            case 2:
                guard let slot = live.keys.sorted().randomElement(using: &random), let asker = live[slot] else {
                    continue
                }
                table.expectAnswer(slot)
                pending.append((slot, asker))
            default:
                guard !pending.isEmpty else { continue }
                let (slot, asker) = pending.remove(at: Int.random(in: 0..<pending.count, using: &random))
                table.noteAnswer(slot)
                let reached = table[slot]
                #expect(reached == nil ? live[slot] == nil : reached === asker)
                #expect(table.handler(slot) === reached)
            }
            #expect(table.count == live.count)
        }
    }
}
