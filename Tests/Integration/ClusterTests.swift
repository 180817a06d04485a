import Foundation
import Support
import Testing

extension Integration {
    /// Sidecars and a real Redis Cluster of three masters.
    @Suite struct Cluster {
        private static let policy = Document.tools([
            "run": [Document.limit("run_hour", max: 10)],
            "all": [Document.limit("mine", max: 8), Document.limit("total", max: 10, #""scope": "global""#)],
        ])

        private func sidecar(_ cluster: RedisClusterProcesses, budget: String = "5s") async throws -> SidecarProcess {
            let sidecar = try await SidecarProcess(
                policy: Self.policy, redis: cluster.url, store: cluster, budget: budget)
            try await sidecar.waitUntilShared()
            return sidecar
        }

        /// Many connections at both sidecars: a grant's limit, and one that all grants share, admit exactly ten.
        @Test func limitsAreExactInACluster() async throws {
            let cluster = try await RedisClusterProcesses()
            let sidecars = [try await sidecar(cluster), try await sidecar(cluster)]
            for tool in ["run", "all"] {
                let grant = Grants.next()
                let admitted = try await withThrowingTaskGroup(of: Int.self) { group in
                    for worker in 0..<8 {
                        group.addTask {
                            let client = try sidecars[worker % 2].client()
                            var count = 0
                            for call in 0..<6 {
                                let name = tool == "run" ? grant : "\(grant)-\(worker)-\(call)"
                                let reply = try client.check(name, tool)
                                if reply.source != "shared" && reply.source != "cache" {
                                    throw SupportError("\(reply)")
                                }
                                if reply.verdict == "allow" { count += 1 }
                            }
                            return count
                        }
                    }
                    return try await group.reduce(0, +)
                }
                #expect(admitted == 10, "\(tool)")
            }
            // What was denied left nothing behind, in any partition.
            let listed = try sidecars[0].client().command("COUNTERS", "TOOL", "all")
            #expect("\(listed)".contains("total"))
            #expect(try sidecars[0].client().info("partitions_shared") == "64")
        }

        /// A reservation with parts in two partitions is settled in both, by the other sidecar.
        @Test func reservationsAreSettledInAllPartitions() async throws {
            let cluster = try await RedisClusterProcesses()
            let sidecars = [try await sidecar(cluster), try await sidecar(cluster)]
            let clients = try sidecars.map { try $0.client() }
            for round in 0..<30 {
                let grant = Grants.next()
                let reply = try clients[round % 2].command("CHECK", grant, "all", "RESERVE").elements ?? []
                #expect(reply.first?.integer == 1, "\(round): \(reply)")
                let id = reply.last?.text ?? ""
                #expect(try clients[1 - round % 2].command("CANCEL", grant, id) == .integer(1))
                #expect(try clients[round % 2].command("CANCEL", grant, id) == .integer(0))
            }
            var admitted = 0
            for _ in 0..<20 where try clients[0].check(Grants.next(), "all").verdict == "allow" { admitted += 1 }
            #expect(admitted == 10)
        }

        /// A master ends: the grants of the others are still counted for all replicas.
        @Test func onePartOfAClusterIsAway() async throws {
            let cluster = try await RedisClusterProcesses()
            for node in cluster.nodes { try node.command("CONFIG", "SET", "cluster-require-full-coverage", "no") }
            let sidecar = try await sidecar(cluster, budget: "200ms")
            let client = try sidecar.client()
            try await cluster.nodes[1].kill()
            try await waitUntil("its partitions are local\n\(sidecar.log)") {
                let shared = try client.info("partitions_shared").flatMap { Int($0) } ?? 64
                return shared < 64 && shared > 20
            }
            #expect(try client.info("counting") == "partly local" && client.info("ready") == "0")
            #expect(try client.info("redis_masters") == "3" && client.info("redis_masters_away") == "1")
            let dead = "127.0.0.1:\(cluster.ports[1])"
            let lines = try (1...3).map { try client.info("redis_master_\($0)") ?? "" }
            for line in lines {
                let isAway = line.hasPrefix("address=\(dead),")
                #expect(line.contains("state=closed,unavailable_since_ms=0,unavailable_ms=0,last_error=") != isAway)
            }
            #expect(lines.contains { $0.hasPrefix("address=\(dead),") && !$0.hasSuffix("last_error=") }, "\(lines)")
            var sources: Set<String> = []
            for _ in 0..<200 where sources.count < 2 { sources.insert(try client.check(Grants.next(), "run").source) }
            #expect(sources == ["shared", "local"])
            #expect(
                sidecar.log.split(separator: "\n").filter { $0.contains("a part of redis is unavailable") }.count == 1)
        }

        @Test func policiesWithTooManyScopesAreRefused() async throws {
            let limits = (0..<5).map {
                Document.limit("c\($0)", max: 9, #""scope": "attribute:a\#($0)", "across_grants": true"#)
            }
            let place = try Place(policy: Document.tools(["run": limits]))
            let errors = try await SidecarProcess.startErrors(
                place.arguments + ["--redis", "redis+cluster://127.0.0.1:1"])
            #expect(errors.count == 1 && errors[0].contains("at most 4"), "\(errors)")
        }
    }
}
