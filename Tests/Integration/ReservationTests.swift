import Support
import Testing

extension Integration {
    /// Checks that may still be settled, and checks that are asked again.
    @Suite struct Reservations {
        private static let policy = Document.tools(
            [
                "run": [Document.limit("c", max: 100)],
                "sliding": [Document.limit("c", max: 100, #""algorithm": "sliding_window""#)],
                "bucket": [Document.limit("c", max: 1, #""algorithm": "token_bucket", "burst": 100"#)],
                "slots": [Document.slots("c", max: 3), Document.limit("d", max: 100)],
                "brief": [Document.slots("c", max: 2, hold: "1")],
                "free": [],
                "fast": [Document.limit("c", max: 100, window: "1")],
            ], allTools: [Document.limit("all", max: 1_000_000_000_000)])

        private static let counted = ["run", "sliding", "bucket"]

        // MARK: COMMIT and CANCEL

        @Test(arguments: Desk.Store.allCases)
        func areSettledOnceByEitherReplica(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            for tool in Self.counted {
                let grant = Grants.next()
                func expectUsed(_ used: Int) throws {
                    // Each that gives back to a bucket takes it for the one that leaked: that rounds up.
                    let most = tool == "bucket" ? used + 1 : used
                    for client in desk.both {
                        let found = try client.used(grant, tool)
                        #expect((used...most).contains(found[0]) && found[1] == used, "\(tool) \(found) \(used)")
                    }
                }
                let lower = try desk.one.reserve(grant, tool, "COST", "40")
                let higher = try desk.other.reserve(grant, tool, "COST", "10")
                let cancelled = try desk.one.reserve(grant, tool, "COST", "30")
                let kept = try desk.one.reserve(grant, tool, "COST", "5")
                #expect(Set([lower, higher, cancelled, kept]).count == 4)
                try expectUsed(85)
                #expect(try desk.other.settle("COMMIT", grant, lower, "15"))
                try expectUsed(60)
                #expect(try desk.one.settle("COMMIT", grant, higher, "50"))
                try expectUsed(100)
                #expect(try !desk.other.check(grant, tool).allowed)
                #expect(try desk.other.settle("CANCEL", grant, cancelled))
                // That it was full may be remembered until word of the change has come.
                for client in desk.both {
                    try await waitUntil("the change is heard of") { try client.peek(grant, tool).source != "cache" }
                }
                try expectUsed(70)
                for client in desk.both {
                    for spent in [lower, higher, cancelled] {
                        #expect(try !client.settle("COMMIT", grant, spent, "1"))
                        #expect(try !client.settle("CANCEL", grant, spent))
                        #expect(try !client.settle("RELEASE", grant, spent))
                    }
                    // There is no slot in it.
                    #expect(try !client.settle("RELEASE", grant, kept))
                }
                try expectUsed(70)
                // The call cost nothing, and another far more than there is.
                #expect(try desk.one.settle("COMMIT", grant, kept, "0"))
                let beyond = try desk.one.reserve(grant, tool)
                #expect(try desk.other.settle("COMMIT", grant, beyond, "500"))
                for client in desk.both {
                    let denied = try client.check(grant, tool, "TRACE")
                    #expect(!denied.allowed && denied.remaining == 0 && denied.retryAfterMs > 0)
                    #expect((565...566).contains(denied.trace?.first?.used ?? 0))
                }
                // A gateway may say what it likes.
                let absurd = Grants.next()
                let id = try desk.one.reserve(absurd, tool, "COST", "100")
                if tool == "bucket" {
                    // More than can be counted of one is refused, and changes nothing.
                    let answer = try desk.other.command("COMMIT", absurd, id, "1000000000000")
                    guard case .error(let reason) = answer else { throw SupportError("\(answer)") }
                    #expect(reason.hasPrefix("TOOBIG "))
                    #expect(try desk.other.settle("COMMIT", absurd, id, "200000"))
                } else {
                    #expect(try desk.other.settle("COMMIT", absurd, id, "1000000000000"))
                }
                #expect(try desk.one.check(absurd, tool).retryAfterMs > 0)
            }
        }

        @Test(arguments: Desk.Store.allCases)
        func areWorthNothingToAnybodyElse(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let (owner, thief) = (Grants.next("owner"), Grants.next("thief"))
            let id = try desk.one.reserve(owner, "slots", "COST", "7")
            _ = try desk.one.reserve(thief, "slots", "COST", "7")
            let forged =
                [id.uppercased(), String(id.dropLast()), id + "0", " \(id.dropFirst())", "*", "reservation:\(id)", "é"]
                + [String(repeating: "0", count: 32), String(id.reversed()), "\(owner)}:reservation:\(id)"]
            for client in desk.both {
                for (grant, id) in [(thief, id)] + forged.filter({ $0 != id }).map({ (owner, $0) }) {
                    for words in [["COMMIT", grant, id, "1"], ["CANCEL", grant, id], ["RELEASE", grant, id]] {
                        #expect(try client.command(words) == .integer(0), "\(words)")
                    }
                }
                for words in [
                    ["COMMIT", owner, id], ["COMMIT", owner, id, "-1"], ["COMMIT", owner, id, "x"], ["CANCEL"],
                ] {
                    guard case .error = try client.command(words) else {
                        Issue.record("\(words) was taken")
                        continue
                    }
                }
                for grant in [owner, thief] { #expect(try client.used(grant, "slots") == [1, 7, 7]) }
            }
            #expect(try desk.other.settle("CANCEL", owner, id))
            #expect(try desk.one.used(owner, "slots") == [0, 0, 0])
            // Nothing is counted for it, so there is nothing to settle; and nothing fails.
            let denied = try desk.one.check(owner, "unlisted", "RESERVE", "TRACE")
            #expect(!denied.allowed && denied.reservation == "" && denied.trace == [])
        }

        /// Gateways settle the same reservations at once, through both: each of them is settled by one.
        @Test(arguments: Desk.Store.allCases)
        func areSettledByOneOfMany(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let sockets = desk.sidecars.map(\.socketPath)
            let grant = Grants.next()
            let ids = try desk.one.pipeline(
                Array(repeating: ["CHECK", grant, "run", "COST", "2", "RESERVE"], count: 40)
            )
            .compactMap { try CheckReply($0).reservation }
            let done = try await onThreads(4) { index in
                let words = ids.map { index < 2 ? ["CANCEL", grant, $0] : ["COMMIT", grant, $0, "1"] }
                return try RedisClient(path: sockets[index % sockets.count]).pipeline(words)
            }
            for index in ids.indices { #expect(done.count { $0[index] == .integer(1) } == 1) }
            let committed = done[2...].reduce(0) { $0 + $1.count { $0 == .integer(1) } }
            #expect(try desk.other.used(grant, "run") == [committed, committed])
        }

        /// What was reserved in a window that is over changes no other.
        @Test(arguments: Desk.Store.allCases)
        func leaveLaterWindowsAlone(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let grant = Grants.next()
            let id = try desk.one.reserve(grant, "fast", "COST", "50")
            let start = try desk.one.check(grant, "fast", "TRACE").trace?[0].windowStartMs ?? 0
            var used = 0
            try await waitUntil("the next window is open") {
                let trace = try desk.other.check(grant, "fast", "TRACE").trace ?? []
                used = trace[0].used
                return trace[0].windowStartMs > start
            }
            #expect(used == 1)
            // The limit over all tools still counts it: that is given back.
            let all = try desk.one.used(grant, "run")[1]
            #expect(try desk.other.settle("CANCEL", grant, id))
            #expect(try desk.one.used(grant, "run")[1] == all - 50)
            let after = try desk.one.check(grant, "fast", "TRACE").trace?[0].used ?? 0
            #expect(after >= 1)
            #expect(try !desk.one.settle("CANCEL", grant, id))
        }

        // MARK: Slots

        @Test(arguments: Desk.Store.allCases)
        func holdSlotsUntilTheyAreReleased(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let grant = Grants.next()
            guard case .error(let error) = try desk.one.command("CHECK", grant, "slots") else {
                throw SupportError("a slot without a reservation")
            }
            #expect(error.hasPrefix("BADARG ") && error.contains("RESERVE"))
            #expect(try desk.one.peek(grant, "slots").remaining == 3)
            let ids = try [desk.one, desk.other, desk.one].map { try $0.reserve(grant, "slots", "COST", "10") }
            for client in desk.both {
                let denied = try client.check(grant, "slots", "RESERVE")
                #expect(!denied.allowed && denied.rule == "/tools/slots/limits/c" && denied.limit == 3)
                #expect((1...1_000).contains(denied.retryAfterMs))
                #expect(try client.peek(grant, "slots").verdict == "limit")
                #expect(try client.used(grant, "slots") == [3, 30, 30])
            }
            // A slot is freed, what the call cost stays; that may be settled before or after.
            #expect(try desk.other.settle("RELEASE", grant, ids[0]))
            #expect(try !desk.one.settle("RELEASE", grant, ids[0]))
            #expect(try desk.one.used(grant, "slots") == [2, 30, 30])
            #expect(try desk.one.settle("COMMIT", grant, ids[0], "4"))
            #expect(try desk.one.settle("COMMIT", grant, ids[1], "4"))
            #expect(try desk.other.used(grant, "slots") == [2, 18, 18])
            #expect(try !desk.other.settle("COMMIT", grant, ids[1], "4"))
            #expect(try desk.one.settle("RELEASE", grant, ids[1]))
            // One that is cancelled gives back both.
            #expect(try desk.other.settle("CANCEL", grant, ids[2]))
            for client in desk.both {
                for id in ids {
                    #expect(try !client.settle("CANCEL", grant, id))
                    #expect(try !client.settle("RELEASE", grant, id))
                }
                #expect(try client.used(grant, "slots") == [0, 8, 8])
            }
            // After COMMIT, CANCEL still frees the slot, and gives no cost back.
            let settled = try desk.one.reserve(grant, "slots", "COST", "5")
            #expect(try desk.other.settle("COMMIT", grant, settled, "6"))
            #expect(try desk.one.settle("CANCEL", grant, settled))
            #expect(try desk.other.used(grant, "slots") == [0, 14, 14])
        }

        /// A gateway that dies holds its slots for as long as they live, and no longer.
        @Test(arguments: Desk.Store.allCases)
        func slotsOfTheDeadComeBack(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            let grant = Grants.next()
            var ids: [String] = []
            for sidecar in [desk.sidecars[0], desk.sidecars[desk.sidecars.count - 1]] {
                // The connection ends here.
                ids.append(try sidecar.client().reserve(grant, "brief"))
            }
            let denied = try desk.one.check(grant, "brief", "RESERVE")
            #expect(!denied.allowed && (1...1_000).contains(denied.retryAfterMs))
            #expect((1...1_000).contains(denied.resetMs))
            try await waitUntil("both slots are free again", timeout: .seconds(10)) {
                try desk.other.used(grant, "brief").first == 0
            }
            let again = try [desk.one, desk.other].map { try $0.reserve(grant, "brief") }
            // Those that have expired free nobody else's.
            for id in ids { _ = try desk.one.settle("RELEASE", grant, id) }
            #expect(try !desk.one.peek(grant, "brief").allowed)
            for id in again { #expect(try desk.other.settle("RELEASE", grant, id)) }
        }
    }
}
