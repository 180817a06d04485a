/// The names that occur most often in a stream, with their rates: at most `capacity` of them, however many there are
/// (space-saving; Metwally, Agrawal, El Abbadi 2005).
///
/// A new name takes the place of the one with the least weight and inherits that weight, so that a frequent name stays once
/// it is there. Weights fade, so what was frequent a minute ago makes room. Rates are of what was counted under the name
/// itself.
struct TopSketch: Sendable {
    struct Entry: Sendable {
        let name: String
        /// A second, lately.
        fileprivate(set) var rate = 0.0
        fileprivate(set) var deniedRate = 0.0
        /// What was said with it last.
        fileprivate(set) var note = ""
        /// Other names that came with it, at most `TopSketch.maxOthers`.
        fileprivate(set) var others: Set<String> = []
        fileprivate var weight = 0.0
        fileprivate var pending = 0.0
        fileprivate var pendingDenied = 0.0
        /// A name that is new has no rate that could fade.
        fileprivate var isNew = true
    }

    static let maxOthers = 100
    /// How much of a rate is that of the last interval.
    private static let freshness = 0.4
    /// Names with a rate below this are forgotten.
    private static let minRate = 0.005

    let capacity: Int
    private var byName: [String: Entry] = [:]

    init(capacity: Int) { self.capacity = capacity }

    var entries: [Entry] { Array(byName.values) }

    mutating func count(_ name: String, isDenied: Bool, note: String, other: String = "") {
        var entry = byName.removeValue(forKey: name) ?? newcomer(name)
        entry.weight += 1
        entry.pending += 1
        if isDenied { entry.pendingDenied += 1 }
        if !note.isEmpty { entry.note = note }
        if !other.isEmpty, entry.others.count < Self.maxOthers { entry.others.insert(other) }
        byName[name] = entry
    }

    private mutating func newcomer(_ name: String) -> Entry {
        var entry = Entry(name: name)
        guard byName.count >= capacity, let least = byName.values.min(by: { $0.weight < $1.weight }) else {
            return entry
        }
        byName[least.name] = nil
        entry.weight = least.weight
        return entry
    }

    /// Ends an interval. - Parameters:
    ///   - factor: how many decisions each one that was counted stands for.
    ///   - seconds: how long it was, more than 0.
    mutating func fold(factor: Double, seconds: Double) {
        for (name, entry) in byName {
            var entry = entry
            func faded(_ rate: Double, _ count: Double) -> Double {
                let now = count * factor / seconds
                return entry.isNew ? now : rate + (now - rate) * Self.freshness
            }
            entry.rate = faded(entry.rate, entry.pending)
            entry.deniedRate = faded(entry.deniedRate, entry.pendingDenied)
            entry.isNew = false
            (entry.pending, entry.pendingDenied) = (0, 0)
            entry.weight *= 1 - Self.freshness / 2
            byName[name] = entry.rate < Self.minRate ? nil : entry
        }
    }
}
