import SluiceEngine
import SluicePolicy

extension StoreContract {
    func log(_ name: String, max: Int64, lengthMs: Int64 = 60_000) -> Charge {
        Charge(
            keys: [key(name)],
            quota: Quota(
                algorithm: .slidingLog, max: max, windowStartMs: Quota.endless.lowerBound,
                windowEndMs: Quota.endless.upperBound, lengthMs: lengthMs))
    }

    /// What a replica writes back to it, or offers: so many ms after the case began.
    func log(_ name: String, chargedAt offsetMs: Int64, lengthMs: Int64 = 60_000) -> Charge {
        var charge = log(name, max: Quota.maxExact, lengthMs: lengthMs)
        charge.quota.holdMs = startMs + offsetMs
        return charge
    }

    /// The numbers of a log: times are ms after the case began, negative for none.
    func logWords(
        used: Int64, free: Int64 = -1, empty: Int64 = -1, exact: Int? = nil, _ steps: (Int64, Int64)...
    ) -> [Int64] {
        func time(_ offsetMs: Int64) -> Int64 { offsetMs < 0 ? 0 : startMs + offsetMs }
        let numbers = [used, time(free), time(empty), Int64(exact ?? steps.count)]
        let numbersOfSteps = steps.flatMap { [startMs + $0.0, $0.1] }
        return numbers + numbersOfSteps
            + Array(repeating: 0, count: Batch.logUsageCount - numbers.count - numbersOfSteps.count)
    }

    static let slidingLogCases: [Case] = [
        Case("sliding log: each charge counts for its length, and no ms longer") { contract in
            let a = contract.log("a", max: 3)
            try await contract.expect(
                contract.check(cost: 2, a), gives: [1] + contract.logWords(used: 2, free: 60_000, empty: 60_000, (0, 2))
            )
            contract.pass(until: 20_000)
            try await contract.expect(
                contract.check(count: 4, a),
                gives: [1] + contract.logWords(used: 3, free: 60_000, empty: 80_000, (0, 2), (20_000, 1)))
            contract.pass(until: 59_999)
            try await contract.expect(
                contract.check(a), contract.peek(cost: 3, a),
                gives: [0] + contract.logWords(used: 3, free: 60_000, empty: 80_000, (0, 2), (20_000, 1)) + [0]
                    + contract.logWords(used: 3, free: 80_000, empty: 80_000, (0, 2), (20_000, 1)))
            contract.pass(until: 60_000)
            try await contract.expect(
                contract.peek(a), contract.check(count: 3, a),
                gives: [1] + contract.logWords(used: 1, empty: 80_000, (20_000, 1)) + [2]
                    + contract.logWords(used: 3, free: 80_000, empty: 120_000, (20_000, 1), (60_000, 2)))
            contract.pass(until: 120_000)
            try await contract.expect(contract.peek(a), gives: [1] + contract.logWords(used: 0))
        },
        Case("sliding log: charges of one ms are one") { contract in
            let a = contract.log("a", max: 9)
            try await contract.expect(
                contract.check(cost: 2, a), contract.check(cost: 3, count: 2, a),
                gives: [1] + contract.logWords(used: 2, empty: 60_000, (0, 2)) + [2]
                    + contract.logWords(used: 8, free: 60_000, empty: 60_000, (0, 8)))
        },
        Case("sliding log: a cost above its maximum never passes, and a maximum of 0 blocks") { contract in
            let (a, b) = (contract.log("a", max: 3), contract.log("b", max: 0))
            try await contract.expect(
                contract.check(cost: 4, a), contract.check(b), contract.peek(b),
                gives: [0] + contract.logWords(used: 0) + [0] + contract.logWords(used: 0) + [0]
                    + contract.logWords(used: 0))
            try await contract.expect(a.keys[0], expiresAt: nil)
        },
        Case("sliding log: it keeps its charges when its maximum is lowered or raised") { contract in
            try await contract.expect(
                contract.check(cost: 5, contract.log("a", max: 5)),
                gives: [1] + contract.logWords(used: 5, free: 60_000, empty: 60_000, (0, 5)))
            contract.pass(until: 1_000)
            try await contract.expect(
                contract.check(contract.log("a", max: 2)), contract.check(contract.log("a", max: 6)),
                gives: [0] + contract.logWords(used: 5, free: 60_000, empty: 60_000, (0, 5)) + [1]
                    + contract.logWords(used: 6, free: 60_000, empty: 61_000, (0, 5), (1_000, 1)))
        },
        Case(
            "sliding log: of many charges the first are reported as they are, the others so that nothing is free sooner"
        ) {
            contract in
            let a = contract.log("a", max: 100)
            for ms in 0..<Int64(12) {
                contract.pass(until: ms)
                _ = try await contract.run([contract.check(cost: 1 + ms % 2, a)])
            }
            // 1 2 1 2, then 12 units in four parts of 3.
            try await contract.expect(
                contract.peek(a),
                gives: [1]
                    + contract.logWords(
                        used: 18, empty: 60_011, exact: 4, (0, 1), (1, 2), (2, 1), (3, 2), (5, 3), (7, 3), (9, 3),
                        (11, 3)))
        },
        Case("sliding log: no more than 1,024 charges are kept, and no less is counted") { contract in
            let a = contract.log("a", max: 2_000)
            for first in stride(from: Int64(0), to: 1_026, by: 1) {
                contract.pass(until: first)
                _ = try await contract.run([contract.check(a)])
            }
            contract.pass(until: 60_001)
            let reply = try await contract.run([contract.peek(a)])
            // Those of 0, 1 and 2 have become one, at 2.
            guard reply.results[1] == 1_026, reply.results[5] == contract.startMs + 2, reply.results[6] == 3 else {
                throw contract.violation("\(reply.results)", line: #line)
            }
        },
        Case("sliding log: time that steps back keeps it in order") { contract in
            let a = contract.log("a", max: 5)
            try await contract.expect(
                contract.check(a), gives: [1] + contract.logWords(used: 1, empty: 60_000, (0, 1)))
            // Written by a replica whose time was 30 s ahead.
            try await contract.expect(
                contract.check(contract.log("a", chargedAt: 30_000)),
                gives: [1] + contract.logWords(used: 2, empty: 60_000, (0, 2)))
        },
        Case("sliding log: its key lives until its last charge is over, and a minute more") { contract in
            let a = contract.log("a", max: 2)
            try await contract.expect(contract.check(a), gives: [1] + contract.logWords(used: 1, empty: 60_000, (0, 1)))
            try await contract.expect(a.keys[0], expiresAt: 120_000)
            for entry in [contract.check(cost: 2, a), contract.peek(a)] {
                try await contract.store.persist(a.keys[0])
                _ = try await contract.run([entry])
                try await contract.expect(a.keys[0], expiresAt: 120_000)
            }
            contract.pass(until: 1_000)
            _ = try await contract.run([contract.check(a)])
            try await contract.expect(a.keys[0], expiresAt: 121_000)
        },
        Case("sliding log: what is no log is a fault, and hurts nobody else") { contract in
            let (a, b) = (contract.log("a", max: 2), contract.log("b", max: 2))
            for text in ["17", "many", "", "9007199254740992", "400 500"] {
                try await contract.store.set(a.keys[0], text)
                try await contract.expect(
                    contract.check(a), contract.peek(b), gives: [BatchReply.fault, 1] + contract.logWords(used: 0))
            }
            try await contract.store.delete(a.keys[0])
            try await contract.store.setList(a.keys[0])
            try await contract.expect(contract.check(a), gives: [BatchReply.fault])
        },
        Case("sliding log: a shadow counts on its own") { contract in
            let a = contract.log("a", max: 2).shadow()
            try await contract.expect(
                contract.check(count: 5, a, contract.fixed("f", max: 4)),
                gives: [4] + contract.logWords(used: 2, free: 60_000, empty: 60_000, (0, 2)) + [2, 4])
        },
    ]

    static let logSettlementCases: [Case] = [
        Case("sliding log: a commit changes the charge where it lies, a cancel removes it") { contract in
            let a = contract.log("a", max: 9)
            _ = try await contract.run([contract.check(cost: 3, a, reserve: "1")])
            contract.pass(until: 1_000)
            _ = try await contract.run([contract.check(cost: 3, a, reserve: "2")])
            contract.pass(until: 2_000)
            try await contract.expect(
                contract.commit("1", 1), contract.peek(a),
                gives: [1, 1] + contract.logWords(used: 4, empty: 61_000, (0, 1), (1_000, 3)))
            try await contract.expect(
                contract.cancel("2"), contract.peek(a), contract.cancel("2"),
                gives: [1, 1] + contract.logWords(used: 1, empty: 60_000, (0, 1)) + [0])
        },
        Case("sliding log: a commit above its reservation counts from when it was charged") { contract in
            let a = contract.log("a", max: 4)
            _ = try await contract.run([contract.check(cost: 2, a, reserve: "1")])
            contract.pass(until: 1_000)
            _ = try await contract.run([contract.check(cost: 1, a)])
            try await contract.expect(
                contract.commit("1", 7), contract.check(a),
                gives: [1, 0] + contract.logWords(used: 8, free: 60_000, empty: 61_000, (0, 7), (1_000, 1)))
        },
        Case("sliding log: what no longer counts is not changed") { contract in
            let a = contract.log("a", max: 4)
            _ = try await contract.run([contract.check(cost: 2, a, contract.anchor(), reserve: "1")])
            contract.pass(until: 59_000)
            _ = try await contract.run([contract.check(cost: 2, a)])
            contract.pass(until: 60_000)
            try await contract.expect(
                contract.commit("1", 1), contract.peek(a),
                gives: [1, 1] + contract.logWords(used: 2, empty: 119_000, (59_000, 2)))
        },
        Case("sliding log: more than can be counted is refused") { contract in
            let a = contract.log("a", max: 4)
            _ = try await contract.run([contract.check(cost: 2, a, reserve: "1"), contract.check(cost: 2, a)])
            try await contract.expect(
                contract.commit("1", Quota.maxExact), contract.commit("1", 1), gives: [BatchReply.tooMuch, 1])
        },
        Case("sliding log: a commit of one that is spoilt says so") { contract in
            let a = contract.log("a", max: 4)
            _ = try await contract.run([contract.check(cost: 2, a, reserve: "1")])
            try await contract.store.set(a.keys[0], "17")
            try await contract.expect(contract.commit("1", 1), gives: [BatchReply.passedOver])
        },
    ]

    static let logOfferCases: [Case] = [
        Case("sliding log: what was admitted elsewhere is added at its time") { contract in
            let a = contract.log("a", max: 9)
            contract.pass(until: 30_000)
            _ = try await contract.run([contract.check(a)])
            contract.pass(until: 40_000)
            try await contract.expect(
                contract.check(cost: 3, contract.log("a", chargedAt: 10_000)),
                contract.check(cost: 2, contract.log("a", chargedAt: 35_000)),
                gives: [1] + contract.logWords(used: 4, empty: 90_000, (10_000, 3), (30_000, 1)) + [1]
                    + contract.logWords(used: 6, empty: 95_000, (10_000, 3), (30_000, 1), (35_000, 2)))
            contract.pass(until: 70_000)
            try await contract.expect(
                contract.check(cost: 3, contract.log("a", chargedAt: 10_000)),
                gives: [1] + contract.logWords(used: 3, empty: 95_000, (30_000, 1), (35_000, 2)))
        },
        Case("sliding log: offers raise what counts from a time on, and never add") { contract in
            contract.pass(until: 40_000)
            try await contract.expect(
                contract.restore(5, contract.log("a", chargedAt: 10_000)),
                contract.restore(2, contract.log("a", chargedAt: 30_000)),
                gives: [1] + contract.logWords(used: 5, empty: 70_000, (10_000, 5)) + [1]
                    + contract.logWords(used: 5, empty: 90_000, (10_000, 3), (30_000, 2)))
            try await contract.expect(
                contract.restore(5, contract.log("a", chargedAt: 10_000)),
                contract.restore(2, contract.log("a", chargedAt: 30_000)),
                gives: [1] + contract.logWords(used: 5, empty: 90_000, (10_000, 3), (30_000, 2)) + [1]
                    + contract.logWords(used: 5, empty: 90_000, (10_000, 3), (30_000, 2)))
            // Another replica saw more of it, and of the older half less.
            try await contract.expect(
                contract.restore(4, contract.log("a", chargedAt: 35_000)), contract.peek(contract.log("a", max: 9)),
                gives: [1] + contract.logWords(used: 5, empty: 95_000, (10_000, 1), (35_000, 4)) + [1]
                    + contract.logWords(used: 5, empty: 95_000, (10_000, 1), (35_000, 4)))
        },
        Case("sliding log: an offer of what no longer counts changes nothing") { contract in
            contract.pass(until: 70_000)
            try await contract.expect(
                contract.restore(5, contract.log("a", chargedAt: 10_000)), gives: [1] + contract.logWords(used: 0))
        },
    ]
}
