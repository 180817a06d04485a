/// One of the masters that a sidecar's `INFO` lists: `address=HOST:PORT,partitions=22,...,last_error=TEXT`.
struct ClusterMaster: Equatable {
    /// Its host and port; nil: the cluster has no master for these partitions.
    let address: String?
    let partitions: Int64
    /// How many of them are counted there.
    let sharedPartitions: Int64
    /// The breaker's, of those that are not.
    let state: String
    /// For how long some have not been counted there, ms, and since when, ms since the epoch; 0: all are.
    let unavailableMs: Int64
    let unavailableSinceMs: Int64
    /// In Redis' own words; nil if there was none.
    let lastError: String?

    var isShared: Bool { sharedPartitions == partitions }

    /// nil if it is not such a line.
    init?(_ text: String) {
        var fields: [Substring: String] = [:]
        var rest = text[...]
        while let equals = rest.firstIndex(of: "=") {
            let name = rest[..<equals]
            rest = rest[rest.index(after: equals)...]
            // The last one may hold anything.
            let end = name == "last_error" ? rest.endIndex : rest.firstIndex(of: ",") ?? rest.endIndex
            fields[name] = String(rest[..<end])
            rest = end < rest.endIndex ? rest[rest.index(after: end)...] : ""
        }
        func number(_ name: Substring) -> Int64? { fields[name].flatMap { Int64($0) } }
        guard let address = fields["address"], let partitions = number("partitions"),
            let sharedPartitions = number("partitions_shared"), let state = fields["state"]
        else { return nil }
        self.address = address.isEmpty ? nil : address
        self.partitions = partitions
        self.sharedPartitions = sharedPartitions
        self.state = state
        unavailableMs = number("unavailable_ms") ?? 0
        unavailableSinceMs = number("unavailable_since_ms") ?? 0
        lastError = fields["last_error"].flatMap { $0.isEmpty ? nil : $0 }
    }
}
