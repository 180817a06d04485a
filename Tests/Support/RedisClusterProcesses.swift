import Foundation

/// A real Redis Cluster of a test's own, on ports of loopback. Like `RedisProcess`, of which it has one for each node.
package final class RedisClusterProcesses: Sendable {
    /// The masters at the beginning, then as many replicas of each as asked for.
    package let nodes: [RedisProcess]
    package let ports: [Int]
    private let tlsPorts: [Int]
    private let password: String?

    /// - Parameters:
    ///   - replicas: of each master.
    ///   - nodeTimeoutMs: after how much silence a node counts as failed.
    ///   - certificates: with `node` and `ca`; then there is TLS between the nodes, and at `tlsURL` for others.
    package init(
        masters: Int = 3, replicas: Int = 0, nodeTimeoutMs: Int = 15_000, password: String? = nil,
        certificates: Certificates? = nil
    ) async throws {
        self.password = password
        let count = masters * (1 + replicas)
        let lines =
            [
                "bind 127.0.0.1", "cluster-enabled yes", "cluster-config-file nodes.conf",
                "cluster-node-timeout \(nodeTimeoutMs)", "repl-diskless-sync-delay 0",
                // Else a replica that was out of touch for a while is never promoted.
                "cluster-replica-validity-factor 0",
            ] + (password.map { ["requirepass \($0)", "masterauth \($0)"] } ?? [])
        (nodes, ports, tlsPorts) = try await Self.start(count, lines, password: password, certificates)
        if masters >= 3 {
            try await redisCLI(["create"] + ports.map { "127.0.0.1:\($0)" } + ["--cluster-replicas", "\(replicas)"])
        } else {
            precondition(masters == 1 && replicas == 0)
            let client = try nodes[0].client()
            _ = try client.command(["CLUSTER", "ADDSLOTS"] + (0..<16_384).map { "\($0)" })
        }
        try await waitUntilServing()
        guard replicas > 0 else { return }
        for node in nodes[..<masters] {
            try await waitUntil("the replicas are in step", timeout: .seconds(60)) {
                try node.info("slave0")?.contains("state=online") == true
            }
        }
    }

    /// Waits until every node knows a master for every slot: before that a node rejects all commands.
    ///
    /// - Parameter dead: the index of a node that was killed.
    package func waitUntilServing(but dead: Int? = nil) async throws {
        for (index, node) in nodes.enumerated() where index != dead {
            try await waitUntil("a node serves the cluster", timeout: .seconds(60)) {
                try node.command("CLUSTER", "INFO").text?.contains("cluster_state:ok") == true
            }
        }
    }

    /// As `RedisAddress` takes it.
    package var url: String { "redis+cluster://" + ports.map { "127.0.0.1:\($0)" }.joined(separator: ",") }

    package var tlsURL: String { "rediss+cluster://" + tlsPorts.map { "127.0.0.1:\($0)" }.joined(separator: ",") }

    /// Another process may take a port before a node does: then all begin again.
    private static func start(
        _ count: Int, _ lines: [String], password: String?, _ certificates: Certificates?, attempts: Int = 3
    ) async throws -> (nodes: [RedisProcess], ports: [Int], tlsPorts: [Int]) {
        let all = try LoopbackPort.freeForCluster(count * 2)
        let (ports, tlsPorts) = (Array(all[..<count]), Array(all[count...]))
        var nodes: [RedisProcess] = []
        do {
            for index in 0..<count {
                let tls = certificates.map {
                    [
                        "tls-port \(tlsPorts[index])", "tls-cert-file \($0.path("node.crt"))",
                        "tls-key-file \($0.path("node.key"))", "tls-ca-cert-file \($0.path("ca.crt"))",
                        "tls-auth-clients no", "tls-cluster yes",
                    ]
                }
                nodes.append(
                    try await RedisProcess(
                        configuration: ["port \(ports[index])"] + lines + (tls ?? []), password: password))
            }
            return (nodes, ports, tlsPorts)
        } catch {
            guard attempts > 1 else { throw error }
            nodes = []
            return try await start(count, lines, password: password, certificates, attempts: attempts - 1)
        }
    }

    /// The master that has a slot, as the nodes see it that run; nil if they do not agree on one.
    package func master(ofSlot slot: Int) throws -> Int? {
        var found: Set<Int?> = []
        for node in nodes {
            guard let rows = try? node.command("CLUSTER", "SLOTS").elements else { continue }
            let row = rows.first { row in
                guard let parts = row.elements, let first = parts[0].integer, let last = parts[1].integer else {
                    return false
                }
                return (first...last).contains(slot)
            }
            found.insert(row?.elements?[2].elements?[1].integer.flatMap(ports.firstIndex(of:)))
        }
        return found.count == 1 ? found.first! : nil
    }

    /// Waits until a replica has all that its master has.
    /// - Parameter key: one that is written, of a slot of that master: `WAIT` is about what its connection wrote.
    package func waitUntilReplicated(from master: Int, key: String) async throws {
        let client = try nodes[master].client()
        try await waitUntil("the replica has it all") {
            guard case .string("OK") = try client.command("SET", key, "1") else { return false }
            return try client.command("WAIT", "1", "1000").integer ?? 0 >= 1
        }
    }

    /// Lets a replica take over from its master, which has passed on all that it has by then.
    package func switchOver(from master: Int) async throws {
        guard let line = try nodes[master].info("slave0"),
            let port = line.split(separator: ",").first(where: { $0.hasPrefix("port=") })?.dropFirst(5),
            let replica = ports.firstIndex(where: { "\($0)" == port })
        else { throw SupportError("no replica") }
        var asked: ContinuousClock.Instant?
        // What a node sends another one to which it has no link yet is lost. And a master that knows a newer epoch than the
        // replica does not vote for it, and the others vote once in 30 seconds.
        try await waitUntil("the nodes have links and agree on everything") {
            let views = try nodes.map(Self.view)
            return views.allSatisfy { $0 != nil && $0 == views[0] }
        }
        try await waitUntil("the replica takes over", timeout: .seconds(60)) {
            if try nodes[replica].info("role") == "master" { return true }
            // It begins anew when it is asked again, and gives up by itself after five seconds.
            if asked.map({ $0 + .seconds(6) < .now }) ?? true {
                try nodes[replica].command("CLUSTER", "FAILOVER")
                asked = .now
            }
            return false
        }
    }

    /// How a node sees the masters: their epochs and slots; nil if it has no link to one of the others.
    private static func view(_ node: RedisProcess) throws -> Set<String>? {
        // ID, address, flags, its master, PING, PONG, epoch, the link's state, slots.
        let lines = (try node.command("CLUSTER", "NODES").text?.split(separator: "\n") ?? [])
            .map { $0.split(separator: " ") }
        guard lines.allSatisfy({ $0.count >= 8 && $0[7] == "connected" }) else { return nil }
        return Set(
            lines.filter { $0[2].contains("master") }.map { ([$0[0], $0[6]] + $0[8...]).joined(separator: " ") })
    }

    package enum MoveStage: Sendable {
        /// Both masters know of the move, and all keys are where they were.
        case begun
        /// All keys that there were are at the other master, and the slot is not its own yet.
        case emptied
    }

    /// Moves a slot to another master, some keys at a time.
    /// - Parameter between: called at these stages, so that clients meet the slot in every state.
    package func move(
        slot: Int, from source: Int, to target: Int, between: (MoveStage) async throws -> Void = { _ in }
    ) async throws {
        func id(_ node: Int) throws -> String { try nodes[node].command("CLUSTER", "MYID").text ?? "" }
        func check(_ node: Int, _ words: [String]) throws {
            let answer = try nodes[node].command(words)
            guard answer == .string("OK") || answer == .string("NOKEY") else {
                throw SupportError("\(words): \(answer)")
            }
        }
        try check(target, ["CLUSTER", "SETSLOT", "\(slot)", "IMPORTING", id(source)])
        try check(source, ["CLUSTER", "SETSLOT", "\(slot)", "MIGRATING", id(target)])
        try await between(.begun)
        let secret = password.map { ["AUTH", $0] } ?? []
        while let keys = try nodes[source].command("CLUSTER", "GETKEYSINSLOT", "\(slot)", "10").elements, !keys.isEmpty
        {
            try check(
                source,
                ["MIGRATE", "127.0.0.1", "\(ports[target])", "", "0", "10000"] + secret + ["KEYS"]
                    + keys.compactMap(\.text))
        }
        try await between(.emptied)
        for node in [target, source] { try check(node, ["CLUSTER", "SETSLOT", "\(slot)", "NODE", id(target)]) }
    }

    /// Moves so many slots with the tool that operators use.
    package func reshard(_ count: Int, from source: Int, to target: Int) async throws {
        let ids = try [source, target].map { try nodes[$0].command("CLUSTER", "MYID").text ?? "" }
        try await redisCLI(
            [
                "reshard", "127.0.0.1:\(ports[source])", "--cluster-from", ids[0], "--cluster-to", ids[1],
                "--cluster-slots", "\(count)",
            ], timeout: .seconds(120))
    }

    /// Whether a node has answered with this error.
    package func hasAnswered(_ error: String) throws -> Bool {
        try nodes.contains {
            try $0.command("INFO", "errorstats").text?.contains("errorstat_\(error):") == true
        }
    }

    private func redisCLI(_ arguments: [String], timeout: Duration = .seconds(60)) async throws {
        let process = try ChildProcess(
            "redis-cli",
            (password.map { ["--no-auth-warning", "-a", $0] } ?? []) + ["--cluster"] + arguments + ["--cluster-yes"])
        guard case .exited(0) = try await process.wait(timeout: timeout) else {
            throw SupportError("redis-cli \(arguments): \(process.output)\(process.errors)")
        }
    }
}
