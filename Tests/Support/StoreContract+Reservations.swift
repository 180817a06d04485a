import SluiceEngine

private let trillion: Int64 = 1_000_000_000_000

extension StoreContract {
    static let commitCases: [Case] = [
        Case("commit: lower gives back, once") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            try await contract.expect(contract.check(cost: 5, a, b, reserve: "1"), gives: [1, 5, 5, 0])
            try await contract.expect(
                contract.commit("1", 2), contract.commit("1", 1), contract.cancel("1"), contract.release("1"),
                contract.peek(a, b), gives: [1, 0, 0, 0, 1, 2, 2, 0])
        },
        Case("commit: higher charges more, also above the maximum") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            try await contract.expect(
                contract.check(cost: 5, a, b, reserve: "1"), contract.commit("1", 14), contract.commit("1", 14),
                contract.check(a), contract.check(b), gives: [1, 5, 5, 0, 1, 0, 0, 14, 0, 14, 0])
            try await contract.expect(
                contract.check(cost: 1, contract.fixed("c", max: 1), reserve: "2"), contract.commit("2", trillion),
                contract.peek(contract.fixed("c", max: 1)), gives: [1, 1, 1, 0, trillion])
        },
        Case("commit: equal and to nothing") { contract in
            let a = contract.fixed("a", max: 10)
            try await contract.expect(
                contract.check(cost: 5, a, reserve: "1"), contract.commit("1", 5), contract.commit("1", 4),
                contract.check(cost: 3, a, reserve: "2"), contract.commit("2", 0), contract.cancel("2"),
                contract.peek(a), gives: [1, 5, 1, 0, 1, 8, 1, 0, 1, 5])
        },
        Case("commit: unknown, and of a check that was refused or only asked") { contract in
            let a = contract.fixed("a", max: 1)
            try await contract.expect(
                contract.commit("1", 1), contract.cancel("1"), contract.release("1"),
                contract.check(cost: 2, a, reserve: "2"), contract.commit("2", 0), contract.peek(a),
                gives: [0, 0, 0, 0, 0, 0, 1, 0])
        },
        Case("commit: never changes a window that is over") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            let anchor = contract.anchor()
            try await contract.expect(
                contract.check(cost: 5, a, b, anchor, reserve: "1"),
                contract.check(cost: 4, a, b, anchor, reserve: "2"),
                gives: [1, 5, 5, 0, 5, 1, 9, 9, 0, 9])
            contract.pass(until: 59_999)
            try await contract.expect(contract.commit("1", 1), contract.peek(a, b), gives: [1, 1, 5, 5, 0])
            contract.pass(until: 60_000)
            // The sliding window still counts, as the one before.
            try await contract.expect(
                contract.commit("2", 1), contract.peek(contract.sliding("b", max: 10), anchor), gives: [1, 1, 0, 2, 2])
            try await contract.expect(a.keys[0], holds: "5")
        },
        Case("commit: a sliding window counts until the one after it ends") { contract in
            let (b, anchor) = (contract.sliding("b", max: 10), contract.anchor())
            try await contract.expect(
                contract.check(cost: 5, b, anchor, reserve: "1"), contract.check(cost: 4, b, anchor, reserve: "2"),
                gives: [1, 5, 0, 5, 1, 9, 0, 9])
            contract.pass(until: 119_999)
            try await contract.expect(contract.commit("1", 6), gives: [1])
            try await contract.expect(b.keys[0], holds: "10")
            contract.pass(until: 120_000)
            try await contract.expect(contract.commit("2", 0), contract.commit("2", 0), gives: [1, 0])
            try await contract.expect(b.keys[0], holds: "10")
        },
        Case("commit: more than can be counted is refused, and nothing changes") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.fixed("b", max: 10))
            let slots = contract.slots("c", max: 1)
            let end = contract.nowMs + 3_600_000
            try await contract.expect(contract.check(b, a, slots, reserve: "1"), gives: [1, 1, 1, 1, end, end])
            try await contract.store.set(a.keys[0], "9007199254740990")
            try await contract.expect(contract.commit("1", 4), contract.peek(b, slots), gives: [-5, 0, 1, 1, end, end])
            try await contract.expect(a.keys[0], holds: "9007199254740990")
            try await contract.expect(contract.commit("1", 3), contract.commit("1", 3), gives: [1, 0])
            try await contract.expect(a.keys[0], holds: "9007199254740992")
            try await contract.expect(b.keys[0], holds: "3")
        },
        Case("commit: a key that is gone comes back only with more") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.fixed("b", max: 10))
            try await contract.expect(
                contract.check(cost: 5, a, reserve: "1"), contract.check(cost: 5, b, reserve: "2"),
                gives: [1, 5, 1, 5])
            try await contract.store.delete(a.keys[0])
            try await contract.store.delete(b.keys[0])
            try await contract.expect(contract.commit("1", 3), contract.commit("2", 7), gives: [1, 1])
            try await contract.expect(a.keys[0], holds: nil)
            try await contract.expect(b.keys[0], holds: "2")
            try await contract.expect(b.keys[0], expiresAt: 120_000)
        },
        Case("commit: a counter that is none any more is left alone") { contract in
            let (a, b, c) = (contract.fixed("a", max: 9), contract.sliding("b", max: 9), contract.fixed("c", max: 9))
            let bucket = contract.bucket("d", max: 6, burst: 9)
            try await contract.expect(
                contract.check(cost: 5, a, b, bucket, c, reserve: "1"), gives: [1, 5, 5, 0, 300_000, 5])
            try await contract.store.delete(a.keys[0])
            try await contract.store.setList(a.keys[0])
            try await contract.store.set(b.keys[0], "many")
            try await contract.store.set(bucket.keys[0], "7")
            try await contract.expect(contract.commit("1", 1), contract.peek(c), gives: [-6, 1, 1])
            try await contract.expect(b.keys[0], holds: "many")
            try await contract.expect(bucket.keys[0], holds: "7")
        },
    ]

    static let cancelCases: [Case] = [
        Case("cancel: gives all back, once") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            try await contract.expect(
                contract.check(cost: 4, a, b), contract.check(cost: 5, a, b, reserve: "1"), contract.cancel("1"),
                contract.cancel("1"), contract.commit("1", 5), contract.peek(a, b),
                gives: [1, 4, 4, 0, 1, 9, 9, 0, 1, 0, 0, 1, 4, 4, 0])
        },
        Case("cancel: never below nothing") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            try await contract.expect(contract.check(cost: 5, a, b, reserve: "1"), gives: [1, 5, 5, 0])
            try await contract.store.set(a.keys[0], "3")
            try await contract.store.delete(b.keys[0])
            try await contract.expect(contract.cancel("1"), contract.peek(a, b), gives: [1, 1, 0, 0, 0])
            try await contract.expect(a.keys[0], holds: "0")
            try await contract.expect(b.keys[0], holds: nil)
        },
        Case("cancel: the key's time to live stays") { contract in
            let a = contract.fixed("a", max: 10)
            try await contract.expect(
                contract.check(a), contract.check(cost: 5, a, reserve: "1"), contract.cancel("1"),
                gives: [1, 1, 1, 6, 1])
            try await contract.expect(a.keys[0], expiresAt: 120_000)
        },
    ]

    static let bucketSettlementCases: [Case] = [
        Case("bucket: what has leaked since is not given back") { contract in
            let (a, anchor) = (contract.bucket("a", max: 6, burst: 3), contract.anchor())
            try await contract.expect(contract.check(cost: 3, a, anchor, reserve: "1"), gives: [1, 180_000, 3])
            contract.pass(until: 10_000)
            try await contract.expect(contract.cancel("1"), contract.peek(a), gives: [1, 1, 0])
            try await contract.expect(contract.check(cost: 3, a), contract.cancel("1"), gives: [1, 180_000, 0])
            try await contract.expect(contract.peek(a), gives: [0, 180_000])
        },
        Case("bucket: nor what others have filled") { contract in
            let a = contract.bucket("a", max: 6, burst: 3)
            try await contract.expect(
                contract.check(cost: 2, a, contract.anchor(), reserve: "1"), contract.check(a),
                gives: [1, 120_000, 2, 1, 180_000])
            contract.pass(until: 10_000)
            try await contract.expect(contract.cancel("1"), contract.peek(a), gives: [1, 1, 60_000])
            contract.pass(until: 20_000)
            try await contract.expect(contract.peek(cost: 3, a), gives: [1, 0])
        },
        Case("bucket: part of the cost") { contract in
            let a = contract.bucket("a", max: 6, burst: 5)
            try await contract.expect(
                contract.check(cost: 4, a, reserve: "1"), contract.commit("1", 3), contract.commit("1", 1),
                contract.peek(a), gives: [1, 240_000, 1, 0, 1, 180_000])
            try await contract.expect(a.keys[0], holds: "180000 \(contract.nowMs) 60000")
            try await contract.expect(a.keys[0], expiresAt: 60_000 + 60_000)
        },
        Case("bucket: a higher cost fills it, also above its burst") { contract in
            let (a, anchor) = (contract.bucket("a", max: 6, burst: 3), contract.anchor())
            try await contract.expect(contract.check(cost: 2, a, anchor, reserve: "1"), gives: [1, 120_000, 2])
            contract.pass(until: 10_000)
            try await contract.expect(
                contract.commit("1", 7), contract.check(a), contract.commit("1", 7), gives: [1, 0, 360_000, 0])
            try await contract.expect(a.keys[0], expiresAt: 10_000 + 60_000 + 60_000)
            contract.pass(until: 49_999)
            try await contract.expect(contract.check(a), gives: [0, 120_006])
            contract.pass(until: 50_000)
            try await contract.expect(contract.check(a), gives: [1, 180_000])
        },
        Case("bucket: more than can be counted is refused, and nothing changes") { contract in
            let (a, anchor) = (contract.bucket("a", max: 6, burst: 3), contract.anchor())
            try await contract.expect(
                contract.check(anchor, a, reserve: "1"), contract.commit("1", trillion), contract.peek(a, anchor),
                gives: [1, 1, 60_000, -5, 1, 60_000, 1])
            // A minute's bucket holds 2^53 / 60000 at most, what lies under the charge included.
            try await contract.expect(
                contract.check(a), contract.commit("1", 150_119_987_579), contract.peek(a, anchor),
                gives: [1, 120_000, -5, 1, 120_000, 1])
            try await contract.expect(
                contract.commit("1", 150_119_987_578), contract.peek(a),
                gives: [1, 0, 150_119_987_579 * 60_000])
        },
        Case("bucket: one that is gone comes back only with more") { contract in
            let (a, b) = (contract.bucket("a", max: 6, burst: 3), contract.bucket("b", max: 6, burst: 3))
            try await contract.expect(
                contract.check(cost: 2, a, reserve: "1"), contract.check(cost: 2, b, reserve: "2"),
                gives: [1, 120_000, 1, 120_000])
            try await contract.store.delete(a.keys[0])
            try await contract.store.delete(b.keys[0])
            try await contract.expect(contract.cancel("1"), contract.commit("2", 3), gives: [1, 1])
            try await contract.expect(a.keys[0], holds: nil)
            try await contract.expect(b.keys[0], holds: "60000 \(contract.nowMs)")
        },
        Case("bucket: never below nothing") { contract in
            let a = contract.bucket("a", max: 6, burst: 3)
            try await contract.expect(contract.check(cost: 3, a, reserve: "1"), gives: [1, 180_000])
            try await contract.store.set(a.keys[0], "1000 \(contract.nowMs)")
            try await contract.expect(contract.cancel("1"), contract.peek(cost: 3, a), gives: [1, 1, 0])
        },
    ]

    static let slotSettlementCases: [Case] = [
        Case("slots: a release frees, once, and the cost may be settled before and after") { contract in
            let (slots, a) = (contract.slots("c", max: 1), contract.fixed("a", max: 10))
            let end = contract.nowMs + 3_600_000
            try await contract.expect(
                contract.check(cost: 5, a, slots, reserve: "1"), contract.release("1"), contract.release("1"),
                contract.peek(a, slots), contract.commit("1", 2), contract.commit("1", 2), contract.release("1"),
                contract.peek(a), gives: [1, 5, 1, end, end, 1, 0, 1, 5, 0, 0, 0, 1, 0, 0, 1, 2])
            try await contract.expect(
                contract.check(cost: 5, a, slots, reserve: "2"), contract.commit("2", 1), contract.peek(slots),
                contract.release("2"), contract.release("2"), contract.cancel("2"), contract.peek(a, slots),
                gives: [1, 7, 1, end, end, 1, 0, 1, end, end, 1, 0, 0, 1, 3, 0, 0, 0])
        },
        Case("slots: a cancel frees them and gives back what is not settled") { contract in
            let (slots, a) = (contract.slots("c", max: 3), contract.fixed("a", max: 10))
            let end = contract.nowMs + 3_600_000
            try await contract.expect(
                contract.check(cost: 2, a, slots, reserve: "1"), contract.cancel("1"), contract.cancel("1"),
                contract.release("1"), contract.peek(a, slots), gives: [1, 2, 1, end, end, 1, 0, 0, 1, 0, 0, 0, 0])
            try await contract.expect(
                contract.check(cost: 2, a, slots, reserve: "2"), contract.commit("2", 3), contract.cancel("2"),
                contract.cancel("2"), contract.peek(a, slots), gives: [1, 2, 1, end, end, 1, 1, 0, 1, 3, 0, 0, 0])
            try await contract.expect(
                contract.check(cost: 2, a, slots, reserve: "3"), contract.release("3"), contract.cancel("3"),
                contract.cancel("3"), contract.peek(a, slots), gives: [1, 5, 1, end, end, 1, 1, 0, 1, 3, 0, 0, 0])
        },
        Case("slots: a commit of nothing but slots is done once, and they stay") { contract in
            let slots = contract.slots("c", max: 1)
            let end = contract.nowMs + 3_600_000
            try await contract.expect(
                contract.check(cost: 2, slots, reserve: "1"), contract.commit("1", 9), contract.commit("1", 9),
                contract.peek(slots), contract.release("1"), contract.peek(slots),
                gives: [1, 1, end, end, 1, 0, 0, 1, end, end, 1, 1, 0, 0, 0])
        },
        Case("slots: each reservation frees its own") { contract in
            let (c, d) = (contract.slots("c", max: 3), contract.slots("d", max: 3))
            let end = contract.nowMs + 3_600_000
            try await contract.expect(
                contract.check(c, d, reserve: "1"), contract.check(c, reserve: "2"), contract.release("1"),
                contract.peek(c, d), gives: [1, 1, end, end, 1, end, end, 1, 2, end, end, 1, 1, 1, end, end, 0, 0, 0])
        },
        Case("slots: one that has expired may still be released while its record is kept") { contract in
            let (slots, anchor) = (contract.slots("c", max: 1, holdMs: 600_000), contract.anchor())
            let end = contract.nowMs + 600_000
            try await contract.expect(contract.check(slots, anchor, reserve: "1"), gives: [1, 1, end, end, 1])
            contract.pass(until: 600_000)
            try await contract.expect(
                contract.check(slots, reserve: "2"), contract.release("1"), contract.peek(slots),
                gives: [1, 1, end + 600_000, end + 600_000, 1, 0, 1, end + 600_000, end + 600_000])
        },
    ]
}
