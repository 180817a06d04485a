import SluiceEngine

extension StoreContract {
    static let shadowCases: [Case] = [
        Case("shadow: never blocks, counts what it has room for, and reports the rest") { contract in
            let a = contract.fixed("a", max: 2).shadow()
            try await contract.expect(
                contract.check(a), contract.check(count: 4, a), contract.check(a), contract.peek(a),
                gives: [1, 1, 0, 4, 2, 3, 1, 2, 4, 1, 2, 4])
            try await contract.expect(a.keys[0], holds: "2")
            try await contract.expect(a.keys[1], holds: "4")
        },
        Case("shadow: of what the other limits refuse it knows nothing") { contract in
            let (a, b) = (contract.fixed("a", max: 2).shadow(), contract.fixed("b", max: 4))
            try await contract.expect(
                contract.check(count: 6, b, a), contract.check(a, b), contract.peek(a, b),
                gives: [4, 4, 2, 2, 0, 2, 2, 4, 0, 2, 2, 4])
            // A cost that does not fit is refused whole.
            let c = contract.fixed("c", max: 5).shadow()
            try await contract.expect(
                contract.check(cost: 3, count: 2, c), contract.check(cost: 6, c), gives: [2, 3, 1, 1, 3, 2])
        },
        Case("shadow: of every algorithm") { contract in
            let end = contract.nowMs + 3_600_000
            let sliding = contract.sliding("s", max: 1).shadow()
            let bucket = contract.bucket("b", max: 6, burst: 1).shadow()
            let slots = contract.slots("c", max: 1).shadow()
            let anchor = contract.anchor()
            try await contract.expect(
                contract.check(sliding, bucket, slots, anchor, reserve: "1"),
                contract.check(sliding, bucket, slots, anchor, reserve: "2"), contract.peek(slots, bucket, sliding),
                gives: [
                    1, 1, 0, 0, 60_000, 0, 1, end, end, 0, 1, 1, 1, 0, 1, 60_000, 1, 1, end, end, 1, 2, 1, 1, end, end,
                    1, 60_000, 1, 1, 0, 1,
                ])
            // The second took no slot and has nothing to release.
            try await contract.expect(
                contract.release("2"), contract.release("1"), contract.peek(slots), gives: [0, 1, 1, 0, 0, 0, 1])
        },
        Case("shadow: settled like others, but for its denials") { contract in
            let a = contract.fixed("a", max: 3).shadow()
            try await contract.expect(
                contract.check(cost: 3, a, reserve: "1"), contract.check(cost: 3, a, contract.anchor(), reserve: "2"),
                contract.cancel("2"), contract.commit("1", 1), contract.peek(a),
                gives: [1, 3, 0, 1, 3, 1, 3, 1, 1, 1, 1, 1])
        },
        Case("shadow: denials live as long as the window, or a day") { contract in
            let (fixed, sliding) = (contract.fixed("f", max: 0).shadow(), contract.sliding("s", max: 0).shadow())
            let (bucket, slots) = (
                contract.bucket("b", max: 0, burst: 0).shadow(), contract.slots("c", max: 0).shadow()
            )
            try await contract.expect(
                contract.check(fixed, sliding, bucket, slots, contract.anchor(), reserve: "1"),
                gives: [1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 1])
            let expected = [(fixed, 120_000), (sliding, 180_000), (bucket, dayMs), (slots, dayMs)]
            for (charge, expiresAtMs) in expected {
                try await contract.expect(charge.keys[charge.keys.count - 1], expiresAt: expiresAtMs)
                try await contract.expect(charge.keys[0], expiresAt: nil)
            }
            try await contract.store.persist(fixed.keys[1])
            try await contract.expect(contract.check(fixed), gives: [1, 0, 2])
            try await contract.expect(fixed.keys[1], expiresAt: nil)
            try await contract.expect(contract.check(fixed.verifying()), gives: [1, 0, 3])
            try await contract.expect(fixed.keys[1], expiresAt: 120_000)
        },
    ]
}
