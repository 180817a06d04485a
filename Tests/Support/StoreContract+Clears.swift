import SluiceEngine
import SluicePolicy

/// Clears: a refund of all that a counter holds, of which what it held is reported.
extension StoreContract {
    static let clearCases: [Case] = [
        Case("clear: a fixed window, and what it held is reported") { contract in
            let a = contract.fixed("a", max: 10)
            try await contract.expect(
                contract.clear(a), contract.check(cost: 8, a), contract.clear(a), contract.clear(a),
                contract.check(cost: 10, a), contract.check(a), gives: [1, 0, 1, 8, 1, 8, 1, 0, 1, 10, 0, 10])
            try await contract.expect(a.keys[0], expiresAt: 120_000)
        },
        Case("clear: of a sliding window both windows") { contract in
            let (first, anchor) = (contract.sliding("b", max: 10), contract.anchor())
            try await contract.expect(contract.check(cost: 8, first, anchor), gives: [1, 8, 0, 8])
            contract.pass(until: 60_000)
            let next = contract.sliding("b", max: 10)
            try await contract.expect(
                contract.check(cost: 2, next), contract.clear(next), contract.peek(next),
                contract.check(cost: 10, next), gives: [1, 2, 8, 1, 2, 8, 1, 0, 0, 1, 10, 0])
        },
        Case("clear: a limit of calls, and one of the window before alone") { contract in
            let (calls, first) = (contract.fixed("a", max: 3).ofCalls(), contract.sliding("b", max: 10))
            try await contract.expect(
                contract.check(cost: 40, count: 2, calls), contract.clear(calls), contract.peek(calls),
                contract.check(cost: 8, first), gives: [2, 2, 1, 2, 1, 0, 1, 8, 0])
            contract.pass(until: 60_000)
            let next = contract.sliding("b", max: 10)
            try await contract.expect(contract.clear(next), contract.peek(next), gives: [1, 0, 8, 1, 0, 0])
        },
        Case("clear: a bucket, of which a cancel then gives back nothing") { contract in
            let (bucket, anchor) = (contract.bucket("b", max: 6, burst: 10), contract.anchor())
            try await contract.expect(
                contract.check(cost: 5, bucket, anchor, reserve: "1"), contract.clear(bucket), contract.clear(bucket),
                contract.check(cost: 10, bucket), contract.cancel("1"), contract.check(bucket),
                gives: [1, 300_000, 5, 1, 300_000, 1, 0, 1, 600_000, 1, 0, 600_000])
        },
        Case("clear: a log") { contract in
            let log = contract.log("l", max: 10)
            _ = try await contract.run([contract.check(cost: 3, log)])
            contract.pass(until: 1_000)
            let reply = try await contract.run([contract.check(cost: 4, log), contract.clear(log)])
            let second = reply.results.count / 2
            guard reply.results[second] == 1, reply.results[second + 1] == 7 else {
                throw contract.violation("\(reply.results)", line: #line)
            }
            try await contract.expect(log.keys[0], holds: nil)
        },
        Case("clear: slots are left") { contract in
            let (slots, anchor) = (contract.slots("c", max: 2), contract.anchor())
            let end = contract.nowMs + 3_600_000
            try await contract.expect(
                contract.check(slots, anchor, reserve: "1"), contract.clear(slots), contract.peek(slots),
                gives: [1, 1, end, end, 1, 1, 1, end, end, 1, 1, end, end])
        },
        Case("clear: not a window that is over, and a key that is none is left") { contract in
            let a = contract.fixed("a", max: 10)
            try await contract.expect(contract.check(a), gives: [1, 1])
            contract.pass(until: 60_000)
            let b = contract.fixed("b", max: 10)
            try await contract.store.set(b.keys[0], "many")
            try await contract.expect(contract.clear(a), contract.clear(b), gives: [-1, -2])
            try await contract.expect(a.keys[0], holds: "1")
        },
    ]
}
