import Support
import Testing

extension Integration {
    /// One grant with more sessions than it may have: no other grant gets `BUSY`.
    @Suite struct FullTableTests {
        /// As `EngineBounds.maxPlans` over `EngineBounds.grantParts`.
        private static let part = 65_536

        /// Checks of so many sessions, each another.
        /// - Returns: the answers that are errors.
        private func flood(_ sidecar: SidecarProcess, sessions: Int) throws -> [String] {
            let client = try sidecar.client(answerLimit: 60)
            var errors: [String] = []
            for start in stride(from: 0, to: sessions, by: 1_000) {
                let commands = (start..<min(start + 1_000, sessions)).map {
                    ["CHECK", "many", "chat", "SESSION", "s\($0)"]
                }
                for answer in try client.pipeline(commands) {
                    if case .error(let text) = answer { errors.append(text) }
                }
            }
            return errors
        }

        @Test func withoutRedisOneGrantIsBusyAlone() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.broad)
            let errors = try flood(sidecar, sessions: Self.part + 500)
            #expect(errors.count == 500)
            #expect(
                Set(errors) == [
                    "BUSY this grant has as many sessions, servers and tools in use as one grant may while redis is unavailable, "
                        + "use fewer or retry later"
                ])
            let client = try sidecar.client()
            #expect(try CheckReply(client.command("CHECK", "other", "chat", "SESSION", "s")).allowed)
            let known = try CheckReply(client.command("CHECK", "many", "chat", "SESSION", "s7"))
            #expect(known.source == "local")
            for tool in ["ghost", "unheard-of"] {
                #expect(try CheckReply(client.command("CHECK", "many", tool, "SESSION", "new")).verdict == "deny")
            }
            #expect(try sidecar.figure("identities") == Self.part + 1)
            #expect(try sidecar.figure("busy_grant") == 500 && sidecar.figure("overloaded") == 500)
            #expect(try sidecar.figure("evicted_identities") == 0)
            func lines() -> Int {
                sidecar.log.split(separator: "\n").filter { $0.contains("checks are answered BUSY") }.count
            }
            try await waitUntil("the log has it") { lines() > 0 }
            #expect(lines() == 1)
        }

        @Test func withRedisNobodyIs() async throws {
            let redis = try await RedisProcess()
            let sidecar = try await SidecarProcess(policy: Policies.broad, over: redis)
            try await sidecar.waitUntilShared()
            #expect(try flood(sidecar, sessions: Self.part + 500) == [])
            #expect(try sidecar.figure("identities") == Self.part && sidecar.figure("evicted_identities") == 500)
            // Redis still holds the evicted counters.
            let client = try sidecar.client()
            for session in stride(from: 0, to: Self.part, by: 1_111) {
                let reply = try CheckReply(client.command("CHECK", "many", "chat", "SESSION", "s\(session)"))
                #expect(reply.remaining == 1 && reply.source == "shared")
            }
            #expect(try sidecar.figure("overloaded") == 0)
            try await waitUntil("the log has it") { sidecar.log.contains("a table is full") }
        }
    }
}
