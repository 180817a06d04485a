/// The tags of a number of partitions: what their keys have in braces, so that all keys of a partition lie in one slot.
///
/// The slots are divided into as many equal stretches as there are partitions, and the tag of a partition is the
/// shortest text with a slot in its stretch: so each master of a cluster gets as many partitions as it has slots for,
/// however many masters there are. The same number of partitions always has the same tags.
package struct PartitionTags: Sendable, Equatable {
    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)

    private let tags: [[UInt8]]

    /// - Parameter count: how many partitions, 1 to 256.
    package init(count: Int) {
        precondition((1...EngineBounds.maxPartitions).contains(count))
        var tags = [[UInt8]](repeating: [], count: count)
        var missing = count
        // Texts of one letter, then of two, and so on, each length in the alphabet's order.
        var texts: [[UInt8]] = [[]]
        while missing > 0 {
            texts = texts.flatMap { text in Self.alphabet.map { text + [$0] } }
            for text in texts {
                let stretch = HashSlot.of(tag: text) * count / HashSlot.count
                guard tags[stretch].isEmpty else { continue }
                tags[stretch] = text
                missing -= 1
            }
        }
        self.tags = tags
    }

    package var count: Int { tags.count }

    /// Letters and digits, from partition 0 on.
    package subscript(partition: Int) -> [UInt8] { tags[partition] }
}
