import Support
import Testing

extension Integration {
    /// Checks with an id: however often they are asked, they are charged once.
    @Suite struct Retries {
        private static let policy = Document.tools([
            "run": [Document.limit("c", max: 10), Document.limit("s", max: 10, #""scope": "session""#)],
            "other": [Document.limit("c", max: 10)],
            "slots": [Document.slots("c", max: 2)],
            "free": [],
        ])

        @Test(arguments: Desk.Store.allCases)
        func areChargedOnceByEitherReplica(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let grant = Grants.next()
            let first = try desk.one.check(grant, "run", "COST", "4", "SESSION", "s", "ID", "a")
            #expect(first.allowed && first.remaining == 6)
            for client in desk.both {
                let again = try client.check(grant, "run", "ID", "a", "SESSION", "s", "COST", "4")
                #expect(again.allowed && again.limit == 10 && again.remaining == 6 && again.rule == first.rule)
                // A trace comes if it is asked for, whether or not it was before.
                let traced = try client.check(grant, "run", "COST", "4", "SESSION", "s", "ID", "a", "TRACE")
                #expect(traced.allowed && traced.trace?.map(\.used) == [4, 4])
                #expect(try client.check(grant, "run", "COST", "4", "SESSION", "s", "ID", "a").trace == nil)
                #expect(try client.used(grant, "run", "SESSION", "s") == [4, 4])
                for words in [
                    ["COST", "3"], ["COST", "4"], ["COST", "4", "SESSION", "t"],
                    ["COST", "4", "SESSION", "s", "SERVER", "x"], ["COST", "4", "SESSION", "s", "ATTR", "n", "v"],
                    ["COST", "4", "SESSION", "s", "RESERVE"], ["COST", "4", "SESSION", "s", "APPROVED"],
                ] {
                    let answer = try client.command(["CHECK", grant, "run", "ID", "a"] + words)
                    guard case .error(let text) = answer, text.hasPrefix("BADARG ") else {
                        Issue.record("\(words): \(answer)")
                        continue
                    }
                }
            }
            // It is the grant's and the tool's own.
            #expect(try desk.other.check(grant, "other", "ID", "a").remaining == 9)
            #expect(try desk.other.check(Grants.next(), "run", "ID", "a").remaining == 9)
            #expect(try desk.other.check(grant, "run", "COST", "4", "SESSION", "s", "ID", "b").remaining == 2)
            #expect(try desk.one.used(grant, "run", "SESSION", "s") == [8, 8])
        }

        /// A denied check charged nothing: its repetition is decided again.
        @Test(arguments: Desk.Store.allCases)
        func areAskedAgainAfterADenial(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let grant = Grants.next()
            let id = try desk.one.reserve(grant, "run", "COST", "8")
            for client in desk.both { #expect(try !client.check(grant, "run", "COST", "3", "ID", "a").allowed) }
            #expect(try desk.other.settle("CANCEL", grant, id))
            #expect(try desk.one.check(grant, "run", "COST", "3", "ID", "a").remaining == 7)
            #expect(try desk.other.check(grant, "run", "COST", "3", "ID", "a").remaining == 7)
            #expect(try desk.other.check(grant, "free", "ID", "a").allowed)
        }

        @Test(arguments: Desk.Store.allCases)
        func bringBackTheSameReservation(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let grant = Grants.next()
            let words = ["CHECK", grant, "slots", "RESERVE", "ID", "call 1"]
            let first = try CheckReply(desk.one.command(words))
            #expect(first.allowed && first.reservation?.utf8.count == 32)
            for client in desk.both {
                for _ in 1...3 {
                    let again = try CheckReply(client.command(words))
                    #expect(again.allowed && again.reservation == first.reservation && again.trace == nil)
                    let traced = try CheckReply(client.command(words + ["TRACE"]))
                    #expect(traced.reservation == first.reservation && traced.trace?.map(\.used) == [1])
                }
            }
            #expect(try desk.other.used(grant, "slots") == [1])
            #expect(try desk.other.settle("RELEASE", grant, first.reservation ?? ""))
            #expect(try desk.one.used(grant, "slots") == [0])
        }

        /// A gateway that repeats itself through both, all at once.
        @Test(arguments: Desk.Store.allCases)
        func areChargedOnceForAllAskers(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let sockets = desk.sidecars.map(\.socketPath)
            let grants = (1...20).map { Grants.next("\($0)") }
            let ids = (1...12).map { "call \($0)" }
            let checks = grants.flatMap { grant in ids.map { ["CHECK", grant, "run", "RESERVE", "ID", $0] } }
            let replies = try await onThreads(4) { index in
                try RedisClient(path: sockets[index % sockets.count]).pipeline(checks).map(CheckReply.init)
            }
            for index in checks.indices {
                let reservations = Set(replies.map { $0[index].reservation ?? "none" })
                #expect(reservations.count == 1)
            }
            for grant in grants { #expect(try desk.other.used(grant, "run") == [10, 10]) }
        }
    }
}
