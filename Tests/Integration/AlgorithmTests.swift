import Foundation
import SluiceEngine
import Support
import Testing

extension Integration {
    /// Each algorithm, as gateways see it.
    @Suite struct Algorithms {
        private static let sliding = #""algorithm": "sliding_window""#
        private static let log = #""algorithm": "sliding_log""#
        private static func bucket(burst: Int) -> String { #""algorithm": "token_bucket", "burst": \#(burst)"# }

        // MARK: Never over, never under

        /// Windows so long that nothing ends or leaks while it is tried.
        private static let full = Document.tools([
            "fixed": [Document.limit("c", max: 20)],
            "sliding": [Document.limit("c", max: 20, sliding)],
            "log": [Document.limit("c", max: 20, log)],
            "bucket": [Document.limit("c", max: 1, bucket(burst: 20))],
            "slots": [Document.slots("c", max: 20)],
        ])

        /// Four gateways over two sidecars ask for more than there is, at different costs.
        @Test(arguments: Desk.Store.allCases)
        func admitExactlyTheirMaximum(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.full)
            let sockets = desk.sidecars.map(\.socketPath)
            let tools = ["fixed", "sliding", "log", "bucket", "slots"]
            let checks = tools.flatMap { tool in (1...6).map { (tool: tool, grant: Grants.next("\(tool)\($0)")) } }
            let admitted = try await onThreads(4) { index in
                try Self.spend(checks, socketPath: sockets[index % sockets.count], seed: UInt64(index))
            }
            for (index, check) in checks.enumerated() {
                let total = admitted.reduce(0) { $0 + $1[index] }
                #expect(total == 20, "\(check)")
                for client in desk.both {
                    #expect(try client.used(check.grant, check.tool) == [20])
                    #expect(try client.peek(check.grant, check.tool).remaining == 0)
                }
            }
        }

        /// One gateway: costs of 1 to 3 in any order, and at last of 1 only, until each is refused.
        /// - Returns: what was admitted of each, in units of cost; of concurrency in slots.
        private static func spend(
            _ checks: [(tool: String, grant: String)], socketPath: String, seed: UInt64
        ) throws -> [Int] {
            let client = try RedisClient(path: socketPath)
            var random = SeededRandom(seed: seed)
            var admitted = Array(repeating: 0, count: checks.count)
            for round in 1...12 {
                let costs = checks.map { _ in round > 8 ? 1 : Int.random(in: 1...3, using: &random) }
                let order = checks.indices.shuffled(using: &random)
                let answers = try client.pipeline(
                    order.map { index in
                        let reserve = checks[index].tool == "slots" || index % 3 == 0 ? ["RESERVE"] : []
                        return ["CHECK", checks[index].grant, checks[index].tool, "COST", "\(costs[index])"] + reserve
                    })
                for (index, answer) in zip(order, answers) where try CheckReply(answer).allowed {
                    admitted[index] += checks[index].tool == "slots" ? 1 : costs[index]
                }
            }
            return admitted
        }

        private static let mixed = Document.tools(
            [
                "run": [
                    Document.limit("fixed", max: 40), Document.limit("sliding", max: 30, sliding),
                    Document.limit("bucket", max: 1, bucket(burst: 20)),
                    Document.limit("session", max: 1_000, #""scope": "session""#), Document.slots("slots", max: 8),
                ]
            ], allTools: [Document.limit("all", max: 50, #""scope": "global""#)])

        /// Limits of every kind are charged together or not at all, whichever refuses.
        @Test(arguments: Desk.Store.allCases)
        func areChargedTogetherOrNotAtAll(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.mixed)
            let sockets = desk.sidecars.map(\.socketPath)
            let grant = Grants.next()
            func flood() async throws -> [String] {
                let flood = Array(repeating: ["CHECK", grant, "run", "SESSION", "s", "RESERVE"], count: 20)
                return try await onThreads(4) { index in
                    try RedisClient(path: sockets[index % sockets.count]).pipeline(flood).map(CheckReply.init)
                        .filter(\.allowed).compactMap(\.reservation)
                }.flatMap { $0 }
            }
            let first = try await flood()
            #expect(first.count == 8 && Set(first).count == 8)
            for client in desk.both { #expect(try client.used(grant, "run", "SESSION", "s") == [8, 8, 8, 8, 8, 8]) }
            for reservation in first { #expect(try desk.other.settle("RELEASE", grant, reservation)) }
            let second = try await flood()
            for reservation in second { #expect(try desk.one.settle("RELEASE", grant, reservation)) }
            let third = try await flood()
            #expect(second.count == 8 && third.count == 4)
            for client in desk.both {
                #expect(try client.used(grant, "run", "SESSION", "s") == [20, 20, 20, 20, 4, 20])
            }
            let denied = try desk.one.check(grant, "run", "SESSION", "s", "RESERVE")
            #expect(denied.rule == "/tools/run/limits/bucket" && denied.reservation == "")
            // What other grants use of the limit over all is used for this one as well.
            let stranger = Grants.next()
            #expect(try desk.other.check(stranger, "run", "COST", "20", "RESERVE").allowed)
            #expect(try desk.other.used(stranger, "run") == [20, 20, 20, 20, 1, 40])
            #expect(try !desk.one.check(Grants.next(), "run", "COST", "11", "RESERVE").allowed)
        }

        // MARK: Never

        @Test(arguments: Desk.Store.allCases)
        func tellWhatCanNeverPass(_ store: Desk.Store) async throws {
            let desk = try await Desk(
                store,
                policy: Document.tools([
                    "fixed": [Document.limit("c", max: 5)], "sliding": [Document.limit("c", max: 5, Self.sliding)],
                    "bucket": [Document.limit("c", max: 1, Self.bucket(burst: 5))],
                    "no fixed": [Document.limit("c", max: 0)],
                    "no sliding": [Document.limit("c", max: 0, Self.sliding)],
                    "no bucket": [Document.limit("c", max: 0, #""algorithm": "token_bucket""#)],
                    "no slots": [Document.slots("c", max: 0)],
                    "slots": [Document.slots("c", max: 1)],
                    "mixed": [Document.limit("c", max: 5), Document.limit("d", max: 9, Self.sliding)],
                ]))
            for client in desk.both {
                for tool in ["fixed", "sliding", "bucket", "mixed"] {
                    let never = try client.check(Grants.next(), tool, "COST", "6", "RESERVE")
                    #expect(!never.allowed && never.retryAfterMs == -1 && never.limit == 5 && never.reservation == "")
                    #expect(!never.message.contains("Try again"))
                    #expect(try client.peek(Grants.next(), tool, "COST", "6").retryAfterMs == -1)
                    let grant = Grants.next()
                    #expect(try client.check(grant, tool, "COST", "5").remaining == 0)
                    let later = try client.check(grant, tool)
                    #expect(later.retryAfterMs > 0 && later.message.contains("Try again in "))
                }
                for tool in ["no fixed", "no sliding", "no bucket", "no slots"] {
                    let never = try client.check(Grants.next(), tool, "RESERVE")
                    #expect(!never.allowed && never.retryAfterMs == -1 && never.limit == 0 && never.remaining == 0)
                    #expect(try client.peek(Grants.next(), tool).retryAfterMs == -1)
                }
                // A slot is one slot, whatever the call costs.
                let grant = Grants.next()
                #expect(try client.check(grant, "slots", "COST", "1000000000000", "RESERVE").remaining == 0)
                #expect(try !client.check(grant, "slots", "RESERVE").allowed)
            }
        }

        // MARK: Waiting

        /// A client that waits for the time in a denial passes; and the first one that passes had no longer time to
        /// wait.
        @Test(arguments: ["fixed_window", "sliding_window", "token_bucket", "concurrency"])
        func tellHonestlyHowLongToWait(_ algorithm: String) async throws {
            let limit =
                algorithm == "concurrency"
                ? Document.slots("c", max: 5, hold: "1")
                : Document.limit("c", max: 5, window: "1", #""algorithm": "\#(algorithm)""#)
            let pair = try await Pair(policy: Document.tools(["run": [limit]]))
            let (one, other) = (try pair.one.client(), try pair.other.client())
            let clock = try pair.redis.client()
            let grant = Grants.next()
            let words = ["CHECK", grant, "run"] + (algorithm == "concurrency" ? ["RESERVE"] : [])
            var refused: CheckReply?
            var soonest = 0
            while refused == nil {
                soonest = try clock.timeMs()
                let reply = try CheckReply(one.command(words))
                if !reply.allowed { refused = reply }
            }
            let wait = try #require(refused).retryAfterMs
            #expect((1...2_000).contains(wait))
            #expect(algorithm != "token_bucket" || wait <= 200)
            let latest = try clock.timeMs() + wait
            try await waitUntil("it passes", timeout: .seconds(10)) {
                let askedMs = try clock.timeMs()
                let reply = try CheckReply(other.command(words))
                // A millisecond for what both clocks round.
                #expect(reply.allowed || askedMs <= latest + 1)
                return reply.allowed
            }
            // A bucket leaks evenly: nothing passes before its time.
            if algorithm == "token_bucket" { #expect(try clock.timeMs() + 1 >= soonest + wait) }
        }

        // MARK: Calendars

        /// Windows of a calendar begin and end where `date` says that they do.
        @Test(arguments: ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"])
        func keepTheCalendarOfATimeZone(_ zone: String) async throws {
            let periods = ["day", "week", "month"]
            let pair = try await Pair(
                policy: Document.tools([
                    "run": periods.map {
                        Document.limit($0, max: 5, window: "\"\($0)\"", "\"timezone\": \"\(zone)\"")
                    },
                    "day": [Document.limit("c", max: 1, window: "\"day\"", "\"timezone\": \"\(zone)\"")],
                    "week": [
                        Document.limit("c", max: 1, window: "\"week\"", "\"timezone\": \"\(zone)\", \(Self.sliding)")
                    ],
                    "month": [Document.limit("c", max: 1, window: "\"month\"", "\"timezone\": \"\(zone)\"")],
                ]))
            let clients = try pair.both.map { try $0.client() }
            let clock = try pair.redis.client()
            for attempt in 1...3 {
                let grant = Grants.next()
                let firstMs = try clock.timeMs()
                let trace = try clients[0].check(grant, "run", "TRACE").trace
                let replies = try periods.map { [try clients[0].check(grant, $0), try clients[1].check(grant, $0)] }
                let lastMs = try clock.timeMs()
                let windows = try await Self.windows(zone, atMs: firstMs)
                // A day may end in the middle: then once more.
                guard try await Self.windows(zone, atMs: lastMs) == windows || attempt == 3 else { continue }
                #expect(trace?.map(\.windowStartMs) == windows.map(\.startMs))
                for ((period, replies), window) in zip(zip(periods, replies), windows) {
                    #expect(replies.map(\.allowed) == [true, false])
                    let lengthMs = window.endMs - window.startMs
                    for reply in replies {
                        // What a sliding window admitted counts until the window after it ends, too.
                        let endMs = window.endMs + (period == "week" ? lengthMs : 0)
                        #expect((firstMs - 1...lastMs + 5).contains(endMs - reply.resetMs), "\(period) of \(zone)")
                    }
                    #expect(period == "week" || replies[1].retryAfterMs == replies[1].resetMs)
                }
                return
            }
        }

        /// The day, the week and the month that hold a moment, by the system's own calendar.
        private static func windows(_ zone: String, atMs: Int) async throws -> [Range] {
            let script = """
                day=$(date -d @\(atMs / 1000) +%F); weekday=$(date -d @\(atMs / 1000) +%u)
                first=$(date -d @\(atMs / 1000) +%Y-%m-01)
                monday=$(date -d "$day 12:00 $((weekday - 1)) days ago" +%F)
                for edge in "$day" "$day 1 day" "$monday" "$monday 7 days" "$first" "$first 1 month"; do
                    date -d "$(date -d "$edge" +%F) 00:00" +%s
                done
                """
            let process = try ChildProcess("/bin/sh", ["-c", script], environment: ["TZ": zone])
            #expect(try await process.wait() == .exited(status: 0))
            let edges = process.output.split(separator: "\n").compactMap { Int($0) }.map { $0 * 1000 }
            guard edges.count == 6 else { throw SupportError("not six times: \(process.output)") }
            return stride(from: 0, to: 6, by: 2).map { Range(startMs: edges[$0], endMs: edges[$0 + 1]) }
        }

        private struct Range: Equatable {
            var startMs: Int
            var endMs: Int
        }
    }
}

extension RedisClient {
    /// The time of a Redis, in milliseconds.
    func timeMs() throws -> Int {
        let parts = try command("TIME").elements?.compactMap(\.text).compactMap { Int($0) } ?? []
        guard parts.count == 2 else { throw SupportError("no time") }
        return parts[0] * 1000 + parts[1] / 1000
    }
}
