import Support

/// Puts policy documents of the whole language together.
enum Document {
    /// One limit; `more` holds further keys as JSON has them, such as `"scope": "session"`.
    static func limit(
        _ counter: String, max: Int, window: String = "\(Policies.longWindow)", _ more: String = ""
    ) -> String {
        "{\"counter\": \(quoted(counter)), \"max\": \(max), \"window\": \(window)\(more.isEmpty ? "" : ", \(more)")}"
    }

    /// A limit of calls that are going on.
    static func slots(_ counter: String, max: Int, hold: String = "3600", _ more: String = "") -> String {
        "{\"counter\": \(quoted(counter)), \"max\": \(max), \"algorithm\": \"concurrency\", \"hold\": \(hold)"
            + "\(more.isEmpty ? "" : ", \(more)")}"
    }

    static func tools(_ tools: KeyValuePairs<String, [String]>, allTools: [String] = []) -> String {
        text(tools.map { ($0.key, $0.value) }, allTools: allTools)
    }

    static func text(_ tools: [(name: String, limits: [String])], allTools: [String] = []) -> String {
        let tools = tools.map { "\(quoted($0.name)): {\"limits\": [\($0.limits.joined(separator: ",\n"))]}" }
        return """
            {"version": "1", "default": "deny",
             "all_tools": {"limits": [\(allTools.joined(separator: ",\n"))]},
             "tools": {\(tools.joined(separator: ",\n"))}}
            """
    }

    /// A string of JSON.
    static func quoted(_ text: String) -> String {
        let scalars = text.unicodeScalars.map { scalar in
            scalar == "\"" || scalar == "\\" ? "\\\(scalar)" : scalar.value < 32 ? control(scalar) : "\(scalar)"
        }
        return "\"\(scalars.joined())\""
    }

    private static func control(_ scalar: Unicode.Scalar) -> String {
        "\\u00\(scalar.value < 16 ? "0" : "")\(String(scalar.value, radix: 16))"
    }
}

/// Where a test's checks go: two connections, to two sidecars over one Redis, or both to one that counts alone.
/// What is counted is the same either way.
struct Desk {
    let one: RedisClient
    let other: RedisClient
    /// As replies report it.
    let source: String
    let sidecars: [SidecarProcess]
    /// nil where the sidecar counts alone.
    let redis: RedisProcess?

    enum Store: String, CaseIterable, Sendable { case redis, none }

    init(_ store: Store, policy: String) async throws {
        switch store {
        case .redis:
            let pair = try await Pair(policy: policy)
            (one, other) = (try pair.one.client(), try pair.other.client())
            (source, sidecars, redis) = ("shared", pair.both, pair.redis)
        case .none:
            let sidecar = try await SidecarProcess(policy: policy, redis: "none", replicas: 1)
            (one, other) = (try sidecar.client(), try sidecar.client())
            (source, sidecars, redis) = ("local", [sidecar], nil)
        }
    }

    var both: [RedisClient] { [one, other] }
}

extension RedisClient {
    /// `CHECK ... RESERVE`, admitted.
    /// - Returns: the reservation.
    func reserve(_ words: String...) throws -> String {
        let reply = try CheckReply(command(["CHECK"] + words + ["RESERVE"]))
        guard reply.allowed, let reservation = reply.reservation, reservation.utf8.count == 32 else {
            throw SupportError("not reserved: \(reply)")
        }
        return reservation
    }

    /// What the limits of a tool count, in their order.
    func used(_ words: String...) throws -> [Int] {
        try CheckReply(command(["PEEK"] + words + ["TRACE"])).trace?.map(\.used) ?? []
    }

    /// Whether the end of a reservation was done.
    func settle(_ words: String...) throws -> Bool {
        switch try command(words) {
        case .integer(1): return true
        case .integer(0): return false
        case let answer: throw SupportError("\(words): \(answer)")
        }
    }
}
