/// Decisions of the policies alone, by grant, tool, approval and server. What counts nothing takes no row of a table, so
/// invented names, sessions or denied tools cannot fill one.
///
/// A fixed number of places, each with the newest decision that maps to it. A check that is not found asks the
/// policies again.
struct RuledCache {
    struct Ruled {
        var ruling: CallRuling
        /// For a ruling that does not depend on the time, that of every check.
        var decision: Decision
    }

    private struct Place {
        var part: [UInt8] = []
        var ruled: Ruled?
    }

    private var places: [Place] = []
    /// Bytes held, with names and messages.
    private(set) var bytes = 0

    private static func place(_ part: ArraySlice<UInt8>) -> Int {
        Int(truncatingIfNeeded: stableHash(part)) & (EngineBounds.ruledPlaces - 1)
    }

    func find(_ identity: ByteString) -> Ruled? {
        guard !places.isEmpty else { return nil }
        let part = Identity.ruledPart(ofKey: identity.bytes)
        let place = Self.place(part)
        guard places[place].part.elementsEqual(part) else { return nil }
        return places[place].ruled
    }

    mutating func insert(_ identity: ByteString, _ ruled: Ruled) {
        if places.isEmpty {
            places = [Place](repeating: Place(), count: EngineBounds.ruledPlaces)
            bytes = HeldBytes.array(places.count * MemoryLayout<Place>.stride)
        }
        let part = Identity.ruledPart(ofKey: identity.bytes)
        let place = Self.place(part)
        bytes -= Self.boxedBytes(places[place])
        places[place] = Place(part: Array(part), ruled: ruled)
        bytes += Self.boxedBytes(places[place])
    }

    private static func boxedBytes(_ place: Place) -> Int {
        guard let ruled = place.ruled else { return 0 }
        return HeldBytes.array(place.part.count) + HeldBytes.array(ruled.decision.rule.utf8.count)
            + HeldBytes.array(ruled.decision.message.utf8.count)
    }
}
