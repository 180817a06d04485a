/// How replicas that cannot communicate split what is left of a window, so that the shares add up exactly.
package struct ReplicaView: Sendable, Equatable {
    /// This replica.
    package let own: UInt64
    /// The replicas last known to be live, each once and this one among them; empty if the store never reported any.
    package let live: [UInt64]
    /// The minimum number of replicas to assume.
    package let assumed: Int

    package init(own: UInt64, live: [UInt64] = [], assumed: Int) {
        precondition(assumed >= 1)
        self.own = own
        // Shares are computed from the list's length: a list that lacks this replica, or has one twice, would give
        // shares that do not add up.
        self.live = live.isEmpty ? [] : Set(live).union([own]).sorted()
        self.assumed = assumed
    }

    /// The number of replicas that share.
    var count: Int64 { Int64(max(live.count, assumed)) }

    /// This replica's share of `total`: the quotient, and one unit of the remainder if this replica is among the first
    /// when all are ranked by a hash of counter and replica (so that the same replica is not first for every counter).
    /// If fewer replicas are known than assumed, ranks are unknown and no replica takes the remainder: the shares then
    /// add up to less than `total`, by less than the number of replicas, and never to more.
    ///
    /// - Parameter total: a negative total counts as 0.
    package func share(of total: Int64, counterHash: UInt64) -> Int64 {
        guard total > 0 else { return 0 }
        let replicas = count
        let quotient = total / replicas
        let remainder = Int(total % replicas)
        guard remainder > 0, live.count >= assumed else { return quotient }
        let mine = Self.rank(own, counterHash)
        let ahead = live.count { $0 != own && (Self.rank($0, counterHash), $0) < (mine, own) }
        return quotient + (ahead < remainder ? 1 : 0)
    }

    private static func rank(_ replica: UInt64, _ counterHash: UInt64) -> UInt64 {
        var random = SeededRandom(seed: replica ^ counterHash)
        return random.next()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"): small, seeded, the same on
/// every machine.
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// FNV-1a, 64 bit: the same on every replica, which the ranking needs.
package func stableHash(_ bytes: some Sequence<UInt8>, after hash: UInt64 = 0xCBF2_9CE4_8422_2325) -> UInt64 {
    func add(_ hash: UInt64, _ byte: UInt8) -> UInt64 { (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    // Byte by byte through an iterator of another module's generics costs fifty times as much.
    let ofStorage = bytes.withContiguousStorageIfAvailable { storage in
        var hash = hash
        for byte in storage { hash = add(hash, byte) }
        return hash
    }
    return ofStorage ?? bytes.reduce(hash, add)
}
