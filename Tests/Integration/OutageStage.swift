import Foundation
import Support
import Testing

extension Integration.Outages {
    /// Some sidecars, each with a client, and Redis behind a proxy.
    struct Stage {
        let redis: RedisProcess
        let proxy: FaultProxy
        let sidecars: [SidecarProcess]
        let clients: [RedisClient]
        private let machine = StallWatch()

        init(
            sidecars count: Int = 2, policy: String = Integration.Outages.policy, documents: [String: String] = [:]
        ) async throws {
            redis = try await RedisProcess(configuration: ["enable-debug-command yes"])
            proxy = try await FaultProxy(to: redis)
            let url = proxy.url
            var sidecars: [SidecarProcess] = []
            for _ in 0..<count {
                sidecars.append(
                    try await SidecarProcess(
                        policy: policy, documents: documents, redis: url, store: proxy, replicas: count,
                        budget: Integration.Outages.budget))
            }
            self.sidecars = sidecars
            for sidecar in sidecars {
                try await sidecar.waitUntilShared()
                try await waitUntil("all know of each other") { try sidecar.figure("live_replicas") == count }
            }
            clients = try sidecars.map { try $0.client() }
        }

        func begin(_ fault: Lasting) async throws {
            switch fault {
            case .killed: try await redis.kill()
            case .stopped: redis.stop()
            case .readOnly: try redis.command("REPLICAOF", "127.0.0.1", "1")
            case .masterDown:
                try redis.command("CONFIG", "SET", "replica-serve-stale-data", "no")
                try redis.command("REPLICAOF", "127.0.0.1", "1")
            case .outOfMemory: try redis.command("CONFIG", "SET", "maxmemory", "1")
            case .passwordChanged:
                // Those that are connected stay so, and must come again.
                try redis.command("CONFIG", "SET", "requirepass", "another")
                try await proxy.set(.forward, cutsAll: true)
            case .refusing: try await proxy.set(.refuse, cutsAll: true)
            case .silent: try await proxy.set(.silent)
            case .garbage: try await proxy.set(.garbage(seed: 7))
            case .cutReplies: try await proxy.set(.cut(afterReplyBytes: 20), cutsAll: true)
            // Connections that are open must not live on: what Redis still answers there would come after what the
            // proxy says, and no server answers out of order.
            case .loading:
                try await proxy.set(.answer("-LOADING Redis is loading the dataset in memory\r\n"), cutsAll: true)
            case .busy: try await proxy.set(.answer("-BUSY Redis is busy running a script\r\n"), cutsAll: true)
            case .nothingButOK: try await proxy.set(.answer("+OK\r\n"), cutsAll: true)
            }
        }

        func end(_ fault: Lasting) async throws {
            switch fault {
            case .killed: try await redis.restartEmpty()
            case .stopped: redis.continue()
            case .readOnly: try redis.command("REPLICAOF", "NO", "ONE")
            case .masterDown:
                try redis.command("REPLICAOF", "NO", "ONE")
                try redis.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
            case .outOfMemory: try redis.command("CONFIG", "SET", "maxmemory", "0")
            case .passwordChanged:
                let client = try redis.client()
                _ = try client.command("AUTH", "another")
                _ = try client.command("CONFIG", "SET", "requirepass", "")
            case .refusing, .silent, .garbage, .cutReplies, .loading, .busy, .nothingButOK:
                try await proxy.set(.forward, cutsAll: fault == .silent)
            }
        }

        /// Something that is over by itself, or nearly so.
        func pass(_ fault: Passing) async throws {
            switch fault {
            case .clientsKilled: try redis.command("CLIENT", "KILL", "TYPE", "normal")
            case .scriptsFlushed: try redis.command("SCRIPT", "FLUSH")
            case .flushed: try redis.command("FLUSHALL")
            case .asleep: try redis.command("DEBUG", "SLEEP", "0.5")
            case .reloading:
                // Redis answers -LOADING while it loads its own dump; each key takes it a moment.
                let client = try RedisClient(path: redis.socketPath, answerLimit: 30)
                for command in [
                    ["DEBUG", "POPULATE", "2000", "filler"], ["CONFIG", "SET", "key-load-delay", "200"],
                    ["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"], ["DEBUG", "RELOAD"],
                ] { _ = try client.command(command) }
            case .restartedEmpty: try await redis.restartEmpty()
            case .connectionsCut: try await proxy.set(.forward, cutsAll: true)
            case .cutMidReply:
                let before = try sidecars.map { try $0.figure("outages") }
                try await proxy.set(.cut(afterReplyBytes: 30))
                for (sidecar, outages) in zip(sidecars, before) {
                    try await waitUntil("a reply was cut") { try sidecar.figure("outages") > outages }
                }
                try await proxy.set(.forward)
            }
        }

        /// No check was answered past its budget. The sidecar keeps five milliseconds of it for the answer's own way; where
        /// the machine itself kept processes waiting for as long, some are late for want of a processor, but never most.
        func expectInTime(_ sidecar: SidecarProcess) throws {
            let (late, checks) = (try sidecar.figure("late"), try sidecar.figure("checks"))
            let waited = try sidecar.waitedForProcessor()
            let isStarved = machine.longestStall >= .milliseconds(4) || waited >= .milliseconds(100)
            #expect(late <= (isStarved ? checks / 4 : 0), "\(late) of \(checks), \(machine.longestStall), \(waited)")
        }

        /// What happened to the sidecars, for the message of a failure.
        func account() throws -> String {
            try sidecars.map { sidecar in
                try ["outages", "memory_losses", "settled", "timed_out", "late"].map {
                    "\($0) \(try sidecar.figure($0))"
                }
                .joined(separator: ", ")
            }.joined(separator: "; ") + "; machine stalled \(machine.longestStall)"
        }

        /// What Redis has counted for a grant.
        func tally(of grant: String) throws -> Int {
            guard let key = try redis.command("KEYS", "*{\(grant)}*").elements?.first?.text else { return 0 }
            return try redis.command("GET", key).text.flatMap { Int($0) } ?? 0
        }
    }
}
