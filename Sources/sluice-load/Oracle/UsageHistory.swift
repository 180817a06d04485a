/// Some observations of a number that only grows, with their times: gives a lower bound before a given time.
///
/// It keeps four, the latest first: at least `spacingNs` lie between the second and the third, and between the third
/// and the fourth.
struct UsageHistory: Sendable {
    private struct Sighting: Sendable {
        var seenNs: Int64 = .min
        var value: Int64 = 0
    }

    private static let spacingNs: Int64 = 10_000_000

    private var sightings: InlineArray<4, Sighting> = .init(repeating: Sighting())

    /// Records that the number was at least `value`.
    mutating func add(_ value: Int64, seenNs: Int64) {
        if sightings[1].seenNs == .min || seenNs - sightings[1].seenNs >= Self.spacingNs {
            sightings[3] = sightings[2]
            sightings[2] = sightings[1]
            sightings[1] = sightings[0]
        }
        sightings[0] = Sighting(seenNs: max(seenNs, sightings[0].seenNs), value: max(value, sightings[0].value))
    }

    /// The highest value that was observed before this time; 0 if there is none.
    func value(before ns: Int64) -> Int64 {
        for index in sightings.indices where sightings[index].seenNs < ns { return sightings[index].value }
        return 0
    }
}
