/// The one place that decides what keys begin with, and which part of them is Redis Cluster's hash tag.
///
/// A counter, a reservation or an idempotency key has an owner: the grant or, where grants share a counter, what they
/// share (see `CounterKey`). On one server the owner is the hash tag, `PREFIX:2:{OWNER}:...`. In a cluster the keys of
/// a partition have the partition's tag, `PREFIX:2:{TAG}:OWNER:...`, so that one script call can use all of them. `2`
/// is the version of this layout.
package struct KeySpace: Sendable, Hashable {
    package let prefix: String
    /// The hash tag of a partition's keys; nil on one server.
    package let tag: [UInt8]?
    /// What precedes an owner.
    package let beginning: [UInt8]
    /// What follows an owner.
    let ownerEnd: [UInt8]

    /// - Parameters:
    ///   - prefix: contains no brace.
    ///   - tag: see `PartitionTags`; contains no brace and no colon.
    package init(prefix: String, tag: [UInt8]? = nil) {
        self.prefix = prefix
        self.tag = tag
        if let tag {
            beginning = Self.versioned(prefix) + "{".utf8 + tag + "}:".utf8
            ownerEnd = Array(":".utf8)
        } else {
            beginning = Self.versioned(prefix) + "{".utf8
            ownerEnd = Array("}:".utf8)
        }
    }

    private static func versioned(_ prefix: String) -> [UInt8] { Array("\(prefix):2:".utf8) }

    /// As text, for logs and saved state: unlike that of every other key space.
    package var name: String { String(decoding: beginning, as: UTF8.self) }

    /// The tag in a key, or in a key's beginning; nil if there is none.
    package static func tag(in key: [UInt8]) -> [UInt8]? {
        guard let open = key.firstIndex(of: UInt8(ascii: "{")) else { return nil }
        return Array(key[(open + 1)...].prefix { $0 != UInt8(ascii: "}") })
    }

    // MARK: - Owners

    /// What all keys of one owner begin with.
    func ownerPrefix(_ owner: [UInt8]) -> [UInt8] { beginning + owner + ownerEnd }

    /// What all keys of one grant begin with.
    package func grantPrefix(_ grant: some Sequence<UInt8>) -> [UInt8] { ownerPrefix(KeyText.encoded(grant)) }

    /// The owner in a key, or in a key's beginning; nil if it is not of this key space. Names contain no separator.
    func owner(of key: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard key.starts(with: beginning) else { return nil }
        let rest = key.dropFirst(beginning.count)
        return rest[..<(rest.firstIndex(of: ownerEnd[0]) ?? rest.endIndex)]
    }

    /// What follows the owner in a key; nil if nothing does.
    func afterOwner(of key: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard let owner = owner(of: key), key[owner.endIndex...].starts(with: ownerEnd) else { return nil }
        return key[(owner.endIndex + ownerEnd.count)...]
    }

    /// The key of a reservation's record: `!r` is no tool's name.
    func reservation(_ id: ReservationID, grant: some Sequence<UInt8>) -> [UInt8] {
        grantPrefix(grant) + "!r:\(id)".utf8
    }

    /// The key of the answer to a check with an id.
    func idempotency(_ id: [UInt8], grant: [UInt8], tool: [UInt8]) -> [UInt8] {
        var key = grantPrefix(grant) + "!id:".utf8
        KeyText.append(tool, to: &key)
        key.append(UInt8(ascii: ":"))
        KeyText.append(id, to: &key)
        return key
    }

    // MARK: - Replicas

    /// The key of a replica's marker, the id in hexadecimal.
    package func marker(ofReplica replica: UInt64) -> [UInt8] { own("replica:\(ReservationID.hexadecimal(replica))") }

    /// The key of the list of replicas by their last heartbeat.
    package var replicas: [UInt8] { own("replicas") }

    /// The key of the list of replicas by when they last had nothing to write back.
    package var writtenBack: [UInt8] { own("written-back") }

    /// The key of the list of overrides. `decide.lua` describes it.
    package var overrides: [UInt8] { own("overrides") }

    /// A key that exists only while a connection tries its rights.
    package var rights: [UInt8] { own("rights") }

    /// `PREFIX:2:NAME`, in a partition `PREFIX:2:{TAG}:NAME`.
    private func own(_ name: String) -> [UInt8] {
        (tag == nil ? Self.versioned(prefix) : beginning) + name.utf8
    }

    /// The channel on which scripts publish the owners whose counters they lowered, one for all partitions. `decide.lua`
    /// derives it from the marker's key.
    package var changeChannel: String { "\(prefix):2:changed" }
}

/// On one server.
extension KeySpace: ExpressibleByStringLiteral {
    package init(stringLiteral prefix: String) { self.init(prefix: prefix) }
}
