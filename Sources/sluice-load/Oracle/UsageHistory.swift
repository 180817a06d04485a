/// Some of what was seen of a number that only grows, and when: tells the least that it was before a given time.
///
/// Four are kept, the latest first: at least `spacingNs` lie between the second and the third, and between the third and
/// the fourth.
struct UsageHistory: Sendable {
    private struct Sighting: Sendable {
        var seenNs: Int64 = .min
        var value: Int64 = 0
    }

    private static let spacingNs: Int64 = 10_000_000

    private var sightings: InlineArray<4, Sighting> = .init(repeating: Sighting())

    /// It was seen to be at least `value`.
    mutating func add(_ value: Int64, seenNs: Int64) {
        if sightings[1].seenNs == .min || seenNs - sightings[1].seenNs >= Self.spacingNs {
            sightings[3] = sightings[2]
            sightings[2] = sightings[1]
            sightings[1] = sightings[0]
        }
        sightings[0] = Sighting(seenNs: max(seenNs, sightings[0].seenNs), value: max(value, sightings[0].value))
    }

    /// The highest that is known to have been seen before this; 0 if nothing is.
    func value(before ns: Int64) -> Int64 {
        for index in sightings.indices where sightings[index].seenNs < ns { return sightings[index].value }
        return 0
    }
}
