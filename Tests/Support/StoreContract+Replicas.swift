import SluiceEngine

/// What replicas report to a store: what they last saw of its counters, and heartbeats.
extension StoreContract {
    func restore(_ used: Int64, _ charge: Charge) -> Entry {
        Entry(cost: used, count: 1, charges: [charge], operation: .restore)
    }

    func heartbeat(lifeMs: Int64, writtenBackMs: Int64 = 0) -> Entry {
        Entry(
            operation: .heartbeat(lifeMs: lifeMs, writtenBackMs: writtenBackMs),
            specialKeys: [key("replicas"), key("written-back")])
    }

    /// A charge that passes whatever is used.
    func unlimited(_ charge: Charge) -> Charge {
        var charge = charge
        charge.quota.max = Quota.maxExact
        return charge
    }

    static let offerCases: [Case] = [
        Case("an offer begins a window that was forgotten") { contract in
            let window = contract.fixed("w", max: 10)
            try await contract.expect(contract.restore(7, window), gives: [1, 7])
            try await contract.expect(contract.fixedKey("w"), holds: "7")
            try await contract.expect(contract.fixedKey("w"), expiresAt: 120_000)
            try await contract.expect(contract.check(count: 9, window), gives: [3, 10])
        },
        Case("an offer raises a window, never lowers it, and never adds") { contract in
            let window = contract.fixed("w", max: 10)
            try await contract.expect(contract.check(count: 4, window), gives: [4, 4])
            try await contract.expect(contract.restore(3, window), contract.restore(4, window), gives: [1, 4, 1, 4])
            try await contract.expect(contract.restore(6, window), contract.restore(6, window), gives: [1, 6, 1, 6])
        },
        Case("an offer may be more than the maximum is now") { contract in
            try await contract.expect(contract.restore(30, contract.fixed("w", max: 10)), gives: [1, 30])
            try await contract.expect(contract.check(contract.fixed("w", max: 10)), gives: [0, 30])
        },
        Case("an offer for a window that is over is not taken") { contract in
            let window = contract.fixed("w", max: 10)
            contract.pass(until: 60_000)
            try await contract.expect(contract.restore(7, window), gives: [BatchReply.windowIsOver])
        },
        Case("an offer of a bucket is its level, which leaks on") { contract in
            let limit = contract.bucket("b", max: 60, burst: 10)
            var level = limit
            level.quota.lengthMs = 1
            level.quota.burst = Quota.maxExact
            try await contract.expect(contract.restore(6 * 60_000, level), gives: [1, 6 * 60_000])
            contract.pass(until: 1_000)
            try await contract.expect(contract.restore(5 * 60_000, level), gives: [1, 5 * 60_000])
            try await contract.expect(contract.check(count: 9, limit), gives: [5, 10 * 60_000])
        },
        Case("an offer to a key that is no counter fails alone") { contract in
            try await contract.store.setList(contract.fixedKey("w"))
            try await contract.expect(
                contract.restore(7, contract.fixed("w", max: 10)), contract.restore(2, contract.fixed("v", max: 10)),
                gives: [BatchReply.fault, 1, 2])
        },
    ]

    static let additionCases: [Case] = [
        Case("what was admitted elsewhere is added beyond the maximum") { contract in
            let window = contract.fixed("w", max: 10)
            try await contract.expect(contract.check(count: 8, window), gives: [8, 8])
            try await contract.expect(
                contract.check(cost: 5, contract.unlimited(window)), contract.check(window), gives: [1, 13, 0, 13])
        },
        Case("a sliding window's key takes additions while the window after it is open") { contract in
            let limit = contract.sliding("w", max: 10)
            let key = limit.keys[0]
            let counted = Charge(
                keys: [key],
                quota: .fixedWindow(
                    max: Quota.maxExact, window: limit.quota.windowStartMs..<limit.quota.nextEndMs))
            contract.pass(until: 60_000)
            try await contract.expect(contract.check(cost: 6, counted), gives: [1, 6])
            try await contract.expect(key, expiresAt: 180_000)
            try await contract.expect(contract.peek(contract.sliding("w", max: 10)), gives: [1, 0, 6])
        },
        Case("a bucket takes additions as a level") { contract in
            let limit = contract.bucket("b", max: 60, burst: 10)
            var level = limit
            level.quota.lengthMs = 1
            level.quota.burst = Quota.maxExact
            try await contract.expect(contract.check(count: 8, limit), gives: [8, 8 * 60_000])
            try await contract.expect(contract.check(cost: 90_000, level), gives: [1, 8 * 60_000 + 90_000])
            try await contract.expect(contract.check(limit), gives: [0, 8 * 60_000 + 90_000])
            try await contract.expect(limit.keys[0], expiresAt: 60_000 + 60_000)
        },
    ]

    static let heartbeatCases: [Case] = [
        Case("a heartbeat is reported until its time is over") { contract in
            let first = try await contract.run([contract.heartbeat(lifeMs: 30_000)])
            guard first.results.count == 6, first.results[0...1] == [1, 1],
                first.results[3...] == [contract.startMs, 0, 0]
            else {
                throw contract.violation("\(first.results)", line: #line)
            }
            contract.pass(until: 20_000)
            let second = try await contract.run([contract.heartbeat(lifeMs: 30_000)])
            guard second.results == [1, 1, first.results[2], contract.nowMs, 0, 0] else {
                throw contract.violation("\(second.results) after \(first.results)", line: #line)
            }
        },
        Case(
            "that a replica had nothing to write back is listed as it sent it, until it is as old as heartbeats may be"
        ) {
            contract in
            let sentMs = contract.startMs - 700
            var listed: [Int64?] = []
            for (offsetMs, writtenBackMs) in [(0, sentMs), (0, 0), (20_000, contract.startMs + 1)] {
                // The last one was sent long before: the store did not see to it earlier.
                contract.pass(until: Int64(offsetMs))
                let heartbeat = contract.heartbeat(lifeMs: 30_000, writtenBackMs: writtenBackMs)
                listed.append(try await contract.run([heartbeat]).results.dropLast().last)
            }
            guard listed == [sentMs, sentMs, contract.startMs + 1] else {
                throw contract.violation("\(listed)", line: #line)
            }
        },
        Case("what names no replica is passed over, and taken out of the list") { contract in
            let key = contract.key("replicas")
            let lifeMs: Int64 = 30_000
            for member in ["", "x", "9", "00000000000000FF", "0x00000000000009", "two words", " 00000000000009 "] {
                try await contract.store.addToReplicas(key, member, "\(contract.nowMs)")
            }
            for score in ["1e300", "+inf", "\(contract.nowMs + lifeMs + 1)", "\(contract.nowMs - 1).5"] {
                try await contract.store.addToReplicas(key, "000000000000000" + score.suffix(1).lowercased(), score)
            }
            try await contract.store.addToReplicas(key, "00000000000000aa", "\(contract.nowMs - 1)")
            let first = try await contract.run([contract.heartbeat(lifeMs: lifeMs)])
            guard first.results.count == 9, first.results[8] == 7 else {
                throw contract.violation("\(first.results)", line: #line)
            }
            let reported = [1, 2, first.results[2], contract.nowMs, 0, 0xaa, contract.nowMs - 1, 0]
            guard first.results == reported + [7] else { throw contract.violation("\(first.results)", line: #line) }
            try await contract.expect(contract.heartbeat(lifeMs: lifeMs), gives: reported + [0])
            try await contract.store.addToReplicas(key, "x", "1")
            try await contract.store.addToReplicas(key, "y", "\(contract.nowMs)")
            let next = try await contract.run([contract.heartbeat(lifeMs: lifeMs)])
            guard next.results.last == 1 else { throw contract.violation("\(next.results)", line: #line) }
        },
        Case("a heartbeat beside checks") { contract in
            let window = contract.fixed("w", max: 10)
            let reply = try await contract.run([
                contract.check(window), contract.heartbeat(lifeMs: 1_000), contract.check(window),
            ])
            guard reply.results.prefix(4) == [1, 1, 1, 1], reply.results.suffix(3) == [0, 1, 2] else {
                throw contract.violation("\(reply.results)", line: #line)
            }
        },
    ]
}
