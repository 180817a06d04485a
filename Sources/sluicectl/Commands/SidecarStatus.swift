/// The fields of a sidecar's `INFO`.
struct SidecarStatus {
    /// How often a source gave a verdict.
    struct Answers: Equatable {
        var source: String
        var verdict: String
        var count: Int64
    }

    private let fields: [String: String]
    /// In the order of the report; none that is zero.
    let answers: [Answers]

    /// - Parameter info: lines of `name:value`, and headings that begin with `#`.
    init(info: String) {
        var fields: [String: String] = [:]
        var answers: [Answers] = []
        for line in info.split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let (name, value) = (line[..<colon], String(line[line.index(after: colon)...]))
            fields[String(name)] = value
            let words = name.split(separator: "_", maxSplits: 2)
            if words.count == 3, words[0] == "answers", let count = Int64(value) {
                answers.append(Answers(source: String(words[1]), verdict: String(words[2]), count: count))
            }
        }
        self.fields = fields
        self.answers = answers
    }

    /// The value of a field; `-` if the sidecar does not report it.
    func text(_ field: String) -> String { fields[field] ?? "-" }

    /// Nil if the sidecar does not report it.
    func integer(_ field: String) -> Int64? { fields[field].flatMap { Int64($0) } }

    /// Whether this is a sidecar's report: Redis answers `INFO` too.
    var isSidecar: Bool { fields["sluice_version"] != nil }
    /// Only operators get the address; everybody gets the state.
    var hasRedis: Bool { (fields["redis_state"] ?? fields["redis_address"]).map { $0 != "none" } ?? false }
    /// Redis' last error, in its own words; nil if there was none, or it is not reported.
    var redisError: String? { fields["redis_last_error"].flatMap { $0.isEmpty ? nil : $0 } }
    var isShared: Bool { fields["counting"] == "shared" }
    /// The state of Redis in words: for a cluster how many masters are used.
    var redisState: String {
        guard let masters = integer("redis_masters"), masters > 0 else { return Self.words(text("redis_state")) }
        return "\(masters - (integer("redis_masters_away") ?? 0)) of \(masters) masters in use"
    }

    /// - Parameter state: that of the sidecar's breaker.
    static func words(_ state: String) -> String {
        switch state {
        case "closed": "connected"
        case "open": "no connection"
        case "connecting": "connecting"
        case "probing": "connected, being probed"
        case "stalled": "connected, but silent"
        case "recovering": "connected; it lost its data, which is being restored"
        case "resting": "connected, but it refuses to work"
        default: state
        }
    }

    /// The masters of a cluster; empty if there is none, or if they are not reported.
    var masters: [ClusterMaster] {
        (1...Self.maxMasters).lazy.map { fields["redis_master_\($0)"] }.prefix { $0 != nil }
            .compactMap { $0.flatMap(ClusterMaster.init) }
    }

    /// Why Redis' notifications are not received; nil if they are, or it is not reported.
    var feedError: String? { fields["subscription_last_error"].flatMap { $0.isEmpty ? nil : $0 } }
    /// The fault that was last found under a key in Redis.
    var keyFault: String? { fields["key_last_fault"].flatMap { $0.isEmpty ? nil : $0 } }
    /// For how long checks have not been counted in Redis, ms; nil if they are, or there is none, or it is not reported.
    var unavailableMs: Int64? {
        guard hasRedis, !isShared, integer("redis_unavailable_since_ms") ?? 0 > 0 else { return nil }
        return integer("redis_unavailable_ms")
    }
    /// What this Redis does not let the sidecar do.
    var limitations: [String] {
        let count = min(integer("redis_limitations") ?? 0, Self.maxLimitations)
        return count < 1 ? [] : (1...count).compactMap { fields["redis_limitation_\($0)"] }
    }

    /// Most limitations that are shown. A sidecar has some eight at most.
    private static let maxLimitations: Int64 = 100
    /// Most masters that are shown. A sidecar has at most as many as there are partitions, and those without a master.
    private static let maxMasters = 257

    /// The fault of the latest policies, if they were rejected; nil if they are in force.
    var refusedPolicies: String? { fields["policy_last_refusal"].flatMap { $0.isEmpty ? nil : $0 } }

    /// The same of the gateways file.
    var refusedGateways: String? { fields["gateways_last_refusal"].flatMap { $0.isEmpty ? nil : $0 } }
    /// nil without one, or if it is not reported.
    var gatewaysFile: String? { fields["gateways"] }

    /// Why clients can no longer connect by the socket's path; nil if they can.
    var socketTrouble: String? { fields["socket_trouble"].flatMap { $0.isEmpty ? nil : $0 } }

    /// Whether it works as configured: counts in Redis, or alone if it has none.
    var isReady: Bool { isSidecar && (isShared || !hasRedis) }
}
