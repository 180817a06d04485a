import Foundation
import Support
import Testing

extension Integration.Outages {
    /// Redis comes back while every replica has spent its share, and gateways go on calling: nothing is admitted again that
    /// some replica has not written back yet.
    @Suite struct Returns {
        static let max = 300

        /// What counts; each admits `max` and hardly more in the time that a test takes.
        enum Kind: String, CaseIterable, Sendable, CustomTestStringConvertible {
            case fixedWindow, slidingWindow, slidingLog, tokenBucket

            var testDescription: String { rawValue }

            var policy: String {
                let algorithm =
                    switch self {
                    case .fixedWindow: ""
                    case .slidingWindow: ", \"algorithm\": \"sliding_window\""
                    case .slidingLog: ", \"algorithm\": \"sliding_log\""
                    case .tokenBucket: ", \"algorithm\": \"token_bucket\", \"burst\": \(Returns.max)"
                    }
                return """
                    {"version": "1", "default": "deny", "tools": {"run": {"limits": [{
                      "counter": "runs", "window": \(Policies.longWindow), "max": \(Returns.max)\(algorithm)}]}}}
                    """
            }
        }

        @Test(arguments: [Lasting.killed, .stopped, .refusing], Kind.allCases)
        func noShareIsAdmittedTwice(_ fault: Lasting, _ kind: Kind) async throws {
            try await spendAndReturn(try await Stage(policy: kind.policy), fault, usedBefore: 0)
        }

        @Test(arguments: [Lasting.killed, .stopped]) func afterUsage(_ fault: Lasting) async throws {
            try await spendAndReturn(try await Stage(policy: Kind.fixedWindow.policy), fault, usedBefore: 60)
        }

        @Test(arguments: [Lasting.killed, .stopped]) func ofThreeSidecars(_ fault: Lasting) async throws {
            try await spendAndReturn(
                try await Stage(sidecars: 3, policy: Kind.fixedWindow.policy), fault, usedBefore: 0)
        }

        /// - Parameter usedBefore: while all are connected; all of them see it.
        private func spendAndReturn(_ stage: Stage, _ fault: Lasting, usedBefore: Int) async throws {
            let grant = Grants.next("returning")
            var admitted = 0
            func call(_ client: RedisClient, times: Int) throws {
                let calls = Array(repeating: ["CHECK", grant, "run"], count: times)
                admitted += try client.pipeline(calls).map(CheckReply.init).count(where: \.allowed)
            }
            if usedBefore > 0 {
                try call(stage.clients[0], times: usedBefore)
                for client in stage.clients {
                    let remaining = try client.peek(grant, "run").remaining
                    #expect(remaining == Self.max - usedBefore)
                }
            }
            try await stage.begin(fault)
            for sidecar in stage.sidecars { try await sidecar.waitUntilLocal() }
            for client in stage.clients { try call(client, times: Self.max) }
            #expect(admitted == Self.max)

            try await stage.end(fault)
            // The first that is back is asked at once, while the others have not written back yet.
            var backAt = [ContinuousClock.Instant?](repeating: nil, count: stage.sidecars.count)
            try await waitUntil("all count in Redis again") {
                for client in stage.clients { try call(client, times: 20) }
                var areAllShared = true
                for (index, client) in stage.clients.enumerated() {
                    let state = try client.info("redis_state")
                    if backAt[index] == nil, ["closed", "recovering"].contains(state) { backAt[index] = .now }
                    if state != "closed" { areAllShared = false }
                }
                return areAllShared
            }
            for client in stage.clients { try call(client, times: 20) }
            let account = try stage.account()
            // One that comes back later than the others wait for it may have its share admitted once more.
            let times = backAt.compactMap { $0 }
            let spread = (times.min() ?? .now).duration(to: times.max() ?? .now)
            let late = spread < .milliseconds(1_500) ? 0 : Self.max - Self.max / stage.sidecars.count
            #expect(admitted >= Self.max && admitted <= Self.max + late, "\(account), spread \(spread)")
        }
    }
}
