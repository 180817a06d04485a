import SluiceEngine

private let trillion: Int64 = 1_000_000_000_000

extension StoreContract {
    static let tokenBucketCases: [Case] = [
        Case("token bucket: holds its burst and leaks evenly") { contract in
            let a = contract.bucket("a", max: 6, burst: 3)  // one in 10 s
            try await contract.expect(contract.peek(cost: 3, a), contract.peek(cost: 4, a), gives: [1, 0, 0, 0])
            try await contract.expect(a.keys[0], holds: nil)
            try await contract.expect(contract.check(count: 5, a), contract.check(a), gives: [3, 180_000, 0, 180_000])
            contract.pass(until: 9_999)
            try await contract.expect(contract.check(a), contract.peek(a), gives: [0, 120_006, 0, 120_006])
            contract.pass(until: 10_000)
            try await contract.expect(contract.peek(a), contract.check(a), gives: [1, 120_000, 1, 180_000])
            try await contract.expect(a.keys[0], holds: "180000 \(contract.nowMs)")
            contract.pass(until: 25_000)  // one and a half have leaked
            try await contract.expect(contract.check(cost: 2, a), contract.check(a), gives: [0, 90_000, 1, 150_000])
            contract.pass(until: 3_600_000)
            try await contract.expect(contract.check(cost: 3, a), gives: [1, 180_000])
        },
        Case("token bucket: a cost above its burst never passes") { contract in
            let a = contract.bucket("a", max: 100, burst: 3)
            try await contract.expect(
                contract.check(cost: 4, a), contract.check(cost: 4, count: 2, a), gives: [0, 0, 0, 0])
        },
        Case("token bucket: a denial does not forget what has leaked in part") { contract in
            let a = contract.bucket("a", max: 1, burst: 1, lengthMs: 7)
            try await contract.expect(contract.check(a), gives: [1, 7])
            for offsetMs in 1...Int64(6) {
                contract.pass(until: offsetMs)
                try await contract.expect(contract.check(a), gives: [0, 7 - offsetMs])
            }
            contract.pass(until: 7)
            try await contract.expect(contract.check(a), gives: [1, 7])
        },
        Case("token bucket: time that steps back leaks nothing, and neither does it twice") { contract in
            let a = contract.bucket("a", max: 6, burst: 3)
            let lastMs = contract.nowMs + 10_000
            try await contract.store.set(a.keys[0], "120000 \(lastMs)")
            try await contract.expect(contract.check(cost: 2, a), contract.check(a), gives: [0, 120_000, 1, 180_000])
            try await contract.expect(a.keys[0], holds: "180000 \(lastMs)")
            contract.pass(until: 10_000)
            try await contract.expect(contract.check(a), gives: [0, 180_000])
            contract.pass(until: 20_000)
            try await contract.expect(contract.check(a), gives: [1, 180_000])
            try await contract.expect(a.keys[0], holds: "180000 \(contract.nowMs)")
        },
        Case("token bucket: a time that is far ahead is waited for no longer") { contract in
            let a = contract.bucket("a", max: 6, burst: 3)
            try await contract.store.set(a.keys[0], "180000 \(contract.nowMs + 60_001)")
            try await contract.expect(contract.check(a), contract.peek(a), gives: [0, 180_000, 0, 180_000])
            try await contract.expect(a.keys[0], holds: "180000 \(contract.nowMs)")
            contract.pass(until: 10_000)
            try await contract.expect(contract.check(a), gives: [1, 180_000])
            try await contract.store.set(a.keys[0], "180000 \(contract.nowMs + 60_000) 5")
            try await contract.expect(contract.check(a), gives: [0, 180_000])
            try await contract.expect(a.keys[0], holds: "180000 \(contract.nowMs + 60_000) 5")
            try await contract.store.set(a.keys[0], "180000 \(contract.nowMs + 3_600_000) 5")
            try await contract.expect(contract.check(a), gives: [0, 180_000])
            try await contract.expect(a.keys[0], holds: "180000 \(contract.nowMs) 5")
        },
        Case("token bucket: nothing leaks by a time that is not the store's") { contract in
            let a = contract.bucket("a", max: 6, burst: 3)
            try await contract.expect(contract.check(cost: 2, a), gives: [1, 120_000])
            contract.pass(until: 3_600_000)
            for used in [180_000, 180_000] as [Int64] {
                let reply = try await contract.run([contract.check(a)], isBehind: true)
                guard reply.results.last == used else { throw contract.violation("\(reply)", line: #line) }
            }
            contract.pass(until: 3_610_000)
            try await contract.expect(contract.check(a), gives: [1, 180_000])
        },
        Case("token bucket: a maximum of 0 blocks") { contract in
            let a = contract.bucket("a", max: 0, burst: 0)
            try await contract.expect(contract.check(a), contract.peek(a), gives: [0, 0, 0, 0])
            // The maximum was lowered to it: nothing leaks.
            try await contract.store.set(a.keys[0], "60000 \(contract.nowMs)")
            contract.pass(until: 600_000)
            try await contract.expect(contract.check(a), contract.peek(a), gives: [0, 60_000, 0, 60_000])
        },
        Case("token bucket: more than a lowered burst admits nothing until it has leaked") { contract in
            let a = contract.bucket("a", max: 6, burst: 1)
            try await contract.store.set(a.keys[0], "150000 \(contract.nowMs)")
            try await contract.expect(contract.check(a), gives: [0, 150_000])
            contract.pass(until: 24_999)
            try await contract.expect(contract.check(a), gives: [0, 6])
            contract.pass(until: 25_000)
            try await contract.expect(contract.check(a), gives: [1, 60_000])
        },
        Case("token bucket: 10^12 stays exact") { contract in
            let a = contract.bucket("a", max: trillion, burst: trillion, lengthMs: 9_000)
            try await contract.expect(contract.check(cost: trillion, a), gives: [1, 9_000 * trillion])
            contract.pass(until: 1)
            try await contract.expect(
                contract.check(cost: 111_111_112, a), contract.check(cost: 111_111_111, a),
                gives: [0, 8_999 * trillion, 1, 8_999 * trillion + 999_999_999_000])
            try await contract.expect(a.keys[0], holds: "8999999999999000 \(contract.nowMs)")
        },
        Case("token bucket: its key lives for a window, or until it has drained, and a minute more") { contract in
            let (a, b) = (contract.bucket("a", max: 7, burst: 3), contract.bucket("b", max: 2, burst: 3))
            contract.pass(until: 1_000)
            try await contract.expect(contract.check(a), contract.check(cost: 3, b), gives: [1, 60_000, 1, 180_000])
            try await contract.expect(a.keys[0], expiresAt: 1_000 + 60_000 + 60_000)
            try await contract.expect(b.keys[0], expiresAt: 1_000 + 90_000 + 60_000)
            contract.pass(until: 2_000)
            try await contract.expect(contract.check(a), gives: [1, 113_000])
            try await contract.expect(a.keys[0], expiresAt: 2_000 + 60_000 + 60_000)
        },
        Case("token bucket: it is not forgotten when its maximum is lowered") { contract in
            // Five of an hour's 18000 drain in a second, but by a maximum of 1 in five hours.
            func hour(_ name: String, max: Int64) -> Charge {
                contract.bucket(name, max: max, burst: 5, lengthMs: 3_600_000)
            }
            for name in ["checked", "peeked", "unseen"] {
                try await contract.expect(
                    contract.check(cost: 5, hour(name, max: 18_000)), gives: [1, 18_000_000])
                try await contract.expect(contract.key(name), expiresAt: 3_660_000)
            }
            contract.pass(until: 100)
            let level: Int64 = 18_000_000 - 100
            try await contract.expect(
                contract.check(hour("checked", max: 1)), contract.peek(hour("peeked", max: 1)),
                gives: [0, level, 0, level])
            for name in ["checked", "peeked"] {
                try await contract.expect(contract.key(name), expiresAt: 100 + level + 60_000)
            }
            // Nothing makes it shorter again: neither a check by the higher maximum, nor a charge.
            try await contract.expect(
                contract.check(cost: 6, hour("checked", max: 18_000)), contract.check(hour("peeked", max: 18_000)),
                contract.peek(hour("checked", max: 18_000)), gives: [0, 16_200_000, 0, 16_200_000, 0, 16_200_000])
            contract.pass(until: 200)
            try await contract.expect(contract.check(hour("peeked", max: 18_000)), gives: [1, 18_000_000])
            for name in ["checked", "peeked"] {
                try await contract.expect(contract.key(name), expiresAt: 100 + level + 60_000)
            }
            contract.pass(until: 3_659_999)
            try await contract.expect(
                contract.check(cost: 2, hour("unseen", max: 1)), gives: [0, 18_000_000 - 3_659_999])
        },
        Case("token bucket: nor when one of its reservations is settled meanwhile") { contract in
            func hour(max: Int64) -> Charge { contract.bucket("a", max: max, burst: 5, lengthMs: 3_600_000) }
            for reservation in ["1", "2"] {
                _ = try await contract.run([contract.check(cost: 2, hour(max: 18_000), reserve: reservation)])
            }
            try await contract.expect(contract.check(hour(max: 18_000)), gives: [1, 18_000_000])
            contract.pass(until: 300)
            try await contract.expect(
                contract.check(hour(max: 1)), contract.commit("1", 1), contract.peek(hour(max: 1)),
                gives: [0, 18_000_000 - 300, 1, 0, 16_200_000 - 300])
            contract.pass(until: 1_000)
            // All of it would have leaked by the maximum that it was charged by.
            try await contract.expect(
                contract.cancel("2"), contract.peek(cost: 2, hour(max: 1)), gives: [1, 0, 16_200_000 - 1_000])
        },
        Case("token bucket: a reservation may be settled for a window at least") { contract in
            let a = contract.bucket("a", max: 60_000, burst: 5)
            try await contract.expect(contract.check(a, reserve: "1"), gives: [1, 60_000])
            contract.pass(until: 59_999)
            try await contract.expect(contract.commit("1", 3), contract.peek(a), gives: [1, 1, 120_000])
        },
        Case("token bucket: a key without a time to live gets one, whatever looks at it") { contract in
            let a = contract.bucket("a", max: 6, burst: 1)
            try await contract.expect(contract.check(a), gives: [1, 60_000])
            for entry in [contract.check(a), contract.peek(a)] {
                try await contract.store.persist(a.keys[0])
                try await contract.expect(entry, gives: [0, 60_000])
                try await contract.expect(a.keys[0], expiresAt: 70_000)
            }
        },
    ]

    static let concurrencyCases: [Case] = [
        Case("concurrency: a slot each until the maximum, whatever the cost") { contract in
            let a = contract.slots("a", max: 2)
            let (one, two) = (contract.nowMs + 3_600_000, contract.nowMs + 3_601_000)
            try await contract.expect(
                contract.peek(cost: 50, a), contract.check(cost: 50, a, reserve: "1"),
                gives: [1, 0, 0, 0, 1, 1, one, one])
            contract.pass(until: 1_000)
            try await contract.expect(
                contract.check(a, reserve: "2"), contract.check(a, reserve: "3"), contract.peek(a),
                gives: [1, 2, one, two, 0, 2, one, two, 0, 2, one, two])
            // Who was refused holds nothing.
            try await contract.expect(contract.release("3"), gives: [0])
            try await contract.expect(a.keys[0], expiresAt: 3_601_000 + 60_000)
        },
        Case("concurrency: a slot that nobody releases expires") { contract in
            let a = contract.slots("a", max: 1, holdMs: 600_000)
            let first = contract.nowMs + 600_000
            try await contract.expect(contract.check(a, reserve: "1"), gives: [1, 1, first, first])
            contract.pass(until: 599_999)
            try await contract.expect(
                contract.peek(a), contract.check(a, reserve: "2"), gives: [0, 1, first, first, 0, 1, first, first])
            contract.pass(until: 600_000)
            try await contract.expect(
                contract.peek(a), contract.check(a, reserve: "3"),
                gives: [1, 0, 0, 0, 1, 1, first + 600_000, first + 600_000])
        },
        Case("concurrency: a maximum of 0 blocks") { contract in
            let a = contract.slots("a", max: 0)
            try await contract.expect(
                contract.peek(a), contract.check(a, reserve: "1"), gives: [0, 0, 0, 0, 0, 0, 0, 0])
        },
        Case("concurrency: more than a lowered maximum admits none until enough are free") { contract in
            let end = contract.nowMs + 3_600_000
            let wide = contract.slots("a", max: 3)
            try await contract.expect(
                contract.check(wide, reserve: "1"), contract.check(wide, reserve: "2"),
                contract.check(wide, reserve: "3"), gives: [1, 1, end, end, 1, 2, end, end, 1, 3, end, end])
            let a = contract.slots("a", max: 1)
            try await contract.expect(
                contract.check(a, reserve: "4"), contract.release("1"), contract.release("2"), contract.peek(a),
                contract.release("3"), contract.peek(a),
                gives: [0, 3, end, end, 1, 1, 0, 1, end, end, 1, 1, 0, 0, 0])
        },
        Case("concurrency: slots of different length") { contract in
            let (long, short) = (contract.slots("a", max: 3), contract.slots("a", max: 3, holdMs: 900_000))
            let (late, soon) = (contract.nowMs + 3_600_000, contract.nowMs + 900_000)
            try await contract.expect(
                contract.check(long, reserve: "1"), contract.check(short, reserve: "2"),
                gives: [1, 1, late, late, 1, 2, soon, late])
            try await contract.expect(long.keys[0], expiresAt: 3_660_000)
        },
    ]

    static let mixedCases: [Case] = [
        Case("mixed: all algorithms or none") { contract in
            let end = contract.nowMs + 3_600_000
            let (fixed, sliding) = (contract.fixed("f", max: 10), contract.sliding("s", max: 10))
            let (bucket, slots) = (contract.bucket("b", max: 6, burst: 2), contract.slots("c", max: 5))
            try await contract.expect(
                contract.check(fixed, sliding, bucket, slots, reserve: "1"),
                contract.check(fixed, sliding, bucket, slots, reserve: "2"),
                gives: [1, 1, 1, 0, 60_000, 1, end, end, 1, 2, 2, 0, 120_000, 2, end, end])
            // The bucket is full.
            try await contract.expect(
                contract.check(fixed, sliding, bucket, slots, reserve: "3"),
                contract.peek(bucket, slots, sliding, fixed),
                contract.check(cost: 8, sliding, fixed), contract.check(fixed, slots, reserve: "4"),
                gives: [
                    0, 2, 2, 0, 120_000, 2, end, end, 0, 120_000, 2, end, end, 2, 0, 2, 1, 10, 0, 10, 0, 10, 2, end,
                    end,
                ])
            try await contract.expect(contract.release("3"), contract.release("4"), gives: [0, 0])
        },
        Case("mixed: the smallest room counts") { contract in
            let (fixed, sliding) = (contract.fixed("f", max: 100), contract.sliding("s", max: 9))
            let bucket = contract.bucket("b", max: 6, burst: 5)
            try await contract.expect(
                contract.check(cost: 2, count: 9, fixed, sliding, bucket), gives: [2, 4, 4, 0, 240_000])
        },
        Case("mixed: a window that is over charges nothing at all") { contract in
            let old = contract.sliding("s", max: 9)
            contract.pass(until: 60_000)
            let (fixed, bucket) = (contract.fixed("f", max: 9), contract.bucket("b", max: 6, burst: 5))
            let slots = contract.slots("c", max: 5)
            try await contract.expect(
                contract.check(fixed, bucket, slots, old, reserve: "1"), contract.peek(bucket, old),
                contract.release("1"), contract.check(fixed, bucket), contract.peek(slots),
                gives: [-1, -1, 0, 1, 1, 60_000, 1, 0, 0, 0])
        },
    ]
}
