import Testing

@testable import SluiceEngine

/// Which partitions of a master send their checks, and which wait for their turn.
@Suite struct MasterQueuesTests {
    private static let placeTTLNs: Int64 = 3_000_000
    private var queues = MasterQueues(partitions: 8, placeTTLNs: Self.placeTTLNs)
    private var nowNs: Int64 = 1_000

    private var now: ClockReading { ClockReading(monotonicNs: nowNs, wallMs: 0) }

    /// All partitions that may send now, which do.
    private mutating func departures() -> [Int] {
        var departed: [Int] = []
        while let partition = queues.takeNext(now: now) {
            queues.note(partition, sentNs: nowNs, waits: false)
            departed.append(partition)
        }
        return departed
    }

    private mutating func wait(_ partitions: Int...) {
        for partition in partitions { queues.note(partition, sentNs: nil, waits: true) }
    }

    private mutating func settle(_ partitions: Int..., waits: Bool = false) {
        for partition in partitions { queues.note(partition, sentNs: nil, waits: waits) }
    }

    private mutating func place(_ partitions: some Sequence<Int>, at name: String) {
        for partition in partitions { queues.moved(partition, to: name) }
    }

    @Test mutating func halfOfAMastersPartitionsSendAtOnce() {
        place(0..<8, at: "a")
        wait(3, 1, 0, 2, 7, 6)
        #expect(departures() == [3, 1, 0, 2])
        nowNs += 1_000
        settle(1, waits: true)
        #expect(departures() == [7])
        settle(3, 0)
        // In the order in which they began to wait.
        #expect(departures() == [6, 1])
        wait(5)
        #expect(departures() == [])
        settle(2)
        #expect(departures() == [5])
    }

    @Test mutating func aLoneCheckIsNotDelayed() {
        place(0..<8, at: "a")
        for partition in 0..<8 {
            wait(partition)
            #expect(departures() == [partition])
            #expect(queues.nextTickNs == .max)
            settle(partition)
        }
    }

    @Test mutating func mastersDoNotWaitForEachOther() {
        place(0..<4, at: "a")
        place(4..<8, at: "b")
        wait(0, 1, 2, 3, 4, 5, 6)
        #expect(departures().sorted() == [0, 1, 4, 5])
        settle(4)
        #expect(departures() == [6])
    }

    /// With few partitions a master would wait for the next batch.
    @Test(arguments: 1...3) mutating func fewPartitionsNeedNoTurns(count: Int) {
        place(0..<count, at: "a")
        for partition in 0..<count { wait(partition) }
        #expect(departures() == Array(0..<min(count, 2)))
    }

    @Test mutating func withoutAMasterNothingWaits() {
        wait(0, 1, 2, 3, 4, 5, 6, 7)
        #expect(departures() == Array(0..<8))
    }

    /// Its checks ran out of time, or are answered locally.
    @Test mutating func whatNoLongerWaitsIsPassedOver() {
        place(0..<8, at: "a")
        wait(0, 1, 2, 3, 4, 5)
        #expect(departures() == [0, 1, 2, 3])
        settle(4)
        settle(0)
        #expect(departures() == [5])
        // It is not forgotten, and waits behind the others.
        wait(6, 4)
        settle(1, 2)
        #expect(departures() == [6, 4])
    }

    /// What hangs keeps the others waiting for a bounded time.
    @Test mutating func aBatchGivesUpItsPlaceAfterATime() {
        place(0..<8, at: "a")
        wait(0, 1)
        #expect(departures() == [0, 1])
        nowNs += 1_000_000
        wait(2, 3, 4, 5, 6)
        #expect(departures() == [2, 3])
        #expect(queues.nextTickNs == 1_000 + Self.placeTTLNs)
        nowNs = queues.nextTickNs
        #expect(departures() == [4, 5])
        #expect(queues.nextTickNs == 1_001_000 + Self.placeTTLNs)
        // It has no place, whatever else happens to it.
        queues.note(0, sentNs: 1_000, waits: false)
        settle(4)
        #expect(departures() == [6])
        // Its answer came: the next batch has one.
        settle(0, waits: true)
        #expect(departures() == [])
        settle(5)
        #expect(departures() == [0])
    }

    /// What is sent out of turn, such as heartbeats, has a place as well.
    @Test mutating func everyBatchCounts() {
        place(0..<8, at: "a")
        for partition in 0..<4 { queues.note(partition, sentNs: nowNs, waits: false) }
        wait(4)
        #expect(departures() == [])
        settle(2)
        #expect(departures() == [4])
    }

    @Test mutating func aPartitionThatMovesTakesItsPlaceAlong() {
        place(0..<4, at: "a")
        place(4..<8, at: "b")
        wait(0, 1, 2, 3)
        #expect(departures() == [0, 1])
        // A batch was sent on to another master.
        place([0], at: "b")
        #expect(departures() == [2])
        wait(4, 5)
        #expect(departures() == [4, 5])
        wait(6)
        #expect(departures() == [])
        // So does what waits.
        place([6], at: "a")
        settle(1)
        #expect(departures() == [3])
        settle(2)
        #expect(departures() == [6])
        settle(0, 3, 4, 5, 6)
    }

    /// As masters are replaced by others under other names, again and again.
    @Test mutating func mastersComeAndGo() {
        for round in 0..<200 {
            place(0..<8, at: "master \(round)")
            wait(0, 1, 2, 3, 4)
            #expect(departures() == [0, 1, 2, 3])
            settle(0, 1, 2, 3)
            #expect(departures() == [4])
            settle(4)
        }
        #expect(queues.masterCount <= 8)
    }
}
