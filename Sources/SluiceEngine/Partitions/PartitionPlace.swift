import SluicePolicy

/// In which partition an owner's keys are: the same in every replica, however the cluster's slots are distributed.
struct PartitionMap: Sendable, Equatable {
    /// 1 or more.
    let count: Int

    /// - Parameter name: a grant, or what grants share (as in keys).
    func partition(ofOwner name: some Sequence<UInt8>) -> Int { partition(ofHash: stableHash(name)) }

    /// The partition of an identity's grant; for `CL.THROTTLE`, of its key.
    func partition(of identity: borrowing Identity) -> Int {
        guard let key = identity.throttleKey else {
            return partition(ofOwner: Identity.owner(ofKey: identity.key.bytes))
        }
        return partition(ofHash: stableHash(key, after: stableHash("t=".utf8)))
    }

    /// The partition of a limit's counter for an identity.
    func partition(of limit: Limit, for identity: Identity.Parts) -> Int {
        partition(ofOwner: CounterKey.sharedOwner(of: limit, identity) ?? identity.grant)
    }

    /// The low bits of the hash alone are less even.
    private func partition(ofHash hash: UInt64) -> Int { Int((hash ^ hash >> 32) % UInt64(count)) }
}

/// Which of the partitions a limiter is.
package struct PartitionPlace: Sendable, Equatable {
    let index: Int
    let map: PartitionMap

    /// All counters are in one.
    static let alone = PartitionPlace(index: 0, map: PartitionMap(count: 1))

    /// The ruling with only those limits whose counters are here. Where none is, all is allowed.
    func part(of ruling: CallRuling, for identity: Identity.Parts) -> CallRuling {
        guard map.count > 1, !ruling.limits.isEmpty else { return ruling }
        var part = ruling
        part.limits = ruling.limits.filter { map.partition(of: $0, for: identity) == index }
        if part.limits.isEmpty { part.verdict = .allow }
        return part
    }
}
