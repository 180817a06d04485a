import Foundation
import Support
import Testing

extension Integration {
    /// What a sidecar is for: counting calls and telling what came of it.
    @Suite struct Counting {
        /// Two sidecars admit ten calls a minute between them. A minute may end in the middle: then once more.
        @Test func twoSidecarsShareOneMinute() async throws {
            let pair = try await Pair(policy: Policies.seed)
            let clients = try pair.both.map { try $0.client() }
            for attempt in 1...3 {
                let grant = Grants.next()
                let replies = try (0...10).map {
                    try clients[$0 % 2].check(grant, "opencode_run", "TRACE")
                }
                let other = try clients[0].check(Grants.next(), "opencode_run")
                let windows = Set(replies.compactMap { $0.trace?.first?.windowStartMs })
                guard windows.count == 1 || attempt == 3 else { continue }
                #expect(windows.count == 1)
                for (index, reply) in replies.prefix(10).enumerated() {
                    #expect(reply.allowed && reply.verdict == "allow" && reply.message == "")
                    #expect(reply.limit == 10 && reply.remaining == 9 - index && reply.retryAfterMs == 0)
                    #expect(reply.trace?.first?.used == index + 1)
                }
                let denied = replies[10]
                #expect(!denied.allowed && denied.verdict == "limit")
                #expect(denied.limit == 10 && denied.remaining == 0)
                #expect(denied.retryAfterMs == denied.resetMs && (1...60_000).contains(denied.resetMs))
                let seconds = (denied.retryAfterMs + 999) / 1000
                #expect(
                    denied.message == "opencode_run is limited to 10 calls per minute for this grant. "
                        + "Try again in \(seconds) second\(seconds == 1 ? "" : "s").")
                for reply in replies {
                    #expect(reply.rule == "/tools/opencode_run/limits/opencode_run_rate")
                    #expect(reply.source == "shared")
                    #expect((1...60_000).contains(reply.resetMs))
                    #expect((reply.trace?.first?.windowStartMs ?? 1) % 60_000 == 0)
                }
                #expect(other.allowed && other.remaining == 9)
                return
            }
        }

        @Test func everyPartOfAPolicyIsAnswered() async throws {
            let pair = try await Pair(policy: Policies.broad)
            try checkEveryAnswer(one: pair.one.client(), other: pair.other.client(), source: "shared")
            for sidecar in pair.both { #expect(try sidecar.figure("late") == 0) }
        }

        /// Without Redis everything is the same, but for the source.
        @Test func everyPartOfAPolicyIsAnsweredWithoutRedis() async throws {
            let sidecar = try await SidecarProcess(policy: Policies.broad, redis: "none", replicas: 1)
            try checkEveryAnswer(one: sidecar.client(), other: sidecar.client(), source: "local")
            #expect(try sidecar.client().info("redis_address") == "none")
            #expect(try sidecar.client().info("counting") == "local")
        }

        private func checkEveryAnswer(one: RedisClient, other: RedisClient, source: String) throws {
            try checkCost(one, other, source)
            try checkScopes(one, other)
            try checkActions(one, other)
            try checkMaps(one)
        }

        private func checkCost(_ one: RedisClient, _ other: RedisClient, _ source: String) throws {
            let grant = Grants.next()
            #expect(try one.check(grant, "big", "COST", "60").remaining == 40)
            // A peek charges nothing, however often, and shows what a check would find.
            for client in [one, other, one, other] {
                let peek = try client.peek(grant, "big", "COST", "40")
                #expect(peek.allowed && peek.source == source && peek.limit == 100)
                #expect(try !client.peek(grant, "big", "COST", "41").allowed)
            }
            // A denial charges nothing either.
            let refused = try other.check(grant, "big", "COST", "41", "TRACE")
            #expect(!refused.allowed && refused.remaining == 40 && refused.trace?.first?.used == 60)
            #expect(try other.check(grant, "big", "COST", "40").remaining == 0)
            #expect(try one.peek(grant, "big").verdict == "limit")
            // More than the maximum can never pass, and nothing need be asked for it.
            let never = try one.check(Grants.next(), "big", "COST", "101")
            #expect(!never.allowed && never.retryAfterMs == -1 && never.limit == 100)
            // Names are any UTF-8, and no name reaches another's counter.
            let forged = "\(grant)}:big:bigs:fixed_window:\(Policies.longWindow)s:0"
            #expect(try one.check(forged, "big").remaining == 99)
            #expect(try one.check("grant with spaces, ünïcode, {braces} and * ", "big").remaining == 99)
        }

        private func checkScopes(_ one: RedisClient, _ other: RedisClient) throws {
            let grant = Grants.next()
            for session in ["s1", "s2"] {
                #expect(try one.check(grant, "both", "SESSION", session).allowed)
                #expect(try other.check(grant, "both", "SESSION", session).allowed)
                let denied = try one.check(grant, "both", "SESSION", session)
                #expect(!denied.allowed && denied.rule == "/tools/both/limits/per_session")
            }
            // The grant's limit has one left; a session that is denied takes none of it.
            let last = try one.check(grant, "both", "SESSION", "s3", "TRACE")
            #expect(last.allowed && last.rule == "/tools/both/limits/per_grant" && last.remaining == 0)
            #expect(last.trace?.map(\.used) == [1, 5])
            #expect(try other.check(grant, "both", "SESSION", "s3").rule == "/tools/both/limits/per_grant")
            // `rate_limit` is a session's; without one it is the grant's.
            for words in [["SESSION", "a"], ["SESSION", "b"], []] {
                let chat = ["CHECK", grant, "chat"] + words
                for remaining in [2, 1, 0] { #expect(try CheckReply(one.command(chat)).remaining == remaining) }
                let denied = try CheckReply(other.command(chat))
                #expect(!denied.allowed && denied.rule == "/tools/chat/rate_limit")
            }
        }

        private func checkActions(_ one: RedisClient, _ other: RedisClient) throws {
            let grant = Grants.next()
            let unapproved = try one.check(grant, "deploy")
            #expect(unapproved.verdict == "approve" && unapproved.rule == "/tools/deploy/action")
            #expect(unapproved.source == "policy" && unapproved.retryAfterMs == -1 && unapproved.limit == -1)
            #expect(unapproved.message == "deploy needs a person's approval before it runs.")
            #expect(try one.check(grant, "deploy", "APPROVED").remaining == 1)
            #expect(try other.check(grant, "deploy", "APPROVED").remaining == 0)
            #expect(try one.check(grant, "deploy", "APPROVED").verdict == "limit")

            let wiped = try one.check(grant, "wipe", "TRACE")
            #expect(wiped.verdict == "deny" && wiped.rule == "/tools/wipe/action" && wiped.source == "policy")
            #expect(wiped.message == "Wiping is for people." && wiped.trace == [])
            #expect(try one.check(grant, "mute").message == "mute is not allowed by this grant's policy.")
            for hidden in ["ghost", "run_hidden"] {
                #expect(try one.check(grant, hidden).rule == "(hidden)")
                #expect(try !one.peek(grant, hidden, "APPROVED").allowed)
            }
            let unknown = try one.check(grant, "unlisted")
            #expect(unknown.rule == "(default deny)" && unknown.verdict == "deny" && unknown.retryAfterMs == -1)
            #expect(unknown.message == "unlisted is not allowed by this grant's policy.")
            let free = try one.check(grant, "free")
            #expect(free.allowed && free.rule == "/tools/free" && free.source == "policy" && free.limit == -1)
            let blocked = try one.check(grant, "blocked")
            #expect(!blocked.allowed && blocked.message == "Not in this life." && blocked.retryAfterMs == -1)
            #expect(try one.check(grant, "a/b~c").rule == "/tools/a~1b~0c/limits/x~1y")
        }

        /// After `HELLO 3` a decision is a map of the same fields in the same order; `CheckReply` looks at their names.
        private func checkMaps(_ client: RedisClient) throws {
            let grant = Grants.next()
            let plain = try client.check(grant, "big", "TRACE")
            let hello = try client.command("HELLO", "3")
            #expect(hello["server"] == .string("sluice") && hello["proto"] == .integer(3))
            let answer = try client.command("CHECK", grant, "big", "TRACE")
            guard case .map = answer else { throw SupportError("not a map: \(answer)") }
            let mapped = try CheckReply(answer)
            #expect(mapped.remaining == plain.remaining - 1 && mapped.trace?.first?.used == 2)
            #expect(mapped.rule == plain.rule && mapped.source == plain.source)
            _ = try client.command("HELLO", "2")
            #expect(try client.command("CHECK", grant, "big").elements?.count == 9)
        }

        /// Limits are charged together or not at all.
        @Test func aToolsLimitAndThatOverAllToolsAreOne() async throws {
            let pair = try await Pair(policy: Policies.total)
            let (one, other) = (try pair.one.client(), try pair.other.client())
            let grant = Grants.next()
            for _ in 1...3 { #expect(try one.check(grant, "run").rule == "/tools/run/limits/runs") }
            let overTool = try other.check(grant, "run", "TRACE")
            #expect(!overTool.allowed && overTool.trace?.map(\.used) == [3, 3])
            let last = try other.check(grant, "anything", "TRACE")
            #expect(last.allowed && last.rule == "/all_tools/limits/everything" && last.trace?.map(\.used) == [4])
            let overAll = try one.check(grant, "else")
            #expect(!overAll.allowed && overAll.rule == "/all_tools/limits/everything")
            #expect(try pair.countedKeys() == 2)
        }

        @Test func costsStayExactAtTheHighestMaximum() async throws {
            let highest = 1_000_000_000_000
            let pair = try await Pair(policy: Policies.rate(highest, per: Policies.longWindow))
            let (one, other) = (try pair.one.client(), try pair.other.client())
            let grant = Grants.next()
            #expect(try one.check(grant, "run", "COST", "\(highest - 1)").remaining == 1)
            #expect(try !other.check(grant, "run", "COST", "2").allowed)
            #expect(try other.check(grant, "run", "COST", "1").remaining == 0)
            #expect(try one.check(grant, "run", "TRACE").trace?.first?.used == highest)
        }

        /// A sidecar that starts, or starts again, finds what the others have counted.
        @Test func countsOutliveTheSidecars() async throws {
            let redis = try await RedisProcess()
            let grant = Grants.next()
            for round in 1...3 {
                let sidecar = try await SidecarProcess(policy: Policies.broad, over: redis)
                try await sidecar.waitUntilShared()
                let client = try sidecar.client()
                for call in 1...3 {
                    #expect(try client.check(grant, "run").remaining == 10 - (round - 1) * 3 - call)
                }
                if round == 2 { try await sidecar.process.end() }
            }
        }
    }
}
