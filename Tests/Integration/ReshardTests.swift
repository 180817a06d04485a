import Foundation
import Support
import Testing

extension Integration {
    /// Slots that the real tool moves between real masters, while gateways go on asking.
    @Suite struct Reshard {
        private static let policy = Document.tools([
            "wide": [Document.limit("wide", max: 1_000_000)], "run": [Document.limit("run", max: 10)],
        ])

        /// What one gateway saw.
        private struct Seen {
            var admitted: [String: Int] = [:]
            var isLocal: Set<String> = []
            var sources: [String: Int] = [:]

            mutating func add(_ reply: CheckReply, _ grant: String) {
                sources[reply.source, default: 0] += 1
                if reply.source == "local" { isLocal.insert(grant) }
                if reply.allowed { admitted[grant, default: 0] += 1 }
            }

            mutating func add(_ other: Seen) {
                admitted.merge(other.admitted, uniquingKeysWith: +)
                sources.merge(other.sources, uniquingKeysWith: +)
                isLocal.formUnion(other.isLocal)
            }
        }

        /// Asks until the slots have moved.
        private static func ask(_ sidecar: SidecarProcess, _ worker: Int, until isOver: @Sendable () -> Bool) throws
            -> Seen
        {
            let client = try sidecar.client()
            var seen = Seen()
            var round = worker
            while !isOver() {
                let grants = (0..<16).map { "moved-\((round * 16 + $0) % 200)" }
                let tools = (0..<16).map { $0 % 4 == 0 ? "run" : "wide" }
                let answers = try client.pipeline(zip(grants, tools).map { ["CHECK", $0, $1] })
                for (index, answer) in answers.enumerated() {
                    seen.add(try CheckReply(answer), "\(tools[index]) \(grants[index])")
                }
                round += 1
            }
            return seen
        }

        /// How many partitions are at a master.
        private static func partitions(_ sidecar: SidecarProcess, at port: Int) throws -> Int {
            let client = try sidecar.client()
            let line = try (1...3).compactMap { try client.info("redis_master_\($0)") }
                .first { $0.hasPrefix("address=127.0.0.1:\(port),partitions=") }
            return line?.split(separator: ",")[1].split(separator: "=").last.flatMap { Int($0) } ?? 0
        }

        /// Many slots move: no check fails, no window is over its maximum, and the sums are exact.
        @Test func slotsMoveUnderLoad() async throws {
            let cluster = try await RedisClusterProcesses()
            var sidecars: [SidecarProcess] = []
            for _ in 0..<2 {
                let sidecar = try await SidecarProcess(
                    policy: Self.policy, redis: cluster.url, store: cluster)
                try await sidecar.waitUntilShared()
                sidecars.append(sidecar)
            }
            let before = try Self.partitions(sidecars[0], at: cluster.ports[0])
            let (both, isOver) = (sidecars, StopSign())
            async let asked = onThreads(4) { worker in
                try Self.ask(both[worker % 2], worker * 3, until: { isOver.isRaised })
            }
            do {
                try await cluster.reshard(500, from: 0, to: 2)
            } catch {
                isOver.raise()
                throw error
            }
            isOver.raise()
            let seen = try await asked.reduce(into: Seen()) { $0.add($1) }
            for sidecar in sidecars {
                try await sidecar.waitUntilShared()
                try await waitUntil("all is written back") { try sidecar.figure("unsettled_counters") == 0 }
            }
            try await waitUntil("the sidecars know where the slots are") {
                try sidecars.allSatisfy { try Self.partitions($0, at: cluster.ports[0]) < before - 1 }
            }
            let client = try sidecars[0].client()
            for (name, admitted) in seen.admitted {
                let words = name.split(separator: " ").map(String.init)
                let reply = try client.check(words[1], words[0], "COST", "0", "TRACE")
                #expect(reply.trace?.first?.used == admitted, "\(name): \(reply), \(seen.sources)")
                if words[0] == "run", !seen.isLocal.contains(name) { #expect(admitted <= 10, "\(name)") }
            }
            for sidecar in sidecars {
                #expect(try sidecar.figure("late") == 0 && sidecar.figure("counter_losses") == 0)
                #expect(try sidecar.figure("memory_losses") == 0 && sidecar.figure("key_faults") == 0)
            }
        }
    }
}
