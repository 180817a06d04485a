import SluiceEngine

extension StoreContract {
    static let memoCases: [Case] = [
        Case("id: the same check is charged once, and answered as before") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            let firstMs = contract.nowMs
            let idempotency = (id: "1", arguments: "0123456789abcdef", counters: "fedcba9876543210")
            try await contract.expect(contract.check(cost: 2, a, b, idempotency: idempotency), gives: [1, 2, 2, 0])
            contract.pass(until: 1_000)
            try await contract.expect(
                contract.check(cost: 3, a, b), contract.check(cost: 2, a, b, idempotency: idempotency),
                contract.peek(a, b),
                gives: [1, 5, 5, 0, -3, firstMs, 3, 2, 2, 0, 1, 5, 5, 0], words: [""])
            // Also when its windows are over, or it would not fit.
            contract.pass(until: 60_000)
            try await contract.expect(
                contract.check(cost: 2, a, b, idempotency: idempotency),
                contract.check(cost: 20, a, b, idempotency: idempotency),
                gives: [-3, firstMs, 3, 2, 2, 0, -3, firstMs, 3, 2, 2, 0], words: ["", ""])
        },
        Case("id: with other arguments") { contract in
            let a = contract.fixed("a", max: 10)
            try await contract.expect(
                contract.check(a, idempotency: ("1", "aaaaaaaaaaaaaaaa", "cccccccccccccccc")),
                contract.check(a, idempotency: ("1", "bbbbbbbbbbbbbbbb", "cccccccccccccccc")),
                contract.check(a, idempotency: ("2", "bbbbbbbbbbbbbbbb", "cccccccccccccccc")), contract.peek(a),
                gives: [1, 1, -4, 1, 2, 1, 2])
        },
        Case("id: of counters that are others now no usage is reported") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.fixed("b", max: 10))
            try await contract.expect(
                contract.check(a, idempotency: ("1", "aaaaaaaaaaaaaaaa", "cccccccccccccccc")),
                contract.check(b, idempotency: ("1", "aaaaaaaaaaaaaaaa", "dddddddddddddddd")),
                contract.check(b, idempotency: ("1", "bbbbbbbbbbbbbbbb", "dddddddddddddddd")), contract.peek(b),
                gives: [1, 1, -3, contract.nowMs, 0, -4, 1, 0], words: [""])
        },
        Case("id: what was refused is not remembered") { contract in
            let a = contract.fixed("a", max: 1)
            let idempotency = (id: "1", arguments: "aaaaaaaaaaaaaaaa", counters: "cccccccccccccccc")
            try await contract.expect(
                contract.check(a, reserve: "1"), contract.check(a, idempotency: idempotency), contract.cancel("1"),
                contract.check(a, idempotency: idempotency), contract.check(a, idempotency: idempotency),
                gives: [1, 1, 0, 1, 1, 1, 1, -3, contract.nowMs, 1, 1], words: [""])
        },
        Case("id: nor is what a window that is over kept from being decided") { contract in
            let idempotency = (id: "1", arguments: "aaaaaaaaaaaaaaaa", counters: "cccccccccccccccc")
            let old = contract.fixed("a", max: 9)
            contract.pass(until: 60_000)
            let now = contract.fixed("a", max: 9)
            try await contract.expect(
                contract.check(old, reserve: "1", idempotency: idempotency),
                contract.check(now, reserve: "2", idempotency: idempotency),
                contract.check(now, reserve: "3", idempotency: idempotency), contract.cancel("1"),
                gives: [-1, 1, 1, -3, contract.nowMs, 1, 1, 0], words: [contract.id("2")])
        },
        Case("id: an answer that a replica gave by itself is remembered, and the first stays") { contract in
            let (a, b) = (contract.fixed("a", max: 10), contract.sliding("b", max: 10))
            let idempotency = (id: "1", arguments: "aaaaaaaaaaaaaaaa", counters: "cccccccccccccccc")
            let thenMs = contract.nowMs - 5_000
            try await contract.expect(
                contract.remember(idempotency, admittedMs: thenMs, reservation: "1", numbers: [4, 6, 2]),
                contract.remember(idempotency, admittedMs: thenMs + 1, reservation: "2", numbers: [5, 7, 3]),
                contract.check(cost: 2, a, b, reserve: "3", idempotency: idempotency),
                contract.check(cost: 2, a, b, idempotency: ("1", "bbbbbbbbbbbbbbbb", "cccccccccccccccc")),
                contract.check(a, idempotency: ("1", "aaaaaaaaaaaaaaaa", "dddddddddddddddd")), contract.peek(a, b),
                gives: [1, 0, -3, -thenMs, 3, 4, 6, 2, -4, -3, -thenMs, 0, 1, 0, 0, 0],
                words: [contract.id("1"), contract.id("1")])
            // An answer that the store itself gave and that was written again is replayed as shared.
            let shared = (id: "2", arguments: "aaaaaaaaaaaaaaaa", counters: "cccccccccccccccc")
            try await contract.expect(
                contract.remember(shared, admittedMs: thenMs, isLocal: false, numbers: [4]),
                contract.check(cost: 2, a, idempotency: shared), contract.check(a), gives: [1, -3, thenMs, 1, 4, 1, 1],
                words: [""])
            // What was charged is not made undone by it.
            let charged = (id: "3", arguments: "aaaaaaaaaaaaaaaa", counters: "cccccccccccccccc")
            try await contract.expect(
                contract.check(a, idempotency: charged), contract.remember(charged, admittedMs: thenMs, numbers: [9]),
                contract.check(a, idempotency: charged), gives: [1, 2, 0, -3, contract.nowMs, 1, 2], words: [""])
        },
        Case("id: numbers of every size are remembered as they are") { contract in
            let idempotency = (id: "1", arguments: "aaaaaaaaaaaaaaaa", counters: "cccccccccccccccc")
            let charges = (0..<8).map { contract.slots("c\($0)", max: 9) }
            let numbers: [Int64] = [
                0, 1, 127, 128, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296, 9_007_199_254_740_991, 9, 15,
                16,
                31, 32, 1_000, 1_000_000, 1_000_000_000, 1_000_000_000_000, 2, 3, 4, 5,
            ]
            var check = contract.check(reserve: "1", idempotency: idempotency)
            check.charges = charges
            let reply = try await contract.run([
                contract.remember(idempotency, admittedMs: contract.nowMs, numbers: numbers), check,
            ])
            guard reply.results == [1, -3, -contract.nowMs, 24] + numbers else {
                throw contract.violation("\(reply.results)", line: #line)
            }
        },
        Case("id: it is forgotten for its own reservation alone") { contract in
            let a = contract.fixed("a", max: 10)
            let idempotency = (id: "1", arguments: "aaaaaaaaaaaaaaaa", counters: "cccccccccccccccc")
            try await contract.expect(
                contract.forget("1", "1"), contract.remember(idempotency, admittedMs: contract.nowMs, reservation: "1"),
                contract.forget("1", "2"), contract.check(a, idempotency: idempotency), contract.forget("1", "1"),
                contract.check(a, reserve: "3", idempotency: idempotency), contract.forget("1", "1"),
                contract.check(a, reserve: "4", idempotency: idempotency),
                gives: [0, 1, 0, -3, -contract.nowMs, 0, 1, 1, 1, 0, -3, contract.nowMs, 1, 1],
                words: [contract.id("1"), contract.id("3")])
            // Nor does a cancel forget what is of another call by now.
            try await contract.expect(
                contract.check(a, reserve: "5", idempotency: ("2", "aaaaaaaaaaaaaaaa", "cccccccccccccccc")),
                contract.forget("2", "5"),
                contract.remember(("2", "aaaaaaaaaaaaaaaa", "cccccccccccccccc"), admittedMs: 7, reservation: "6"),
                contract.cancel("5"), contract.check(a, idempotency: ("2", "aaaaaaaaaaaaaaaa", "cccccccccccccccc")),
                gives: [1, 2, 1, 1, 1, -3, -7, 0], words: [contract.id("6")])
            // What is no memo stays as it is.
            try await contract.store.set(contract.key("id:3"), "12")
            try await contract.expect(
                contract.remember(("3", "aaaaaaaaaaaaaaaa", "cccccccccccccccc"), admittedMs: 7),
                contract.forget("3", "1"), gives: [0, 0])
            try await contract.expect(contract.key("id:3"), holds: "12")
        },
        Case("id: with a reservation") { contract in
            let end = contract.nowMs + 3_600_000
            let (a, slots) = (contract.fixed("a", max: 10).shadow(), contract.slots("c", max: 1))
            let idempotency = (id: "1", arguments: "aaaaaaaaaaaaaaaa", counters: "cccccccccccccccc")
            try await contract.expect(
                contract.check(cost: 4, a, slots, reserve: "1", idempotency: idempotency),
                contract.check(cost: 4, a, slots, reserve: "2", idempotency: idempotency),
                gives: [1, 4, 0, 1, end, end, -3, contract.nowMs, 5, 4, 0, 1, end, end], words: [contract.id("1")])
            // The second has reserved nothing. When the first is cancelled, the call was never made and is decided
            // again.
            try await contract.expect(
                contract.cancel("2"), contract.cancel("1"), contract.peek(a, slots),
                contract.check(cost: 4, a, slots, reserve: "3", idempotency: idempotency),
                gives: [0, 1, 1, 0, 0, 0, 0, 0, 1, 4, 0, 1, end, end])
            // What it cost in the end is no matter of what is remembered.
            try await contract.expect(
                contract.commit("3", 0), contract.check(cost: 4, a, slots, reserve: "4", idempotency: idempotency),
                gives: [1, -3, contract.nowMs, 5, 4, 0, 1, end, end], words: [contract.id("3")])
        },
    ]

    /// Values that another client may have written in place of a usage.
    private static let noTallies = [
        "many", "1.5", "", "1 2", "1x", "-1", "-3", "-9007199254740992", "-9223372036854775808", "9007199254740993",
        "9007199254740994", "9223372036854775802", "9223372036854775807",
    ]
    private static let noBuckets = [
        "many", "7", "1 2 3 4", "1.5 7", "x 7", "7 x", "", " ", "-1 7", "1 -7", "1 7 -1", "9007199254740993 7",
        "7 9007199254740993", "7 7 9007199254740993",
    ]

    static let faultCases: [Case] = [
        Case("fault: hurts its own entry only, and charges nothing") { contract in
            let (a, b) = (contract.fixed("a", max: 9), contract.fixed("b", max: 9))
            let bad = contract.fixed("bad", max: 9)
            try await contract.store.setList(bad.keys[0])
            try await contract.expect(
                contract.check(a), contract.check(cost: 2, count: 2, b, bad), contract.check(bad, b),
                contract.peek(b, bad), contract.check(b), gives: [1, 1, -2, -2, -2, 1, 1])
        },
        Case("fault: nothing of any algorithm") { contract in
            let bad = contract.sliding("bad", max: 9)
            try await contract.store.setList(bad.keys[0])
            let (a, b) = (contract.fixed("a", max: 9), contract.sliding("b", max: 9))
            let (bucket, slots) = (contract.bucket("c", max: 6, burst: 5), contract.slots("d", max: 5))
            try await contract.expect(
                contract.check(
                    a, b, bucket, slots, bad, reserve: "1", idempotency: ("1", "aaaaaaaaaaaaaaaa", "cccccccccccccccc")),
                contract.cancel("1"), contract.peek(a, b, bucket, slots),
                contract.check(a, idempotency: ("1", "bbbbbbbbbbbbbbbb", "cccccccccccccccc")),
                gives: [-2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1])
        },
        Case("fault: a window that is no number") { contract in
            for (index, text) in noTallies.enumerated() {
                let (a, b) = (contract.fixed("a\(index)", max: 9), contract.sliding("b\(index)", max: 9))
                let (c, d) = (contract.sliding("c\(index)", max: 9), contract.fixed("d\(index)", max: 9).shadow())
                let (e, f) = (contract.fixed("e\(index)", max: 9), contract.fixed("f\(index)", max: 9))
                for key in [a.keys[0], b.keys[0], c.keys[1], d.keys[1]] { try await contract.store.set(key, text) }
                try await contract.expect(
                    contract.check(a), contract.peek(a), contract.check(b), contract.peek(b), contract.check(c),
                    contract.peek(c), contract.check(d), contract.peek(d), gives: [-2, -2, -2, -2, -2, -2, -2, -2])
                try await contract.expect(a.keys[0], holds: text)
                try await contract.expect(d.keys[0], holds: nil)
                // Nor is anything charged beside it, however much is asked for, and whatever comes first.
                try await contract.expect(
                    contract.check(cost: 9, count: 5, e, a), contract.check(cost: 9, count: 5, a, f),
                    contract.check(count: 9, a), contract.check(cost: 1_000_000_000_000, a),
                    contract.peek(e, f), gives: [-2, -2, -2, -2, 1, 0, 0])
                try await contract.expect(a.keys[0], holds: text)
            }
        },
        Case("fault: the largest usage is one, and leaves room for nothing") { contract in
            let (a, b) = (contract.fixed("a", max: 1_000_000_000_000), contract.sliding("b", max: 1_000_000_000_000))
            let (c, d) = (contract.fixed("c", max: Quota.maxExact), contract.fixed("d", max: 9))
            let most = Quota.maxExact
            for charge in [a, b, c] { try await contract.store.set(charge.keys[0], "\(most)") }
            try await contract.expect(
                contract.check(a), contract.check(cost: 1_000_000_000_000, a), contract.peek(a), contract.check(c),
                contract.check(d, a), contract.check(a, d),
                gives: [0, most, 0, most, 0, most, 0, most, 0, 0, most, 0, most, 0])
            try await contract.expect(contract.check(b), contract.peek(b), gives: [0, most, 0, 0, most, 0])
            for charge in [a, b, c] { try await contract.expect(charge.keys[0], holds: "\(most)") }
        },
        Case("fault: a token bucket that is none") { contract in
            for (index, text) in noBuckets.enumerated() {
                let a = contract.bucket("a\(index)", max: 6, burst: 9)
                try await contract.store.set(a.keys[0], text)
                try await contract.expect(contract.check(a), contract.peek(a), gives: [-2, -2])
                try await contract.expect(a.keys[0], holds: text)
            }
            let list = contract.bucket("list", max: 6, burst: 9)
            try await contract.store.setList(list.keys[0])
            try await contract.expect(contract.check(list), contract.peek(list), gives: [-2, -2])
        },
        Case("fault: slots that are none") { contract in
            let (text, list) = (contract.slots("text", max: 6), contract.slots("list", max: 6))
            try await contract.store.set(text.keys[0], "1")
            try await contract.store.setList(list.keys[0])
            try await contract.expect(
                contract.check(text, reserve: "1"), contract.peek(text), contract.check(list, reserve: "2"),
                contract.peek(list), gives: [-2, -2, -2, -2])
            // A slot that nobody would ever free.
            let endless = contract.slots("endless", max: 6)
            try await contract.store.setSlot(endless.keys[0], expiresAtMs: Quota.maxExact + 2)
            try await contract.expect(
                contract.check(endless, reserve: "3"), contract.peek(endless), gives: [-2, -2])
        },
        Case("fault: slots that cannot be freed stay taken, and are said to") { contract in
            let (a, slots, bad) = (
                contract.fixed("a", max: 9), contract.slots("c", max: 1), contract.slots("d", max: 1)
            )
            let end = contract.nowMs + 3_600_000
            let held = [1, end, end]
            try await contract.expect(
                contract.check(cost: 4, a, slots, bad, reserve: "1"), gives: [1, 4] + held + held)
            try await contract.store.setList(bad.keys[0])
            try await contract.expect(
                contract.release("1"), contract.cancel("1"), contract.peek(a), gives: [-2, -2, 1, 4])
            // The key is gone: so are the slots, and the rest is settled.
            try await contract.store.delete(bad.keys[0])
            try await contract.expect(
                contract.release("1"), contract.cancel("1"), contract.cancel("1"), contract.peek(a, slots, bad),
                gives: [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0])
        },
        Case("fault: a record or a memory that is none") { contract in
            let a = contract.fixed("a", max: 9)
            try await contract.store.setList(contract.recordKey("1"))
            try await contract.store.setList(contract.key("id:1"))
            try await contract.store.set(contract.key("id:2"), "garbage")
            try await contract.store.set(contract.key("id:3"), "")
            let hash = "aaaaaaaaaaaaaaaa"
            try await contract.expect(
                contract.commit("1", 1), contract.cancel("1"), contract.release("1"),
                contract.check(a, idempotency: ("1", hash, hash)), contract.check(a, idempotency: ("2", hash, hash)),
                contract.check(a, idempotency: ("3", hash, hash)), contract.peek(a),
                gives: [-2, -2, -2, -2, -2, -2, 1, 0])
        },
    ]

    static let markerCases: [Case] = [
        Case("marker: a batch that was overtaken charges nothing") { contract in
            let a = contract.fixed("a", max: 9)
            try await contract.expect(contract.check(a), gives: [1, 1])
            let last = contract.sequence
            for sequence in [last, last - 1] {
                let reply = try await contract.run([contract.check(a)], sequence: sequence, acknowledged: 0)
                guard reply.status == .outOfOrder, reply.previousSequence == last, reply.results.isEmpty else {
                    throw contract.violation("\(reply)", line: #line)
                }
            }
            let next = try await contract.run([contract.check(a)], sequence: last + 5, acknowledged: last)
            guard next.status == .ran, next.previousSequence == last, next.results == [1, 2] else {
                throw contract.violation("\(next)", line: #line)
            }
        },
        Case("marker: a batch whose required one did not run charges nothing") { contract in
            let a = contract.fixed("a", max: 9)
            try await contract.expect(contract.check(a), gives: [1, 1])
            let last = contract.sequence
            for sequence in [last + 2, last + 3] {
                let reply = try await contract.run(
                    [contract.check(a)], sequence: sequence, acknowledged: last, required: last + 1)
                guard reply.status == .outOfOrder, reply.previousSequence == last, reply.results.isEmpty else {
                    throw contract.violation("\(reply)", line: #line)
                }
            }
            // A heartbeat that ran in its place does not stand for it.
            let beat = try await contract.run(
                [contract.heartbeat(lifeMs: 30_000)], sequence: last + 4, acknowledged: last)
            let behind = try await contract.run(
                [contract.check(a)], sequence: last + 5, acknowledged: last, required: last + 1)
            guard beat.previousSequence == last, behind.status == .outOfOrder, behind.previousSequence == last + 4
            else { throw contract.violation("\(beat), \(behind)", line: #line) }
            let next = try await contract.run(
                [contract.check(a)], sequence: last + 6, acknowledged: last, required: last)
            guard next.status == .ran, next.previousSequence == last, next.results == [1, 2] else {
                throw contract.violation("\(next)", line: #line)
            }
        },
        Case("marker: a batch that charges nothing says nothing of those before it") { contract in
            let a = contract.fixed("a", max: 9)
            try await contract.expect(contract.check(a), gives: [1, 1])
            let last = contract.sequence
            // Signs of life alone, with two batches missing before the first: neither may run any more.
            for sequence in [last + 3, last + 4] {
                let reply = try await contract.run(
                    [contract.heartbeat(lifeMs: 30_000)], sequence: sequence, acknowledged: last)
                guard reply.status == .ran, reply.previousSequence == last else {
                    throw contract.violation("\(reply)", line: #line)
                }
            }
            for sequence in [last, last + 1, last + 4] {
                let reply = try await contract.run([contract.check(a)], sequence: sequence, acknowledged: last)
                guard reply.status == .outOfOrder, reply.previousSequence == last + 4 else {
                    throw contract.violation("\(reply)", line: #line)
                }
            }
            let next = try await contract.run([contract.check(a)], sequence: last + 5, acknowledged: last + 4)
            guard next.status == .ran, next.previousSequence == last, next.results == [1, 2] else {
                throw contract.violation("\(next)", line: #line)
            }
            let after = try await contract.run(
                [contract.heartbeat(lifeMs: 30_000)], sequence: last + 6, acknowledged: last + 5)
            guard after.status == .ran, after.previousSequence == last + 5 else {
                throw contract.violation("\(after)", line: #line)
            }
        },
        Case("marker: what no script wrote counts as forgotten, and is written again") { contract in
            let a = contract.fixed("a", max: 1_000)
            let strange: [String?] = [
                nil, "", " ", "foo", "1.5", "1e3", "1e999", "nan", "inf", "-inf", "0x10", " 12", "12 ", "+12", "1 2 3",
                "-5 7", "7 5", "7 x", "--1", "9007199254740993", "-9007199254740993", "9223372036854775807",
                "-9223372036854775808", "99999999999999999999999999", "9007199254740992", "4503599627370497",
                "1 4503599627370497",
            ]
            var used: Int64 = 0
            for text in strange {
                used += 1
                try await contract.expect(contract.check(a), gives: [1, used])
                try await contract.store.setMarker(text)
                let last = contract.sequence
                let loss = try await contract.run([contract.check(a)])
                guard loss.status == .forgot, loss.forgotSinceMs > 0, loss.results.isEmpty,
                    loss.words.count == 1, text == nil || loss.words == [text ?? ""]
                else { throw contract.violation("\(text ?? "a list"): \(loss)", line: #line) }
                // From here on it behaves like any store that lost its data.
                let again = try await contract.run([contract.check(a)], acknowledged: last)
                guard again.status == .forgot, again.words.isEmpty, again.forgotSinceMs == loss.forgotSinceMs else {
                    throw contract.violation("\(text ?? "a list"): \(again)", line: #line)
                }
                used += 1
                let next = try await contract.run([contract.check(a)], lossMs: loss.forgotSinceMs)
                guard next.status == .ran, next.previousSequence == 0, next.results == [1, used] else {
                    throw contract.violation("\(text ?? "a list"): \(next)", line: #line)
                }
            }
        },
        Case("marker: one that is ahead is reported, as far as a replica follows it") { contract in
            let a = contract.fixed("a", max: 9)
            try await contract.expect(contract.check(a), gives: [1, 1])
            for text in ["4503599627370496", "17 4503599627370496"] {
                try await contract.store.setMarker(text)
                let reply = try await contract.run([contract.check(a)])
                guard reply.status == .outOfOrder, reply.previousSequence == 1 << 52 else {
                    throw contract.violation("\(text): \(reply)", line: #line)
                }
            }
            let next = try await contract.run([contract.check(a)], sequence: (1 << 52) + 1)
            let after = try await contract.run([contract.check(a)])
            guard next.status == .ran, after.status == .ran, after.results == [1, 3],
                after.previousSequence == (1 << 52) + 1
            else { throw contract.violation("\(next), \(after)", line: #line) }
            // Those that come after it begin low again.
            try await contract.store.setMarker("0")
            contract.beginAgain()
        },
        Case("marker: a store that forgot charges nothing, until the replica knows") { contract in
            let a = contract.fixed("a", max: 9)
            let last = contract.sequence + 10
            // The store has none of the batches that the replica acknowledged. A batch number acknowledged before the
            // loss was reported, or a loss reported by an earlier store, is no acknowledgement: the first of these may
            // have arrived late.
            var sinceMs: Int64 = 0
            for (offset, acknowledged, loss) in [(0, last - 1, 0), (1, last - 1, 0), (2, last, 0), (3, last + 2, 7)] {
                let reply = try await contract.run(
                    [contract.check(a)], sequence: last + Int64(offset), acknowledged: acknowledged, lossMs: Int64(loss)
                )
                guard reply.status == .forgot, reply.results.isEmpty, reply.forgotSinceMs > 0,
                    sinceMs == 0 || sinceMs == reply.forgotSinceMs
                else { throw contract.violation("\(reply)", line: #line) }
                sinceMs = reply.forgotSinceMs
            }
            let next = try await contract.run(
                [contract.check(a)], sequence: last + 5, acknowledged: last, lossMs: sinceMs)
            guard next.status == .ran, next.previousSequence == 0, next.results == [1, 1] else {
                throw contract.violation("\(next)", line: #line)
            }
            try await contract.expect(contract.check(a), gives: [1, 2])
        },
    ]
}
