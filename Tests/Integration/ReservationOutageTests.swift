import Support
import Testing

extension Integration {
    /// Reservations during an outage of Redis.
    @Suite struct ReservationOutages {
        private static let policy = Document.tools([
            "run": [Document.limit("c", max: 1_000)],
            "slots": [Document.limit("c", max: 1_000), Document.slots("s", max: 6)],
            "denied": [Document.limit("c", max: 1_000, #""on_outage": "deny""#), Document.slots("s", max: 6)],
        ])

        private struct Stage {
            let redis: RedisProcess
            let proxy: FaultProxy
            let sidecars: [SidecarProcess]
            let clients: [RedisClient]

            init() async throws {
                redis = try await RedisProcess()
                proxy = try await FaultProxy(to: redis)
                var sidecars: [SidecarProcess] = []
                for _ in 1...2 {
                    sidecars.append(
                        try await SidecarProcess(policy: policy, redis: proxy.url, store: proxy, budget: "300ms"))
                }
                for sidecar in sidecars { try await sidecar.waitUntilShared() }
                self.sidecars = sidecars
                clients = try sidecars.map { try $0.client() }
            }

            func waitUntilLocal() async throws { for sidecar in sidecars { try await sidecar.waitUntilLocal() } }
            func waitUntilShared() async throws { for sidecar in sidecars { try await sidecar.waitUntilShared() } }
        }

        /// A check admitted under an id during an outage, or before a data loss, is one call afterwards, for all.
        @Test(arguments: [false, true]) func idsAreReplayedAfterwards(isEmptied: Bool) async throws {
            let stage = try await Stage()
            let (one, other) = (stage.clients[0], stage.clients[1])
            let grant = Grants.next()
            let before = try one.check(grant, "run", "COST", "4", "ID", "before")
            #expect(before.source == "shared")
            try await stage.proxy.set(.refuse, cutsAll: true)
            try await stage.waitUntilLocal()
            let first = try one.check(grant, "run", "COST", "4", "ID", "away")
            #expect(first.allowed && first.source == "local")
            #expect(try one.check(grant, "run", "COST", "4", "ID", "before").remaining == before.remaining)
            let reserved = try one.reserve(grant, "run", "COST", "4", "ID", "reserved")
            let cancelled = try one.reserve(grant, "run", "COST", "4", "ID", "cancelled")
            #expect(try one.settle("CANCEL", grant, cancelled))
            if isEmptied { _ = try stage.redis.command("FLUSHALL") }
            try await stage.proxy.set(.forward)
            try await stage.waitUntilShared()
            for id in ["before", "away"] {
                let again = try one.check(grant, "run", "COST", "4", "ID", id)
                #expect(again.allowed && again.remaining == (id == "away" ? first : before).remaining)
            }
            #expect(try one.reserve(grant, "run", "COST", "4", "ID", "reserved") == reserved)
            let keys = ["before", "away", "reserved"].map { "sluice:2:{\(grant)}:!id:run:\($0)" }
            try await waitUntil("Redis knows of all of them") {
                try stage.redis.command(["EXISTS"] + keys) == .integer(3)
            }
            guard case .error(let text) = try other.command("CHECK", grant, "run", "COST", "5", "ID", "away"),
                text.hasPrefix("BADARG ")
            else { throw SupportError("another check under the same id") }
            let elsewhere = try other.check(grant, "run", "COST", "4", "ID", "away")
            #expect(elsewhere.allowed && elsewhere.source == "local")
            #expect(try other.reserve(grant, "run", "COST", "4", "ID", "reserved") == reserved)
            #expect(try one.settle("COMMIT", grant, reserved, "4"))
            let free = try other.reserve(grant, "run", "COST", "4", "ID", "cancelled")
            #expect(free != cancelled)
            #expect(try other.settle("CANCEL", grant, free))
            try await waitUntil("all is counted once") { try one.used(grant, "run") == [12] }
        }

        /// Those that only Redis knows must wait for it; those that were made here are settled here, once.
        @Test func areSettledWhereTheyAreKnown() async throws {
            let stage = try await Stage()
            let (one, other) = (stage.clients[0], stage.clients[1])
            let grant = Grants.next()
            let stored = try (1...3).map { _ in try one.reserve(grant, "slots", "COST", "100") }
            try await stage.proxy.set(.refuse, cutsAll: true)
            try await stage.waitUntilLocal()
            for client in stage.clients {
                for words in [
                    ["COMMIT", grant, stored[0], "1"], ["CANCEL", grant, stored[0]], ["RELEASE", grant, stored[0]],
                ] {
                    guard case .error(let text) = try client.command(words), text.hasPrefix("BUSY ") else {
                        Issue.record("\(words)")
                        continue
                    }
                }
                // An invalid id is unknown, even during an outage.
                #expect(try !client.settle("CANCEL", grant, "no reservation"))
            }
            // Half of the 700 and of the 3 slots that are left may be taken here.
            let admitted = try (1...2).map { _ in try CheckReply(one.command("CHECK", grant, "slots", "RESERVE")) }
            #expect(admitted.map(\.source) == ["local", "local"])
            let taken = admitted.filter(\.allowed).compactMap(\.reservation)
            #expect((1...2).contains(taken.count))
            let used = try one.used(grant, "slots")
            #expect(try one.settle("COMMIT", grant, taken[0], "51"))
            #expect(try !one.settle("COMMIT", grant, taken[0], "51"))
            #expect(try one.used(grant, "slots") == [used[0] + 50, used[1]])
            #expect(try one.settle("RELEASE", grant, taken[0]))
            #expect(try !one.settle("CANCEL", grant, taken[0]))
            #expect(try one.used(grant, "slots") == [used[0] + 50, used[1] - 1])
            let cancelled = try one.reserve(grant, "run", "COST", "20", "ID", "x")
            #expect(try one.reserve(grant, "run", "COST", "20", "ID", "x") == cancelled)
            #expect(try one.used(grant, "run") == [20])
            #expect(try one.settle("CANCEL", grant, cancelled))
            #expect(try !one.settle("CANCEL", grant, cancelled))
            #expect(try one.used(grant, "run") == [0])
            let open = try one.reserve(grant, "run", "COST", "30")
            guard case .error = try other.command("CANCEL", grant, open) else {
                throw SupportError("settled by one that does not know it")
            }

            try await stage.proxy.set(.forward)
            try await stage.waitUntilShared()
            #expect(try other.settle("COMMIT", grant, stored[0], "10"))
            #expect(try other.settle("CANCEL", grant, stored[1]))
            #expect(try one.settle("RELEASE", grant, stored[0]))
            // Includes the 51 to which the local reservation was settled; open reservations are not written back yet.
            try await waitUntil("it is settled") { try other.used(grant, "slots") == [161, 1] }
            #expect(try !other.settle("CANCEL", grant, open))
            #expect(try one.settle("CANCEL", grant, open))
            #expect(try !one.settle("CANCEL", grant, open))
        }

        /// When a gateway has settled what Redis has not answered yet.
        enum Settled: String, CaseIterable, Sendable { case meanwhile, later, afterTheConnectionIsGone }

        /// Redis hangs, so the check is answered here; then it goes on and charges the check as well. What became of the
        /// call here becomes of it there.
        @Test(arguments: Settled.allCases)
        func whatRedisChargesLateIsSettledToo(_ settled: Settled) async throws {
            let stage = try await Stage()
            let (one, other) = (stage.clients[0], stage.clients[1])
            let grants = (1...2).map { Grants.next("\($0)") }
            stage.redis.stop()
            // In one batch, which lies in Redis' socket.
            let replies = try one.pipeline(grants.map { ["CHECK", $0, "slots", "COST", "10", "RESERVE"] })
                .map(CheckReply.init)
            #expect(replies.allSatisfy { $0.allowed && $0.source == "local" })
            let ids = replies.compactMap(\.reservation)
            func settle() throws {
                #expect(try one.settle("CANCEL", grants[0], ids[0]))
                #expect(try one.settle("COMMIT", grants[1], ids[1], "4"))
                #expect(try one.settle("RELEASE", grants[1], ids[1]))
                #expect(try !one.settle("CANCEL", grants[0], ids[0]))
            }
            if settled != .later { try settle() }
            if settled == .afterTheConnectionIsGone { try await stage.proxy.set(.refuse, cutsAll: true) }
            stage.redis.continue()
            // What lay in its sockets has run when it answers a newer connection.
            try stage.redis.command("PING")
            try await stage.proxy.set(.forward)
            try await stage.waitUntilShared()
            if settled == .later { try settle() }
            try await waitUntil("it is settled in Redis as well") {
                try other.used(grants[0], "slots") == [0, 0] && other.used(grants[1], "slots") == [4, 0]
            }
            for (grant, id) in zip(grants, ids) {
                for client in stage.clients { #expect(try !client.settle("CANCEL", grant, id)) }
            }
        }

        /// A check that was denied here without Redis is given back if Redis admits it later. With an id it is not: a
        /// repetition gets the admission as its answer, so it must have been charged.
        @Test func whatRedisAdmitsTooLateIsGivenBack() async throws {
            let stage = try await Stage()
            let (one, other) = (stage.clients[0], stage.clients[1])
            let (grant, retrying) = (Grants.next(), Grants.next("retrying"))
            stage.redis.stop()
            let checks = [
                ["CHECK", grant, "denied", "RESERVE"], ["CHECK", retrying, "denied", "RESERVE", "ID", "x"],
            ]
            for reply in try one.pipeline(checks).map(CheckReply.init) {
                #expect(reply.verdict == "unavailable" && reply.reservation == "")
            }
            stage.redis.continue()
            try stage.redis.command("PING")
            try await stage.waitUntilShared()
            try await waitUntil("it is given back") { try other.used(grant, "denied") == [0, 0] }
            let again = try CheckReply(other.command(checks[1]))
            #expect(again.allowed && again.source == "shared")
            #expect(try one.used(retrying, "denied") == [1, 1])
            #expect(try one.settle("COMMIT", retrying, again.reservation ?? "", "5"))
            #expect(try other.used(retrying, "denied") == [5, 1])
        }
    }
}
