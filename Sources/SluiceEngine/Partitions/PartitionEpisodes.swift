/// How often something befell a server, of what each of its partitions notices for itself: what partitions notice within
/// `EngineBounds.episodeNs` is one event.
struct PartitionEpisodes {
    private(set) var count: Int64 = 0
    private var beganNs = Int64.min / 2
    /// What each partition has counted.
    private var totals: [Int64]

    init(partitions: Int) { totals = Array(repeating: 0, count: partitions) }

    /// - Parameter total: how often the partition has noticed it so far.
    mutating func note(_ total: Int64, of partition: Int, now: ClockReading) {
        guard total != totals[partition] else { return }
        totals[partition] = total
        guard now.monotonicNs - beganNs > EngineBounds.episodeNs else { return }
        beganNs = now.monotonicNs
        count += 1
    }
}
