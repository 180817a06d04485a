import Support
import Testing

extension Integration {
    /// Limits with `"precision": "leased"`: two sidecars over one Redis.
    @Suite struct Leases {
        static let max = 3_000

        static let policy = Document.tools([
            "run": [Document.limit("runs", max: max, #""precision": "leased""#)]
        ])

        private let pair: Pair
        private let grant = Grants.next("leasing")

        init() async throws { pair = try await Pair(policy: Self.policy) }

        /// Some calls: how many were admitted, and how many of those from a block.
        private func call(_ client: RedisClient, times: Int = 50) throws -> (admitted: Int, leased: Int) {
            let replies = try client.pipeline(Array(repeating: ["CHECK", grant, "run"], count: times))
                .map(CheckReply.init).filter(\.allowed)
            return (replies.count, replies.count { $0.source == "lease" })
        }

        /// What Redis has for it: what was admitted, and what is in blocks.
        private func stored() throws -> Int {
            let keys = try pair.redis.command("KEYS", "sluice:2:{\(grant)}:run:*").elements ?? []
            return try keys.compactMap(\.text).reduce(0) {
                $0 + (Int(try pair.redis.command("GET", $1).text ?? "") ?? 0)
            }
        }

        /// Calls until a block has answered some.
        private func lease(_ client: RedisClient) async throws -> Int {
            var admitted = 0
            try await waitUntil("a block answers") {
                let (more, leased) = try call(client)
                admitted += more
                return leased > 0
            }
            return admitted
        }

        @Test func together() async throws {
            let clients = [try pair.one.client(), try pair.other.client()]
            var (admitted, leased, denied) = (0, 0, 0)
            // What is in blocks when the rest is used up goes back within two seconds.
            try await waitUntil("all is admitted") {
                for client in clients {
                    let more = try call(client)
                    admitted += more.admitted
                    leased += more.leased
                    denied += 50 - more.admitted
                }
                return admitted >= Self.max && denied > 500
            }
            #expect(admitted == Self.max && leased > 0)
            #expect(try stored() == Self.max)
        }

        @Test func aKilledSidecarStrandsItsBlock() async throws {
            let other = try pair.other.client()
            var admitted = try await lease(pair.one.client())
            try await pair.one.process.end()
            let block = try stored() - admitted
            #expect(block >= 0 && block < Self.max / 2)
            try await waitUntil("the rest is used up") {
                let more = try call(other).admitted
                admitted += more
                return try more == 0 && stored() == Self.max
            }
            #expect(admitted <= Self.max && admitted >= Self.max - block, "\(admitted), block \(block)")
        }

        @Test func whatIsNotUsedGoesBack() async throws {
            let admitted = try await lease(pair.one.client())
            try await waitUntil("the block is back") { try stored() == admitted }
            try await waitUntil("nothing is left of the lease") { try pair.one.figure("leased_counters") == 0 }
            #expect(try pair.other.client().check(grant, "run").remaining == Self.max - admitted - 1)
        }

        @Test func whatIsLeftGoesBackAtTheEnd() async throws {
            let admitted = try await lease(pair.one.client())
            #expect(try await pair.one.process.terminate() == .exited(status: 0))
            #expect(try stored() == admitted)
        }
    }
}
