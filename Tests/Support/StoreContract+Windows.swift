import SluiceEngine
import SluicePolicy

private let trillion: Int64 = 1_000_000_000_000

extension StoreContract {
    static let fixedWindowCases: [Case] = [
        Case("fixed window: allows until the maximum, and denials charge nothing") { contract in
            let a = contract.fixed("a", max: 5)
            try await contract.expect(
                contract.check(cost: 3, a), contract.check(cost: 3, a), contract.check(cost: 2, a), contract.check(a),
                gives: [1, 3, 0, 3, 1, 5, 0, 5])
            try await contract.expect(contract.check(a), gives: [0, 5])
            try await contract.expect(a.keys[0], holds: "5")
        },
        Case("fixed window: as many of equal checks as fit") { contract in
            let a = contract.fixed("a", max: 10)
            try await contract.expect(
                contract.check(cost: 3, count: 5, a), contract.check(count: 5, a), gives: [3, 9, 1, 10])
            let (wide, narrow) = (contract.fixed("wide", max: 100), contract.fixed("narrow", max: 5))
            try await contract.expect(contract.check(cost: 2, count: 4, wide, narrow), gives: [2, 4, 4])
        },
        Case("fixed window: a cost above the maximum never passes") { contract in
            let a = contract.fixed("a", max: 5)
            try await contract.expect(
                contract.check(cost: 6, a), contract.check(cost: 6, count: 3, a), contract.peek(cost: 6, a),
                contract.check(cost: 5, a), gives: [0, 0, 0, 0, 0, 0, 1, 5])
        },
        Case("fixed window: a maximum of 0 blocks") { contract in
            let a = contract.fixed("a", max: 0)
            try await contract.expect(contract.check(count: 3, a), contract.peek(a), gives: [0, 0, 0, 0])
        },
        Case("fixed window: 10^12 stays exact") { contract in
            let (a, b) = (contract.fixed("a", max: trillion), contract.fixed("b", max: trillion))
            try await contract.expect(
                contract.check(cost: trillion, a), contract.check(a), contract.check(cost: trillion - 1, b),
                contract.check(count: 2, b),
                gives: [1, trillion, 0, trillion, 1, trillion - 1, 1, trillion])
            try await contract.expect(a.keys[0], holds: "1000000000000")
        },
        Case("fixed window: from its first to its last ms") { contract in
            let first = contract.fixed("a", max: 2)
            try await contract.expect(contract.check(first), gives: [1, 1])
            contract.pass(until: 59_999)
            try await contract.expect(contract.check(count: 2, first), gives: [1, 2])
            contract.pass(until: 60_000)
            let second = contract.fixed("a", max: 2)
            try await contract.expect(contract.check(first), contract.check(second), gives: [-1, 1, 1])
        },
        Case("fixed window: a window that does not hold now charges nothing") { contract in
            contract.pass(until: 120_000)
            let future = contract.fixed("b", max: 9)
            contract.pass(until: 180_000)
            let past = contract.fixed("c", max: 9)
            contract.pass(until: 240_000)
            let now = contract.fixed("now", max: 9)
            try await contract.expect(
                contract.check(past), contract.check(now, past), contract.peek(past), contract.peek(now, past),
                contract.check(now), gives: [-1, -1, -1, -1, 1, 1])
            var ahead = future
            ahead.quota = .fixedWindow(max: 9, window: contract.nowMs + 1..<contract.nowMs + 60_001)
            try await contract.expect(contract.check(ahead), gives: [-1])
            try await contract.expect(past.keys[0], holds: nil)
            try await contract.expect(future.keys[0], holds: nil)
        },
        Case("fixed window: a peek charges nothing") { contract in
            let (a, b) = (contract.fixed("a", max: 5), contract.fixed("b", max: 5))
            try await contract.expect(
                contract.check(cost: 3, a), contract.peek(cost: 2, a), contract.peek(cost: 3, a), contract.peek(b, a),
                gives: [1, 3, 1, 3, 0, 3, 1, 0, 3])
            try await contract.expect(a.keys[0], holds: "3")
            try await contract.expect(b.keys[0], holds: nil)
        },
        Case("fixed window: a usage above a lowered maximum admits nothing") { contract in
            let a = contract.fixed("a", max: 10)
            try await contract.store.set(a.keys[0], "50")
            try await contract.expect(contract.check(count: 3, a), contract.peek(a), gives: [0, 50, 0, 50])
        },
        Case("fixed window: its key outlives it by a minute") { contract in
            let a = contract.fixed("a", max: 10)
            try await contract.expect(contract.check(a), gives: [1, 1])
            try await contract.expect(a.keys[0], expiresAt: 120_000)
            try await contract.store.persist(a.keys[0])
            try await contract.expect(contract.check(a), gives: [1, 2])
            try await contract.expect(a.keys[0], expiresAt: nil)
            try await contract.expect(contract.check(a.verifying()), gives: [1, 3])
            try await contract.expect(a.keys[0], expiresAt: 120_000)
        },
        Case("window: a key without a time to live gets one where it is denied or peeked at") { contract in
            let (a, b, c) = (
                contract.fixed("a", max: 10), contract.sliding("b", max: 10), contract.fixed("c", max: 10).shadow()
            )
            for entry in [
                contract.check(cost: 11, a), contract.peek(a), contract.check(cost: 11, b), contract.peek(b),
                contract.check(cost: 11, a, b), contract.peek(a, b), contract.check(cost: 11, c), contract.peek(c),
            ] {
                for charge in entry.charges {
                    try await contract.store.set(charge.keys[0], "3")
                    if charge.quota.algorithm == .slidingWindow { try await contract.store.set(charge.keys[1], "1") }
                }
                _ = try await contract.run([entry])
                for charge in entry.charges {
                    let isSliding = charge.quota.algorithm == .slidingWindow
                    try await contract.expect(charge.keys[0], expiresAt: isSliding ? 180_000 : 120_000)
                    if isSliding { try await contract.expect(charge.keys[1], expiresAt: 120_000) }
                }
            }
        },
    ]

    static let slidingWindowCases: [Case] = [
        Case("sliding window: the one before counts by its share, rounded up") { contract in
            try await contract.expect(contract.check(cost: 8, contract.sliding("a", max: 10)), gives: [1, 8, 0])
            contract.pass(until: 60_000)
            let a = contract.sliding("a", max: 10)
            try await contract.expect(
                contract.check(cost: 3, a), contract.check(cost: 2, a), gives: [0, 0, 8, 1, 2, 8])
            contract.pass(until: 67_499)
            try await contract.expect(contract.check(a), gives: [0, 2, 8])
            contract.pass(until: 67_500)  // 7 of the 8 are left
            try await contract.expect(contract.peek(a), contract.check(count: 2, a), gives: [1, 2, 8, 1, 3, 8])
            contract.pass(until: 67_501)
            try await contract.expect(contract.check(a), contract.peek(a), gives: [0, 3, 8, 0, 3, 8])
            contract.pass(until: 75_000)
            try await contract.expect(contract.check(count: 2, a), gives: [1, 4, 8])
            contract.pass(until: 119_999)  // the last ms, in which 1 of the 8 is left
            try await contract.expect(
                contract.check(cost: 6, a), contract.check(cost: 5, a), gives: [0, 4, 8, 1, 9, 8])
            contract.pass(until: 120_000)
            let next = contract.sliding("a", max: 10)
            try await contract.expect(
                contract.check(a), contract.check(cost: 2, next), contract.check(next), gives: [-1, 0, 0, 9, 1, 1, 9])
            contract.pass(until: 240_000)  // none in the one before
            try await contract.expect(contract.check(contract.sliding("a", max: 10)), gives: [1, 1, 0])
        },
        Case("sliding window: as many of equal checks as fit") { contract in
            let a = contract.sliding("a", max: 10)
            try await contract.expect(
                contract.check(cost: 3, count: 5, a), contract.check(cost: 11, a), contract.check(count: 5, a),
                contract.check(a), gives: [3, 9, 0, 0, 9, 0, 1, 10, 0, 0, 10, 0])
        },
        Case("sliding window: a maximum of 0 blocks") { contract in
            let a = contract.sliding("a", max: 0)
            try await contract.expect(contract.check(a), contract.peek(a), gives: [0, 0, 0, 0, 0, 0])
        },
        Case("sliding window: 10^12 stays exact") { contract in
            let lengthMs: Int64 = 9_000
            try await contract.expect(
                contract.check(cost: trillion, contract.sliding("a", max: trillion, lengthMs: lengthMs)),
                gives: [1, trillion, 0])
            contract.pass(until: lengthMs)
            let a = contract.sliding("a", max: trillion, lengthMs: lengthMs)
            try await contract.expect(contract.check(a), gives: [0, 0, trillion])
            contract.pass(until: lengthMs + 1)  // 999888888888.9 are left
            try await contract.expect(
                contract.check(cost: 111_111_112, a), contract.check(cost: 111_111_111, a),
                gives: [0, 0, trillion, 1, 111_111_111, trillion])
        },
        Case("sliding window: its key outlives the window after it by a minute") { contract in
            let a = contract.sliding("a", max: 10)
            try await contract.expect(contract.check(a), gives: [1, 1, 0])
            try await contract.expect(a.keys[0], expiresAt: 180_000)
            try await contract.store.persist(a.keys[0])
            try await contract.expect(contract.check(a.verifying()), gives: [1, 2, 0])
            try await contract.expect(a.keys[0], expiresAt: 180_000)
            try await contract.expect(a.keys[1], holds: nil)
        },
        Case("sliding window: more before than was ever allowed does not overflow") { contract in
            contract.pass(until: 60_000)
            let a = contract.sliding("a", max: 10)
            try await contract.store.set(a.keys[1], "9007199254740992")
            try await contract.expect(contract.check(a), gives: [0, 0, Quota.maxExact])
            contract.pass(until: 119_999)
            try await contract.expect(contract.check(a), gives: [0, 0, Quota.maxExact])
        },
        Case("sliding window: a longer one after a shorter one") { contract in
            // A month of 28 days and one of 31, in seconds. While the open one reaches over all of the one before it, all
            // of that counts.
            let short = contract.nowMs..<contract.nowMs + 28_000
            let long = short.upperBound..<short.upperBound + 31_000
            let before = short.lowerBound - 31_000..<short.lowerBound
            try await contract.expect(
                contract.check(cost: 1_000, contract.sliding("a", max: 1_000, in: short, after: before)),
                gives: [1, 1_000, 0])
            let a = contract.sliding("a", max: 1_000, in: long, after: short)
            for offsetMs: Int64 in [28_000, 30_999, 31_000, 31_027] {
                contract.pass(until: offsetMs)
                try await contract.expect(contract.check(a), gives: [0, 0, 1_000])
            }
            contract.pass(until: 31_028)  // 999 of the 1000 are left
            try await contract.expect(
                contract.check(cost: 2, a), contract.check(a), gives: [0, 0, 1_000, 1, 1, 1_000])
        },
        Case("sliding window: a shorter one after a longer one") { contract in
            let long = contract.nowMs..<contract.nowMs + 31_000
            let short = long.upperBound..<long.upperBound + 28_000
            let before = long.lowerBound - 28_000..<long.lowerBound
            try await contract.expect(
                contract.check(cost: 1_000, contract.sliding("a", max: 1_000, in: long, after: before)),
                gives: [1, 1_000, 0])
            contract.pass(until: 31_000)  // 903.2 are left
            let a = contract.sliding("a", max: 1_000, in: short, after: long)
            try await contract.expect(
                contract.check(cost: 97, a), contract.check(cost: 96, a), gives: [0, 0, 1_000, 1, 96, 1_000])
        },
        Case("sliding window: what was committed far above the maximum counts in the window after it") { contract in
            let monthMs: Int64 = 2_678_400_000
            let first = contract.nowMs..<contract.nowMs + monthMs
            let second = first.upperBound..<first.upperBound + monthMs
            let a = contract.sliding("a", max: 10, in: first, after: first.lowerBound - monthMs..<first.lowerBound)
            try await contract.expect(
                contract.check(a, reserve: "1"), contract.commit("1", 1_000_000_000), gives: [1, 1, 0, 1])
            contract.pass(until: monthMs)
            var b = contract.sliding("a", max: trillion, in: second, after: first)
            for value in ["1000000000", "999999999999", "9007199254740991", "9007199254740992"] {
                if value != "1000000000" { try await contract.store.set(b.keys[1], value) }
                let used = Int64(value) ?? 0
                for leftMs: Int64 in [monthMs - 1, 1_999_999_999, 267_841, 11, 1] {
                    let share = Int64((Int128(used) * Int128(leftMs) + Int128(monthMs) - 1) / Int128(monthMs))
                    // The window is as if it had begun later, so that time need not step back.
                    b.quota.windowEndMs = contract.nowMs + leftMs
                    b.quota.nextEndMs = b.quota.windowEndMs + monthMs
                    let left = max(0, trillion - share)
                    let expected: [Int64] = left > 0 ? [1, 0, used, 0, 0, used] : [0, 0, used, 0, 0, used]
                    try await contract.expect(
                        contract.peek(cost: max(1, left), b), contract.peek(cost: left + 1, b), gives: expected)
                }
            }
        },
    ]
}
