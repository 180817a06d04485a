import Support
import Testing

extension Integration {
    /// `CL.THROTTLE`, over two sidecars by turns.
    @Suite struct ThrottleTests {
        /// The first cases of redis-cell's own table; what takes time is tested with a clock of its own.
        @Test func answersAsRedisCellDoes() async throws {
            let pair = try await Pair(policy: Policies.broad, arguments: ["--cl-throttle"])
            let clients = [try pair.one.client(), try pair.other.client()]
            let key = Grants.next()
            // An hour to come back: the tests' own time does not show.
            let words = ["CL.THROTTLE", key, "4", "5", "18000"]
            var answers: [RedisAnswer] = []
            for (turn, quantity) in ["6", "1", "1", "0", "2", "1", "1", "0"].enumerated() {
                answers.append(try clients[turn % 2].command(words + [quantity]))
            }
            func numbers(_ limited: Int, _ remaining: Int, _ retry: Int, _ reset: Int) -> RedisAnswer {
                .array([limited, 5, remaining, retry, reset].map { .integer($0) })
            }
            #expect(answers[0] == numbers(1, 5, -1, 0))
            #expect(answers[1] == numbers(0, 4, -1, 3600))
            let remaining = answers.compactMap { $0.elements?[2].integer }
            let limited = answers.compactMap { $0.elements?[0].integer }
            #expect(remaining == [5, 4, 3, 3, 1, 0, 0, 0])
            #expect(limited == [1, 0, 0, 0, 0, 0, 1, 0])
            let retry = try #require(answers[6].elements?[3].integer)
            #expect((3500...3600).contains(retry))
            #expect(answers.enumerated().allSatisfy { $0 == 6 || $1.elements?[3].integer == -1 })
            // The quantity is 1 when it is not said.
            #expect(try clients[0].command(words).elements?[0] == .integer(1))
        }

        /// It is off unless asked for, and says how to ask; nothing is made of the key.
        @Test func isOffByItself() async throws {
            let redis = try await RedisProcess()
            let words = ["CL.THROTTLE", Grants.next(), "4", "5", "60"]
            let sidecar = try await SidecarProcess(policy: Policies.broad, over: redis)
            try await sidecar.waitUntilShared()
            #expect(
                try sidecar.client().command(words)
                    == .error("ERR CL.THROTTLE is off, start sluiced with --cl-throttle to use it"))
            #expect(try sidecar.figure("identities") == 0)
            let on = try await SidecarProcess(
                policy: Policies.broad, over: redis, environment: ["SLUICE_CL_THROTTLE": "true"])
            try await on.waitUntilShared()
            #expect(try on.client().command(words).elements?[0] == .integer(0))
        }

        @Test func wrongNumbers() async throws {
            let pair = try await Pair(policy: Policies.broad, arguments: ["--cl-throttle"])
            let client = try pair.one.client()
            for words in [["k", "-1", "1", "1"], ["k", "1", "0", "1"], ["k", "1", "1", "0"], ["k", "x", "1", "1"]] {
                guard case .error(let text) = try client.command(["CL.THROTTLE"] + words) else {
                    throw SupportError("no error: \(words)")
                }
                #expect(text.hasPrefix("BADARG"))
            }
            guard case .error(let text) = try client.command("CL.THROTTLE", "k", "1", "1000000000000", "31622400")
            else { throw SupportError("no error") }
            #expect(text.hasPrefix("BADARG these numbers are too large"))
        }
    }
}
