import SluiceEngine
import SluicePolicy

private let trillion: Int64 = 1_000_000_000_000

/// Limits that count calls, charges whatever the maxima say, refunds, and settlements beyond a window that is over.
extension StoreContract {
    static let callCases: [Case] = [
        Case("calls: a check takes 1, whatever its cost") { contract in
            let (calls, tokens) = (contract.fixed("a", max: 3).ofCalls(), contract.fixed("b", max: 100))
            try await contract.expect(
                contract.check(cost: 40, count: 2, calls, tokens), contract.check(cost: 40, calls, tokens),
                contract.check(cost: 20, calls, tokens), contract.check(calls, tokens), contract.peek(calls),
                gives: [2, 2, 80, 0, 2, 80, 1, 3, 100, 0, 3, 100, 0, 3])
        },
        Case("calls: of every algorithm") { contract in
            let (s, b) = (contract.sliding("s", max: 2).ofCalls(), contract.bucket("b", max: 6, burst: 2).ofCalls())
            try await contract.expect(
                contract.check(cost: 9, s, b), contract.check(cost: 9, count: 4, s, b),
                gives: [1, 1, 0, 60_000, 1, 2, 0, 120_000])
        },
        Case("calls: a commit leaves the call, a cancel takes it back") { contract in
            let (calls, tokens) = (contract.fixed("a", max: 9).ofCalls(), contract.fixed("b", max: 100))
            try await contract.expect(
                contract.check(cost: 40, calls, tokens, reserve: "1"),
                contract.check(cost: 40, calls, tokens, reserve: "2"), contract.commit("1", 7),
                contract.peek(calls, tokens), contract.cancel("2"), contract.peek(calls, tokens),
                gives: [1, 1, 40, 1, 2, 80, 1, 1, 2, 47, 1, 1, 1, 7])
        },
    ]

    static let chargeCases: [Case] = [
        Case("charge: whatever the maximum says, and it tells whether it fitted") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 20))
            try await contract.expect(
                contract.charge(10, a, b), contract.charge(5, a, b), contract.check(a), contract.check(b),
                contract.charge(trillion, a, b), contract.peek(b),
                gives: [
                    1, 10, 10, 0, 0, 15, 15, 0, 0, 15, 1, 16, 0, 0, trillion + 15, trillion + 16, 0, 0, trillion + 16,
                    0,
                ])
            try await contract.expect(a.keys[0], expiresAt: 120_000)
        },
        Case("charge: no calls, no slots") { contract in
            let (calls, slots) = (contract.fixed("a", max: 1).ofCalls(), contract.slots("c", max: 1))
            let tokens = contract.fixed("b", max: 10)
            let end = contract.nowMs + 3_600_000
            try await contract.expect(
                contract.check(cost: 2, calls, slots, tokens, reserve: "1"), contract.charge(3, calls, slots, tokens),
                contract.refund(4, calls, slots, tokens),
                gives: [1, 1, 1, end, end, 2, 1, 1, 1, end, end, 5, 1, 1, 1, end, end, 1])
        },
        Case("charge: a shadow limit counts it and does not deny it") { contract in
            let (a, b) = (contract.fixed("a", max: 1).shadow(), contract.fixed("b", max: 9))
            try await contract.expect(contract.charge(5, a, b), gives: [1, 5, 0, 5])
        },
        Case("charge: stays below 2^53") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.bucket("b", max: 6, burst: 9))
            let log = contract.log("l", max: 5)
            try await contract.store.set(a.keys[0], "9007199254740985")
            try await contract.expect(contract.charge(100, a), contract.charge(1, a), gives: [0, most, 0, most])
            try await contract.expect(a.keys[0], holds: "9007199254740991")
            try await contract.expect(contract.charge(trillion, b), gives: [0, most / 60_000 * 60_000])
            for _ in 0..<3 { _ = try await contract.run([contract.charge(trillion, log)]) }
            let used = try await contract.run([contract.peek(log)]).results[1]
            guard used == 3 * trillion else { throw contract.violation("a log of \(used)", line: #line) }
        },
        Case("charge: a bucket overflows, and leaks on") { contract in
            let bucket = contract.bucket("b", max: 6, burst: 10)
            try await contract.expect(
                contract.check(cost: 8, bucket), contract.charge(4, bucket), contract.check(bucket),
                gives: [1, 480_000, 0, 720_000, 0, 720_000])
            contract.pass(until: 30_000)
            try await contract.expect(contract.check(bucket), gives: [1, 600_000])
        },
        Case("charge: once for an id") { contract in
            let a = contract.fixed("a", max: 10)
            let id = ("1", "arguments", "counters")
            try await contract.expect(
                contract.charge(12, a, id: id), contract.charge(12, a, id: id),
                contract.charge(12, a, id: ("1", "others", "counters")), contract.check(a),
                contract.refund(5, a, id: ("2", "arguments", "counters")),
                contract.refund(5, a, id: ("2", "arguments", "counters")),
                gives: [0, 12, -3, contract.nowMs, 1, 12, -4, 0, 12, 1, 7, -3, contract.nowMs, 1, 7], words: ["", ""])
        },
        Case("charge: not in a window that is over") { contract in
            let a = contract.fixed("a", max: 10)
            contract.pass(until: 60_000)
            try await contract.expect(contract.charge(1, a), contract.refund(1, a), gives: [-1, -1])
            try await contract.expect(a.keys[0], holds: nil)
        },
        Case("charge: a key that is none") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.fixed("b", max: 10))
            try await contract.store.set(a.keys[0], "many")
            try await contract.expect(contract.charge(1, b, a), contract.refund(1, b, a), gives: [-2, -2])
            try await contract.expect(b.keys[0], holds: nil)
        },
    ]

    private static let most: Int64 = (1 << 53) - 1

    static let refundCases: [Case] = [
        Case("refund: never below nothing") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            try await contract.expect(
                contract.refund(1, a, b), contract.check(cost: 8, a, b), contract.refund(3, a, b),
                contract.refund(9, a, b), contract.peek(a, b),
                gives: [1, 0, 0, 0, 1, 8, 8, 0, 1, 5, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0])
            try await contract.expect(a.keys[0], expiresAt: 120_000)
        },
        Case("refund: of a sliding window the open one's") { contract in
            let (first, anchor) = (contract.sliding("b", max: 10), contract.anchor())
            try await contract.expect(contract.check(cost: 8, first, anchor), gives: [1, 8, 0, 8])
            contract.pass(until: 60_000)
            let next = contract.sliding("b", max: 10)
            try await contract.expect(
                contract.check(cost: 2, next), contract.refund(5, next, anchor), gives: [1, 2, 8, 1, 0, 8, 3])
        },
        Case("refund: a bucket's level, of which a cancel then gives back less") { contract in
            let bucket = contract.bucket("b", max: 6, burst: 10)
            let anchor = contract.anchor()
            try await contract.expect(
                contract.check(cost: 3, bucket), contract.check(cost: 5, bucket, anchor, reserve: "1"),
                contract.refund(4, bucket), contract.cancel("1"), contract.peek(bucket),
                gives: [1, 180_000, 1, 480_000, 5, 1, 240_000, 1, 1, 0])
            try await contract.expect(contract.refund(trillion, bucket), gives: [1, 0])
        },
        Case("refund: a log's newest charges first") { contract in
            let log = contract.log("l", max: 10)
            _ = try await contract.run([contract.check(cost: 3, log)])
            contract.pass(until: 1_000)
            _ = try await contract.run([contract.check(cost: 4, log)])
            contract.pass(until: 2_000)
            let reply = try await contract.run([contract.refund(5, log), contract.peek(log)])
            guard reply.results[0] == 1, reply.results[1] == 2, reply.results[4] == 1,
                reply.results[5] == contract.startMs, reply.results[6] == 2
            else { throw contract.violation("\(reply.results)", line: #line) }
            _ = try await contract.run([contract.refund(9, log)])
            try await contract.expect(log.keys[0], holds: nil)
        },
    ]

    static let excessCases: [Case] = [
        Case("commit: more, when the window is over, is charged to the open one") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            try await contract.expect(contract.check(cost: 5, a, b, reserve: "1"), gives: [1, 5, 5, 0])
            contract.pass(until: 250_000)
            let (open, slid) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            try await contract.expect(
                contract.commit("1", 8), contract.commit("1", 9), contract.peek(open, slid), gives: [1, 0, 1, 3, 3, 0])
            try await contract.expect(a.keys[0], holds: "5")
        },
        Case("commit: more of uneven windows goes to the next one, within a day") { contract in
            let month = contract.startMs..<contract.startMs + 31 * dayMs
            let uneven = contract.uneven("a", max: 10, month)
            let anchor = contract.anchor()
            try await contract.expect(contract.check(cost: 5, uneven, anchor, reserve: "1"), gives: [1, 5, 5])
            try await contract.expect(contract.check(cost: 5, uneven, anchor, reserve: "2"), gives: [1, 10, 10])
            contract.pass(until: 31 * dayMs + 5)
            try await contract.expect(contract.commit("1", 7), gives: [1])
            try await contract.expect(contract.windowKey("a", month.upperBound, 0), holds: "2")
            contract.pass(until: 33 * dayMs)
            try await contract.expect(contract.commit("2", 7), gives: [1])
            try await contract.expect(contract.windowKey("a", month.upperBound, 0), holds: "2")
        },
        Case("commit: more of a log whose charge has expired counts from now on") { contract in
            let (log, anchor) = (contract.log("l", max: 10), contract.anchor())
            _ = try await contract.run([contract.check(cost: 3, log, anchor, reserve: "1")])
            contract.pass(until: 100_000)
            let reply = try await contract.run([contract.commit("1", 5), contract.peek(log)])
            guard reply.results[0] == 1, reply.results[2] == 2, reply.results[6] == contract.nowMs else {
                throw contract.violation("\(reply.results)", line: #line)
            }
        },
    ]

    private func uneven(_ name: String, max: Int64, _ window: Range<Int64>) -> Charge {
        Charge(
            keys: [windowKey(name, window.lowerBound, 0)],
            quota: Quota(
                algorithm: .fixedWindow, max: max, windowStartMs: window.lowerBound, windowEndMs: window.upperBound,
                lengthMs: window.upperBound - window.lowerBound, hasUnevenWindows: true))
    }
}
