import Support
import Testing

extension Integration {
    /// `EXPLAIN`: why a check would be allowed or denied, limit by limit.
    @Suite struct ExplainTests {
        private static let policy = """
            {
              "version": "1", "default": "deny",
              "all_tools": {"limits": [{"counter": "all", "window": \(Policies.longWindow), "max": 100}]},
              "tools": {
                "run": {"limits": [
                  {"counter": "narrow", "window": \(Policies.longWindow), "max": 3},
                  {"counter": "shadow", "window": \(Policies.longWindow), "max": 1, "mode": "shadow"}
                ]},
                "slots": {"limits": [{"counter": "at_once", "algorithm": "concurrency", "max": 1}]}
              }
            }
            """

        @Test func explainsLimitByLimitAndChargesNothing() async throws {
            let pair = try await Pair(policy: Self.policy)
            let (one, other) = (try pair.one.client(), try pair.other.client())
            let grant = Grants.next()
            for _ in 1...3 { _ = try one.check(grant, "run") }
            for _ in 1...2 {
                let answer = try other.command("EXPLAIN", grant, "run")
                #expect(answer["allowed"] == .integer(0) && answer["verdict"] == .string("limit"))
                #expect(answer["rule"] == .string("/tools/run/limits/narrow"))
                #expect(["shared", "cache"].contains(answer["source"]?.text))
                let limits = try #require(answer["limits"]?.elements)
                #expect(limits.map { $0["rule"]?.text?.split(separator: "/").last } == ["narrow", "shadow", "all"])
                #expect(limits.map { $0["passes"]?.integer } == [0, 0, 1])
                #expect(limits.map { $0["used"]?.integer } == [3, 1, 3])
                #expect(limits.map { $0["max"]?.integer } == [3, 1, 100])
                #expect(limits.map { $0["would_deny"]?.integer } == [0, 2, 0])
                #expect(limits.map { $0["mode"]?.text } == ["enforce", "shadow", "enforce"])
                #expect(limits[0]["rate"]?.text == "3 per 366 days")
                #expect(try #require(limits[0]["retry_after_ms"]?.integer) > 0)
            }
            // A slot is explained without being reserved.
            let slots = try other.command("EXPLAIN", grant, "slots")
            #expect(slots["allowed"] == .integer(1))
        }

        @Test func toolsThatNoCounterDecides() async throws {
            let pair = try await Pair(policy: Self.policy)
            let client = try pair.one.client()
            let answer = try client.command("EXPLAIN", "g", "unheard_of")
            #expect(answer["verdict"] == .string("deny") && answer["rule"] == .string("(default deny)"))
            #expect(answer["limits"]?.elements?.isEmpty == true)
            let costly = try client.command("EXPLAIN", Grants.next(), "run", "COST", "4")
            #expect(costly["retry_after_ms"] == .integer(-1) && costly["cost"] == .integer(4))
            // Redis' usage explains a check that can never pass, whichever replica charged it.
            let grant = Grants.next()
            for _ in 1...2 { _ = try client.check(grant, "run") }
            let other = try pair.other.client()
            let never = try other.command("EXPLAIN", grant, "run", "COST", "4")
            #expect(never["retry_after_ms"] == .integer(-1) && never["remaining"] == .integer(1))
            #expect(never["limits"]?.elements?.map { $0["used"]?.integer } == [2, 1, 2])
            let denied = try other.check(grant, "run", "COST", "4", "TRACE")
            #expect(denied.remaining == 1 && denied.trace?.map(\.used) == [2, 1, 2])
            guard case .error(let text) = try client.command("EXPLAIN", "g", "run", "RESERVE") else {
                throw SupportError("no error")
            }
            #expect(text.hasPrefix("BADARG"))
        }
    }
}
