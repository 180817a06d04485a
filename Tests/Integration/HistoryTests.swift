import Foundation
import SluiceEngine
import Support
import Testing

extension Integration {
    /// Random histories over three sidecars and a Redis, against a small model that was written from the reference: what is
    /// answered, charged, replayed, settled and listed, before an outage, across it, and afterwards.
    @Suite struct Histories {
        /// How many histories; more by the environment, for a long run.
        static let seeds = Array(
            1...(ProcessInfo.processInfo.environment["SLUICE_HISTORIES"].flatMap { UInt64($0) } ?? 4))

        @Test(arguments: seeds) func agreesWithTheReference(seed: UInt64) async throws {
            let stage = try await Outages.Stage(sidecars: 3, policy: ReferenceModel.policy)
            var history = History(stage: stage, random: SeededRandom(seed: seed), seed: seed)
            for _ in 0..<250 { try history.step() }
            try history.compareAll()
            let fault: Outages.Lasting = seed % 2 == 0 ? .stopped : .refusing
            try await stage.begin(fault)
            for sidecar in stage.sidecars { try await sidecar.waitUntilLocal() }
            for _ in 0..<60 { try history.stepAway() }
            try await stage.end(fault)
            for sidecar in stage.sidecars { try await sidecar.waitUntilShared() }
            try history.replayAll()
            try history.settleAll()
            for sidecar in stage.sidecars {
                try await waitUntil("all is written back") { try sidecar.figure("unsettled_counters") == 0 }
            }
            try history.compareAll()
            for _ in 0..<250 { try history.step() }
            try history.compareAll()
        }
    }

    /// One history: what was asked, and what the model makes of it.
    struct History {
        typealias Call = ReferenceModel.Call

        let stage: Outages.Stage
        var random: SeededRandom
        let seed: UInt64
        private var model = ReferenceModel()
        private var steps = 0
        /// Calls that were admitted under an id, with the sidecar that answered.
        private var remembered: [(call: Call, sidecar: Int)] = []
        /// UnwrittenUsage reservations, with the sidecar that made them during an outage.
        private var open: [(reservation: String, call: Call, sidecar: Int?)] = []

        init(stage: Outages.Stage, random: SeededRandom, seed: UInt64) {
            self.stage = stage
            self.random = random
            self.seed = seed
        }

        private mutating func one<Element>(of elements: [Element]) -> Element {
            elements[Int(random.next() % UInt64(elements.count))]
        }

        private mutating func call(away: Bool = false) -> Call {
            // Slots taken during an outage belong to the sidecar, and each sidecar has a share of what a shadow limit
            // tries.
            let tools = ["plain", "chat", "smooth", "exact", "burst"] + (away ? [] : ["slots", "tried"])
            var call = Call(grant: "seed\(seed)-\(one(of: ["a", "b", "c"]))", tool: one(of: tools))
            call.cost = one(of: [1, 1, 1, 2, 3, 30])
            call.session = one(of: [nil, "x", "y"])
            // What has leaked from a bucket is not given back: a small model cannot compute how much that is.
            call.reserves = call.tool == "slots" || (call.tool != "burst" && random.next() % 4 == 0)
            if random.next() % 4 == 0 { call.id = "id\(random.next() % 6)" }
            return call
        }

        private func expect(_ isSo: Bool, _ what: @autoclosure () -> String) {
            if !isSo { Issue.record("seed \(seed), step \(steps): \(what())") }
        }

        /// One call, question or settlement, by whichever sidecar.
        mutating func step() throws {
            steps += 1
            let sidecar = Int(random.next() % 3)
            let client = stage.clients[sidecar]
            switch random.next() % 10 {
            case 0:
                var call = call()
                (call.reserves, call.id) = (false, nil)
                let peek = try CheckReply(client.command(["PEEK"] + call.words))
                let fault = model.fault(in: peek, to: call, isPeek: true)
                expect(fault == nil, "\(fault ?? ""): PEEK \(call) -> \(peek)")
            case 1: try explain(call(), by: client)
            case 2...3 where !open.isEmpty:
                let index = Int(random.next() % UInt64(open.count))
                let reservation = open[index]
                if random.next() % 2 == 0 { open.remove(at: index) }
                try settle(reservation.reservation, reservation.call, by: client)
            default: try check(call(), by: sidecar)
            }
        }

        private mutating func check(_ call: Call, by sidecar: Int) throws {
            let answer = try stage.clients[sidecar].command(["CHECK"] + call.words)
            switch model.expected(call) {
            case .badArgument:
                if case .error(let text) = answer, text.hasPrefix("BADARG ") { return }
                expect(false, "the id is another call's: \(call) -> \(answer)")
            case .replay(let before):
                let reply = try CheckReply(answer)
                // What was left of a share is known to the sidecar alone that has it.
                let isTold = before.source == "shared"
                let isSame =
                    reply.limit == before.limit && reply.remaining == before.remaining && reply.rule == before.rule
                expect(
                    reply.allowed && reply.reservation == before.reservation && (isSame || !isTold),
                    "not replayed: \(call) -> \(reply), before \(before)")
            case .decision:
                let reply = try CheckReply(answer)
                let fault = model.fault(in: reply, to: call, isPeek: false)
                expect(fault == nil, "\(fault ?? ""): CHECK \(call) -> \(reply)")
                expect(["shared", "cache", "policy"].contains(reply.source), "source \(reply.source)")
                note(reply, to: call, by: sidecar, isAway: false)
            }
        }

        private mutating func note(_ reply: CheckReply, to call: Call, by sidecar: Int, isAway: Bool) {
            guard reply.allowed else { return }
            model.charge(call, reply)
            if call.id != nil { remembered.append((call, sidecar)) }
            if let reservation = reply.reservation { open.append((reservation, call, isAway ? sidecar : nil)) }
        }

        private mutating func settle(_ reservation: String, _ call: Call, by client: RedisClient) throws {
            let words: [String]
            let settlement: ReferenceModel.Settlement
            switch random.next() % 3 {
            case 0:
                let cost = Int(random.next() % UInt64(call.cost + 1))
                (words, settlement) = (["COMMIT", call.grant, reservation, "\(cost)"], .commit(cost))
            case 1: (words, settlement) = (["CANCEL", call.grant, reservation], .cancel)
            default: (words, settlement) = (["RELEASE", call.grant, reservation], .release)
            }
            let answer = try client.command(words).integer
            let expected = model.settle(reservation, grant: call.grant, settlement)
            expect(answer == expected, "\(words) of \(call) -> \(answer ?? -1), expected \(expected)")
        }

        /// A call during an outage: its admissions count afterwards, and the sidecar that knows an id replays its
        /// answer.
        mutating func stepAway() throws {
            steps += 1
            let sidecar = Int(random.next() % 3)
            if random.next() % 4 == 0, let (call, knows) = remembered.last {
                if case .replay = model.expected(call) { return try check(call, by: knows) }
            }
            var call = call(away: true)
            call.id = call.id.map { "\($0)-away-\(steps)" }
            let reply = try CheckReply(stage.clients[sidecar].command(["CHECK"] + call.words))
            expect(["local", "policy"].contains(reply.source), "source \(reply.source) while Redis is away")
            note(reply, to: call, by: sidecar, isAway: true)
        }

        /// Whatever was admitted under an id is replayed by every sidecar, and charged no more.
        mutating func replayAll() throws {
            for (call, _) in remembered {
                guard case .replay = model.expected(call) else { continue }
                for sidecar in 0..<3 { try check(call, by: sidecar) }
            }
        }

        /// The sidecar that made a reservation during an outage settles it.
        mutating func settleAll() throws {
            for one in open.filter({ $0.sidecar != nil }) {
                try settle(one.reservation, one.call, by: stage.clients[one.sidecar ?? 0])
                // What is settled twice is settled once.
                _ = model.settle(one.reservation, grant: one.call.grant, .cancel)
                _ = try stage.clients[one.sidecar ?? 0].command("CANCEL", one.call.grant, one.reservation)
            }
            open.removeAll { $0.sidecar != nil }
        }

        /// `EXPLAIN` shows what counts, on every sidecar.
        private func explain(_ call: Call, by client: RedisClient) throws {
            let words = [call.grant, call.tool, "COST", "\(call.cost)"] + (call.session.map { ["SESSION", $0] } ?? [])
            let answer = try client.command(["EXPLAIN"] + words)
            expect(answer["allowed"]?.integer == (model.admits(call) ? 1 : 0), "EXPLAIN \(call) -> \(answer)")
            let isRemembered = answer["source"]?.text == "cache"
            for limit in ReferenceModel.limits[call.tool, default: []] {
                let shown = answer["limits"]?.elements?.first { $0["rule"]?.text == limit.rule }
                let (used, counted) = (shown?["used"]?.integer ?? -1, model.use(limit, call))
                // What was denied from memory may have been taken by others since, or freed, for a second.
                expect(
                    used == counted || (isRemembered && (used < counted || limit.kind == .slots)),
                    "EXPLAIN \(call), \(limit.rule): \(used) for \(counted)")
            }
        }

        /// Every counter, as `EXPLAIN` and `COUNTERS` show it at each sidecar.
        mutating func compareAll() throws {
            for grant in ["a", "b", "c"].map({ "seed\(seed)-\($0)" }) {
                for (sidecar, client) in stage.clients.enumerated() {
                    for tool in ReferenceModel.limits.keys.sorted() {
                        for session in [nil, "x", "y"] {
                            try explain(Call(grant: grant, tool: tool, session: session), by: client)
                        }
                    }
                    try compareCounters(of: grant, client, sidecar: sidecar)
                }
            }
        }

        private func compareCounters(of grant: String, _ client: RedisClient, sidecar: Int) throws {
            let answer = try client.command("COUNTERS", "GRANT", grant, "LIMIT", "1000")
            let listed = answer["counters"]?.elements ?? []
            for (tool, limits) in ReferenceModel.limits {
                for limit in limits {
                    for session in limit.bySession ? [nil, "x", "y"] : [nil] {
                        let call = Call(grant: grant, tool: tool, session: session)
                        let subject = session.map { "session=\($0)" } ?? ""
                        let found = listed.first {
                            $0["rule"]?.text == limit.rule && $0["subject"]?.text == subject
                        }
                        let used = model.use(limit, call)
                        expect(
                            found?["shared_used"]?.integer ?? 0 == used,
                            "COUNTERS at \(sidecar), \(limit.rule) \(subject): \(String(describing: found)) for \(used)"
                        )
                        guard let found else { continue }
                        expect(
                            found["remaining"]?.integer == max(0, limit.capacity - used),
                            "COUNTERS at \(sidecar): \(found) for \(used) of \(limit.capacity)")
                    }
                }
            }
        }
    }
}
