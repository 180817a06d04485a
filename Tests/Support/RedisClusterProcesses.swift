import Foundation

/// A real Redis Cluster of a test's own, on ports of loopback. Like `RedisProcess`, of which it has one for each node.
package final class RedisClusterProcesses: Sendable {
    /// The masters at the beginning, then as many replicas of each as asked for.
    package let nodes: [RedisProcess]
    package let ports: [Int]
    private let password: String?

    /// - Parameters:
    ///   - replicas: of each master.
    ///   - nodeTimeoutMs: after how much silence a node counts as failed.
    ///   - configuration: lines of redis.conf for every node.
    package init(
        masters: Int = 3, replicas: Int = 0, nodeTimeoutMs: Int = 15_000, configuration: [String] = [],
        password: String? = nil
    ) async throws {
        self.password = password
        let ports = try LoopbackPort.freeForCluster(masters * (1 + replicas))
        self.ports = ports
        var nodes: [RedisProcess] = []
        let secrets = password.map { ["requirepass \($0)", "masterauth \($0)"] } ?? []
        for port in ports {
            nodes.append(
                try await RedisProcess(
                    configuration: [
                        "port \(port)", "bind 127.0.0.1", "cluster-enabled yes", "cluster-config-file nodes.conf",
                        "cluster-node-timeout \(nodeTimeoutMs)", "repl-diskless-sync-delay 0",
                        // Else a replica that was out of touch for a while is never promoted.
                        "cluster-replica-validity-factor 0",
                    ] + secrets + configuration, password: password))
        }
        self.nodes = nodes
        if masters >= 3 {
            try await redisCLI(["create"] + ports.map { "127.0.0.1:\($0)" } + ["--cluster-replicas", "\(replicas)"])
        } else {
            precondition(masters == 1 && replicas == 0)
            let client = try nodes[0].client()
            _ = try client.command(["CLUSTER", "ADDSLOTS"] + (0..<16_384).map { "\($0)" })
        }
        for node in nodes {
            try await waitUntil("a node serves the cluster", timeout: .seconds(60)) {
                try node.command("CLUSTER", "INFO").text?.contains("cluster_state:ok") == true
            }
        }
        guard replicas > 0 else { return }
        for node in nodes[..<masters] {
            try await waitUntil("the replicas are in step", timeout: .seconds(60)) {
                try node.info("slave0")?.contains("state=online") == true
            }
        }
    }

    /// As `RedisAddress` takes it.
    package var url: String { "redis+cluster://" + ports.map { "127.0.0.1:\($0)" }.joined(separator: ",") }

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

    /// Moves a slot to another master, some keys at a time.
    /// - Parameter pause: between any two steps, so that clients meet the slot in every state.
    package func move(slot: Int, from source: Int, to target: Int, pause: Duration = .zero) async throws {
        func id(_ node: Int) throws -> String { try nodes[node].command("CLUSTER", "MYID").text ?? "" }
        func check(_ node: Int, _ words: [String]) throws {
            let answer = try nodes[node].command(words)
            guard answer == .string("OK") || answer == .string("NOKEY") else {
                throw SupportError("\(words): \(answer)")
            }
        }
        try check(target, ["CLUSTER", "SETSLOT", "\(slot)", "IMPORTING", id(source)])
        try check(source, ["CLUSTER", "SETSLOT", "\(slot)", "MIGRATING", id(target)])
        try await Task.sleep(for: pause)
        let secret = password.map { ["AUTH", $0] } ?? []
        while let keys = try nodes[source].command("CLUSTER", "GETKEYSINSLOT", "\(slot)", "1").elements, !keys.isEmpty {
            try check(
                source,
                ["MIGRATE", "127.0.0.1", "\(ports[target])", "", "0", "10000"] + secret + ["KEYS"]
                    + keys.compactMap(\.text))
            try await Task.sleep(for: pause)
        }
        for node in [target, source] { try check(node, ["CLUSTER", "SETSLOT", "\(slot)", "NODE", id(target)]) }
    }

    private func redisCLI(_ arguments: [String]) async throws {
        let process = try ChildProcess(
            "redis-cli",
            (password.map { ["--no-auth-warning", "-a", $0] } ?? []) + ["--cluster"] + arguments + ["--cluster-yes"])
        guard case .exited(0) = try await process.wait(timeout: .seconds(60)) else {
            throw SupportError("redis-cli \(arguments): \(process.output)\(process.errors)")
        }
    }
}
