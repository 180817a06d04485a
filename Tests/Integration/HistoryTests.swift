import Foundation
import SluiceEngine
import Support
import Testing

extension Integration {
    /// Random fleets of policies under random histories, over three sidecars and a Redis, against a model that was
    /// written from the reference: patterns, servers, groups, hours, shadow rules, grants' own maxima; checks, looks,
    /// charges, refunds and settlements; before an outage, across it, and afterwards.
    @Suite struct Histories {
        /// How many histories; more by the environment, for a long run.
        static let seeds = Array(
            1...(ProcessInfo.processInfo.environment["SLUICE_HISTORIES"].flatMap { UInt64($0) } ?? 4))

        @Test(arguments: seeds) func agreesWithTheReference(seed: UInt64) async throws {
            var random = SeededRandom(seed: seed &* 7_919)
            let fleet = Fleet(random: &random, nowMs: Int(Date().timeIntervalSince1970 * 1_000))
            let stage = try await Outages.Stage(sidecars: 3, documents: fleet.files)
            var history = try History(stage: stage, fleet: fleet, random: random, seed: seed)
            for _ in 0..<250 { try await history.step() }
            try history.compareAll(atEach: true)
            let fault: Outages.Lasting = seed % 2 == 0 ? .stopped : .refusing
            try await stage.begin(fault)
            for sidecar in stage.sidecars { try await sidecar.waitUntilLocal() }
            history.beginOutage()
            for _ in 0..<60 { try await history.stepAway() }
            try await stage.end(fault)
            for sidecar in stage.sidecars { try await sidecar.waitUntilShared() }
            try await history.replayAll()
            try history.settleAll()
            for sidecar in stage.sidecars {
                try await waitUntil("all is written back") { try sidecar.figure("unsettled_counters") == 0 }
            }
            try history.compareAll()
            for _ in 0..<250 { try await history.step() }
            try history.compareAll()
            try await history.compareStream()
        }
    }

    /// One history: what was asked, and what the model makes of it.
    struct History {
        typealias Call = FleetReference.Call

        let stage: Outages.Stage
        let redis: RedisClient
        var random: SeededRandom
        let seed: UInt64
        private let reference: FleetReference
        private var counts: FleetCounts
        private var stream = FleetStream()
        private var steps = 0
        /// Calls that were counted under an id, with the sidecar that answered.
        private var remembered: [(call: Call, sidecar: Int)] = []
        /// Open reservations, with the sidecar that made them during an outage.
        private var open: [(reservation: String, call: Call, sidecar: Int?)] = []
        /// What may be given back in an outage: what every sidecar has seen, and none has given back.
        private var refundable: [FleetReference.Counter: Int] = [:]
        private let day: FleetDay
        /// Some of each, so that limits fill up.
        private var callers: [String] = []
        private var tools: [String] = []

        init(stage: Outages.Stage, fleet: Fleet, random: SeededRandom, seed: UInt64) throws {
            self.stage = stage
            self.random = random
            self.seed = seed
            redis = try stage.redis.client()
            reference = FleetReference(fleet)
            counts = FleetCounts(reference)
            day = fleet.day
            callers = some(4, of: Fleet.callers)
            tools = some(6, of: Fleet.tools)
        }

        private mutating func some(_ count: Int, of names: [String]) -> [String] {
            Array(names.shuffled(using: &random).prefix(count))
        }

        private mutating func one<Element>(of elements: [Element]) -> Element {
            elements[Int(random.next() % UInt64(elements.count))]
        }

        private var nowMs: Int { Int(Date().timeIntervalSince1970 * 1_000) }

        private func expect(_ isSo: Bool, _ what: @autoclosure () -> String) {
            if !isSo { Issue.record("seed \(seed), step \(steps): \(what())") }
        }

        private func limits(_ call: Call) -> [FleetReference.Counted] {
            if case .counted(_, let limits) = reference.ruling(call) { limits } else { [] }
        }

        private mutating func call() -> Call {
            var call = Call(grant: one(of: callers), tool: one(of: tools))
            call.cost = one(of: [1, 1, 1, 2, 3, 30])
            call.server = one(of: [nil, nil, "github", "one", "two"])
            call.session = one(of: [nil, "x", "y"])
            call.team = one(of: [nil, "red", "blue"])
            call.isApproved = one(of: [true, true, false])
            if random.next() % 4 == 0 { call.id = "id\(random.next() % 6)" }
            return call
        }

        private mutating func checkedCall() -> Call {
            var call = call()
            let limits = limits(call)
            // What has leaked from a bucket is not given back: a small model cannot compute how much that is.
            let hasBucket = limits.contains { $0.limit.algorithm == .tokenBucket }
            call.reserves = limits.contains { $0.limit.isSlots } || (!hasBucket && random.next() % 4 == 0)
            return call
        }

        /// Which charges of a log a refund takes depends on the moment of reservations that are settled later.
        private mutating func accountedCall() -> Call {
            var call = call()
            (call.isApproved, call.operation) = (false, .charge)
            let limits = FleetCounts.accounted(limits(call))
            let isCertain = !limits.contains { $0.limit.algorithm == .tokenBucket } && !counts.hasReservations(limits)
            if isCertain && random.next() % 2 == 0 { call.operation = .refund }
            return call
        }

        /// One call, question or settlement, by any sidecar.
        mutating func step() async throws {
            steps += 1
            let sidecar = Int(random.next() % 3)
            let client = stage.clients[sidecar]
            switch random.next() % 16 {
            case 0, 1: try await look(call(), isPeek: random.next() % 2 == 0, by: client)
            case 2: try explain(call(), by: client)
            case 3...5 where !open.isEmpty:
                let index = Int(random.next() % UInt64(open.count))
                let reservation = open[index]
                if random.next() % 2 == 0 { open.remove(at: index) }
                try settle(reservation.reservation, reservation.call, by: client)
            case 6: try stream.reserve(cost: one(of: [5, 20, 100]), by: client)
            case 7:
                let isDone = try stream.settle(to: one(of: [nil, 1, 50, 200]), by: client, redis: redis)
                expect(isDone, "a stream is not settled")
            case 8...9: try await ask(accountedCall(), by: sidecar)
            case 10 where random.next() % 4 == 0: try mustReserve(checkedCall(), by: client)
            default: try await ask(checkedCall(), by: sidecar)
            }
        }

        /// A question that charges nothing: `PEEK`, or a check that costs 0.
        private mutating func look(_ call: Call, isPeek: Bool, by client: RedisClient) async throws {
            var call = call
            call.id = nil
            if !isPeek { call.cost = 0 }
            let reply = try await decided(call, isPeek ? "PEEK" : "CHECK", by: client)
            let fault = counts.fault(in: reply, to: call, isPeek: true, nowMs: nowMs)
            expect(fault == nil, "\(fault ?? ""): \(isPeek ? "PEEK" : "look") \(call.words) -> \(reply)")
        }

        /// An answer; that something was full may be remembered until word of a change has come.
        private func decided(_ call: Call, _ command: String, by client: RedisClient) async throws -> CheckReply {
            var reply = try CheckReply(client.command([command] + call.words))
            guard reply.source == "cache", counts.admits(limits(call), call) else { return reply }
            try await waitUntil("the change is heard of") {
                reply = try CheckReply(client.command([command] + call.words))
                return reply.source != "cache"
            }
            return reply
        }

        private mutating func mustReserve(_ call: Call, by client: RedisClient) throws {
            var call = call
            guard counts.mustReserve(call) else { return }
            (call.reserves, call.id) = (false, nil)
            let answer = try client.command(["CHECK"] + call.words)
            if case .error(let text) = answer, text.hasPrefix("BADARG ") { return }
            expect(false, "a slot without a reservation: \(call) -> \(answer)")
        }

        private mutating func ask(_ call: Call, by sidecar: Int) async throws {
            let client = stage.clients[sidecar]
            let command = call.operation.rawValue
            switch counts.expected(call) {
            case .badArgument:
                let answer = try client.command([command] + call.words)
                if case .error(let text) = answer, text.hasPrefix("BADARG ") { return }
                expect(false, "the id is another call's: \(call) -> \(answer)")
            case .replay(let before):
                let reply = try CheckReply(client.command([command] + call.words))
                // What was left of a share, and whether a charge fitted it, is known to the sidecar alone that has it.
                let isSame =
                    reply.limit == before.limit && reply.remaining == before.remaining && reply.rule == before.rule
                    && reply.allowed == before.allowed
                expect(
                    (reply.allowed || call.operation == .charge) && reply.reservation == before.reservation
                        && (isSame || before.source != "shared"),
                    "not replayed: \(command) \(call.words) -> \(reply), before \(before)")
            case .decision:
                let reply = try await decided(call, command, by: client)
                let fault = counts.fault(in: reply, to: call, nowMs: nowMs)
                expect(fault == nil, "\(fault ?? ""): \(command) \(call.words) -> \(reply)")
                expect(["shared", "cache", "policy"].contains(reply.source), "source \(reply.source)")
                note(reply, to: call, by: sidecar, isAway: false)
            }
        }

        private mutating func note(_ reply: CheckReply, to call: Call, by sidecar: Int, isAway: Bool) {
            guard reply.allowed || call.operation != .check else { return }
            counts.count(call, reply, isAway: isAway)
            if call.id != nil { remembered.append((call, sidecar)) }
            if let reservation = reply.reservation, !reservation.isEmpty {
                open.append((reservation, call, isAway ? sidecar : nil))
            }
        }

        private mutating func settle(_ reservation: String, _ call: Call, by client: RedisClient) throws {
            let words: [String]
            let settlement: FleetCounts.Settlement
            switch random.next() % 3 {
            case 0:
                let cost = Int(random.next() % UInt64(call.cost + 3))
                (words, settlement) = (["COMMIT", call.grant, reservation, "\(cost)"], .commit(cost))
            case 1: (words, settlement) = (["CANCEL", call.grant, reservation], .cancel)
            default: (words, settlement) = (["RELEASE", call.grant, reservation], .release)
            }
            let answer = try client.command(words).integer
            let expected = counts.settle(reservation, grant: call.grant, settlement)
            expect(answer == expected, "\(words) of \(call) -> \(answer ?? -1), expected \(expected)")
        }

        // MARK: - An outage

        mutating func beginOutage() {
            refundable = [:]
            for call in callers.flatMap(everyCall) {
                for counted in limits(call) { refundable[counted.counter] = counts.use(counted) }
            }
        }

        /// A call during an outage: it counts afterwards, and the sidecar that knows an id replays its answer.
        mutating func stepAway() async throws {
            steps += 1
            let sidecar = Int(random.next() % 3)
            if random.next() % 4 == 0, let (call, knows) = remembered.last {
                if case .replay = counts.expected(call) { return try await ask(call, by: knows) }
            }
            var call = random.next() % 3 == 0 ? accountedCall() : checkedCall()
            let limits = limits(call)
            // Slots taken during an outage belong to the sidecar, and each sidecar has a share of what a shadow limit
            // tries.
            if limits.contains(where: { $0.limit.isSlots || ($0.isShadow && !$0.isDenials) }) { return }
            call.id = call.id.map { "\($0)-away-\(steps)" }
            if call.operation == .refund {
                let counters = FleetCounts.accounted(limits).map(\.counter)
                guard counters.allSatisfy({ refundable[$0] ?? 0 >= call.cost }) else { return }
                for counter in counters { refundable[counter, default: 0] -= call.cost }
            }
            let reply = try CheckReply(stage.clients[sidecar].command([call.operation.rawValue] + call.words))
            expect(["local", "policy"].contains(reply.source), "source \(reply.source) while Redis is away")
            note(reply, to: call, by: sidecar, isAway: true)
        }

        /// What was counted under an id is replayed by every sidecar, and charged no more.
        mutating func replayAll() async throws {
            for (call, _) in remembered {
                guard case .replay = counts.expected(call) else { continue }
                for sidecar in 0..<3 { try await ask(call, by: sidecar) }
            }
        }

        /// The sidecar that made a reservation during an outage settles it.
        mutating func settleAll() throws {
            for one in open.filter({ $0.sidecar != nil }) {
                try settle(one.reservation, one.call, by: stage.clients[one.sidecar ?? 0])
                // What is settled twice is settled once.
                _ = counts.settle(one.reservation, grant: one.call.grant, .cancel)
                _ = try stage.clients[one.sidecar ?? 0].command("CANCEL", one.call.grant, one.reservation)
            }
            open.removeAll { $0.sidecar != nil }
        }

        // MARK: - Comparing

        /// `EXPLAIN` shows what counts, on every sidecar.
        private func explain(_ call: Call, by client: RedisClient) throws {
            var call = call
            (call.id, call.reserves) = (nil, false)
            let answer = try client.command(["EXPLAIN"] + call.words)
            let isRemembered = answer["source"]?.text == "cache"
            let limits = limits(call)
            if case .counted = reference.ruling(call), !isRemembered {
                expect(
                    answer["allowed"]?.integer == (counts.admits(limits, call) ? 1 : 0),
                    "EXPLAIN \(call.words) -> \(answer)")
            }
            let shown = answer["limits"]?.elements ?? []
            expect(shown.count == limits.count, "EXPLAIN \(call.words) shows \(shown.count) of \(limits.count) limits")
            for counted in limits {
                let found = shown.first { $0["rule"]?.text == counted.rule }
                let (used, expected) = (found?["used"]?.integer ?? -1, counts.use(counted))
                // What was denied from memory may have been taken by others since, or given back, for a second.
                expect(
                    used == expected || isRemembered,
                    "EXPLAIN \(call.words), \(counted.rule): \(used) for \(expected)")
                // Those of shadow rules are counted by the day.
                let isSameDay = !counted.isDenials || FleetDay(atMs: nowMs).number == day.number
                let wouldDeny = found?["would_deny"]?.integer ?? -1
                let denied = counts.wouldDeny[counted.counter] ?? 0
                expect(
                    !counted.isShadow || isRemembered || !isSameDay || wouldDeny == denied,
                    "EXPLAIN \(call.words), \(counted.rule): would deny \(wouldDeny) for \(denied)")
            }
        }

        private func everyCall(of grant: String) -> [Call] {
            tools.flatMap { tool in
                [nil, "github", "one", "two"].flatMap { server in
                    [(nil, nil), ("x", "red"), ("y", "blue")].map { session, team in
                        Call(
                            grant: grant, tool: tool, server: server, session: session, team: team, isApproved: true)
                    }
                }
            }
        }

        /// Every counter, at one sidecar or at each.
        mutating func compareAll(atEach: Bool = false) throws {
            for (index, call) in callers.flatMap(everyCall).enumerated() {
                for sidecar in 0..<3 where atEach || index % 3 == sidecar {
                    try explain(call, by: stage.clients[sidecar])
                }
            }
            for (index, grant) in callers.enumerated() { try compareCounters(of: grant, stage.clients[index % 3]) }
        }

        /// `COUNTERS` lists what counts.
        private func compareCounters(of grant: String, _ client: RedisClient) throws {
            let answer = try client.command("COUNTERS", "GRANT", grant, "LIMIT", "1000")
            let listed = answer["counters"]?.elements ?? []
            let all = everyCall(of: grant).flatMap(limits)
            for counted in all where counted.counter.grant == grant && !counted.isDenials {
                let counter = counted.counter
                let found = listed.first {
                    $0["rule"]?.text == counted.rule && $0["subject"]?.text == counted.subject
                        && (counter.server ?? $0["server"]?.text) == $0["server"]?.text
                        && (counter.tool ?? $0["tool"]?.text) == $0["tool"]?.text
                }
                let used = counts.use(counted)
                expect(
                    found?["shared_used"]?.integer ?? 0 == used, "COUNTERS: \(counter), \(found ?? .null) for \(used)")
                guard let found else { continue }
                expect(
                    found["remaining"]?.integer == max(0, counted.limit.max - used),
                    "COUNTERS: \(found) for \(used) of \(counted.limit.max)")
            }
        }

        mutating func compareStream() async throws {
            try stream.reserve(cost: 10, by: stage.clients[0])
            try await waitUntil("the last window is over") { try stream.isOver(redis) }
            let areDone = try stream.settleAll(to: 30, by: stage.clients, redis: redis)
            expect(areDone, "a stream is not settled")
            let fault = try stream.fault(redis)
            expect(fault == nil, fault ?? "")
            expect(stream.excesses > 0, "no COMMIT above a reservation whose window was over")
        }
    }
}
