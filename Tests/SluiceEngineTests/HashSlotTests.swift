import SluiceEngine
import Testing

@Suite struct HashSlotTests {
    /// The first is the check value of CRC-16/XMODEM; the others are what `CLUSTER KEYSLOT` of Redis 7.0.15 answers.
    @Test(arguments: [
        ("123456789", 0x31C3), ("", 0), ("foo", 12_182), ("bar", 5_061), ("hello", 866), ("somekey", 11_058),
    ])
    func aSlotIsTheChecksumOfTheTag(_ tag: String, _ slot: Int) {
        #expect(HashSlot.of(tag: tag.utf8) == slot)
    }

    @Test(arguments: [1, 2, 3, 7, 64, 100, 255, 256])
    func eachPartitionHasATagInItsOwnStretch(_ count: Int) {
        let tags = PartitionTags(count: count)
        #expect(tags.count == count)
        for partition in 0..<count {
            let slot = HashSlot.of(tag: tags[partition])
            #expect(slot * count / HashSlot.count == partition)
            #expect((1...3).contains(tags[partition].count))
            #expect(tags[partition].allSatisfy { (97...122).contains($0) || (48...57).contains($0) })
        }
    }

    /// Another tag for a partition would lose its counters.
    @Test func tagsStayWhatTheyAre() {
        let tags = PartitionTags(count: 4)
        #expect((0..<4).map { String(decoding: tags[$0], as: UTF8.self) } == ["b", "c", "d", "a"])
        #expect(PartitionTags(count: 1)[0] == Array("a".utf8))
    }

    /// However many masters share the slots evenly, each gets its part of 64 partitions, but for one.
    @Test(arguments: 1...20)
    func mastersGetEqualParts(_ masters: Int) {
        let tags = PartitionTags(count: 64)
        var partitions = [Int](repeating: 0, count: masters)
        for partition in 0..<64 { partitions[HashSlot.of(tag: tags[partition]) * masters / HashSlot.count] += 1 }
        #expect(partitions.allSatisfy { abs($0 * masters - 64) <= 2 * masters }, "\(partitions)")
    }
}
