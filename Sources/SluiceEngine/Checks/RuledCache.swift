/// Decisions of the policies alone, by grant, tool and approval. What counts nothing takes no row of a table, so
/// invented names, sessions or denied tools cannot fill one.
///
/// A fixed number of places, each with the newest decision that maps to it. A check that is not found asks the
/// policies again.
struct RuledCache {
    private struct Place {
        var part: [UInt8] = []
        var decision: Decision?
    }

    private var places: [Place] = []
    /// Bytes held, with names and messages.
    private(set) var bytes = 0

    private static func place(_ part: ArraySlice<UInt8>) -> Int {
        Int(truncatingIfNeeded: stableHash(part)) & (EngineBounds.ruledPlaces - 1)
    }

    func find(_ identity: ByteString) -> Decision? {
        guard !places.isEmpty else { return nil }
        let part = Identity.ruledPart(ofKey: identity.bytes)
        let place = Self.place(part)
        guard places[place].part.elementsEqual(part) else { return nil }
        return places[place].decision
    }

    mutating func insert(_ identity: ByteString, _ decision: Decision) {
        if places.isEmpty {
            places = [Place](repeating: Place(), count: EngineBounds.ruledPlaces)
            bytes = HeldBytes.array(places.count * MemoryLayout<Place>.stride)
        }
        let part = Identity.ruledPart(ofKey: identity.bytes)
        let place = Self.place(part)
        bytes -= Self.boxedBytes(places[place])
        places[place] = Place(part: Array(part), decision: decision)
        bytes += Self.boxedBytes(places[place])
    }

    private static func boxedBytes(_ place: Place) -> Int {
        guard let decision = place.decision else { return 0 }
        return HeldBytes.array(place.part.count) + HeldBytes.array(decision.rule.utf8.count)
            + HeldBytes.array(decision.message.utf8.count)
    }
}
