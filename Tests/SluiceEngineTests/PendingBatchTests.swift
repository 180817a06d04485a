import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct PendingBatchTests {
    private func tickets(_ batch: PendingBatch, _ entry: EntryIndex) -> [UInt64] {
        var found: [UInt64] = []
        var index = batch.entries[entry].firstWaiter
        while index >= 0 {
            found.append(batch.waiters[index].ticket.rawValue)
            index = batch.waiters[index].next
        }
        return found
    }

    private func two() -> PendingBatch {
        var batch = PendingBatch()
        batch.reset(id: 3)
        let one = batch.addEntry(plan: PlanID(10), cost: 1, isPeek: false, chargeCount: 2)
        let other = batch.addEntry(plan: PlanID(11), cost: 5, isPeek: true, chargeCount: 1)
        for (ticket, entry) in [(1, one), (2, other), (3, one), (4, one), (5, other)] as [(UInt64, EntryIndex)] {
            batch.addWaiter(
                Ticket(rawValue: ticket), deadlineNs: Int64(ticket) * 100, wantsTrace: false, toEntry: entry)
        }
        return batch
    }

    @Test func waitersOfAnEntryKeepTheirOrder() {
        let batch = two()
        #expect(tickets(batch, EntryIndex(0)) == [1, 3, 4])
        #expect(tickets(batch, EntryIndex(1)) == [2, 5])
        #expect(batch.entries[0].unanswered == 3 && batch.entries[1].unanswered == 2)
        #expect(batch.chargeCount == 3 && batch.id == 3)
    }

    /// A check of several partitions has waited elsewhere before: its time is over before that of those ahead of it.
    @Test func whoHasLittleTimeLeftIsNotBehindOthers() {
        var batch = PendingBatch()
        batch.reset(id: 1)
        let entry = batch.addEntry(plan: PlanID(1), cost: 1, isPeek: false, chargeCount: 1)
        let slackNs = EngineBounds.deadlineSlackNs
        let deadlines: [Int64] = [20, 30, 10, 31, 15].map { $0 * slackNs }
        for (ticket, deadlineNs) in deadlines.enumerated() {
            batch.addWaiter(
                Ticket(rawValue: UInt64(ticket)), deadlineNs: deadlineNs, wantsTrace: false, toEntry: entry)
        }
        var order: [Int] = []
        while let nextNs = batch.oldestDeadlineNs(), let index = batch.takeExpired(nowNs: nextNs) {
            order.append(index)
        }
        #expect(order == [2, 4, 0, 1, 3])
    }

    @Test func takesWhoseTimeIsOverInOrderOfArrival() {
        var batch = two()
        #expect(batch.oldestDeadlineNs() == 100)
        #expect(batch.takeExpired(nowNs: 99) == nil)
        #expect(batch.takeExpired(nowNs: 250) == 0)
        #expect(batch.takeExpired(nowNs: 250) == 1)
        #expect(batch.takeExpired(nowNs: 250) == nil)
        #expect(batch.oldestDeadlineNs() == 300)
        #expect(batch.entries[0].unanswered == 2 && batch.entries[1].unanswered == 1)
        batch.admitLocally(0, atMs: 5)
        #expect(batch.waiters[0].state == .gaveUp && batch.entries[0].locallyAdmitted == 0)
        batch.sequence = 9
        #expect(batch.takeExpired(nowNs: 300) == 2)
        #expect(batch.waiters[2].state == .gaveUp)
        batch.admitLocally(2, atMs: 5)
        #expect(batch.waiters[2].state == .admittedLocally && batch.entries[0].locallyAdmitted == 1)
        while batch.takeExpired(nowNs: .max) != nil {}
        #expect(batch.oldestDeadlineNs() == nil)
        #expect(batch.entries.allSatisfy { $0.unanswered == 0 })
    }

    @Test func resetLeavesNothing() {
        var batch = two()
        batch.sequence = 4
        batch.resends = 2
        _ = batch.takeExpired(nowNs: .max)
        batch.reset(id: 8)
        #expect(batch.id == 8 && !batch.isSent && batch.resends == 0 && batch.chargeCount == 0)
        #expect(batch.entries.isEmpty && batch.waiters.isEmpty && batch.oldestDeadlineNs() == nil)
        let entry = batch.addEntry(plan: PlanID(1), cost: 1, isPeek: false, chargeCount: 1)
        batch.addWaiter(Ticket(rawValue: 1), deadlineNs: 5, wantsTrace: true, toEntry: entry)
        #expect(batch.oldestDeadlineNs() == 5)
    }
}
