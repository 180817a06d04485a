import SluiceEngine

/// Overrides: a list with a version, of which each change returns all.
extension StoreContract {
    private func list(known: Int64 = 0, _ change: OverrideChange? = nil) -> Entry {
        Entry(operation: .overrides(known: known, change: change), specialKeys: [key("overrides")])
    }

    private func set(_ grant: String, _ max: Int64, forMs: Int64 = 3_600_000, known: Int64 = 0) -> Entry {
        list(known: known, OverrideChange(grant: grant, rule: "/r x", max: max, forMs: forMs))
    }

    static let overrideCases: [Case] = [
        Case("overrides: one is set, replaced and ended, and each change has a version of its own") { contract in
            let (now, end) = (contract.nowMs, contract.nowMs + 3_600_000)
            let (g, h) = ("g:/r%20x", "h:/r%20x")
            try await contract.expect(
                contract.list(), contract.set("g", 50), contract.set("h", 0, forMs: 60_000), contract.set("g", 60),
                contract.list(), contract.list(known: now + 2), contract.set("h", 0, forMs: 0),
                contract.set("h", 0, forMs: 0),
                gives: [1, 0, 1, now, 1, now + 1, 1, now + 2, 1, now + 2, 1, now + 2, 1, now + 3, 0, now + 3],
                words: [
                    "", "\(g) 50 \(end)", "\(g) 50 \(end) \(h) 0 \(now + 60_000)",
                    "\(h) 0 \(now + 60_000) \(g) 60 \(end)", "\(h) 0 \(now + 60_000) \(g) 60 \(end)", "",
                    "\(g) 60 \(end)", "\(g) 60 \(end)",
                ])
            let key = contract.key("overrides")
            try await contract.expect(key, holds: "\(now + 3) \(g) 60 \(end)")
            try await contract.expect(contract.set("g", 0, forMs: 0), gives: [1, now + 4], words: [""])
            try await contract.expect(key, holds: "\(now + 4)")
        },
        Case("overrides: they end by themselves") { contract in
            let now = contract.nowMs
            let list = "g:/r%20x 50 \(now + 1_000)"
            try await contract.expect(contract.set("g", 50, forMs: 1_000), gives: [1, now], words: [list])
            contract.pass(until: 999)
            try await contract.expect(contract.list(), gives: [1, now], words: [list])
            contract.pass(until: 1_000)
            try await contract.expect(
                contract.list(), contract.set("g", 0, forMs: 0), gives: [1, now, 0, now], words: ["", ""])
        },
        Case("overrides: no more than their bound, beside checks") { contract in
            let now = contract.nowMs
            let names = (0..<EngineBounds.maxOverrides).map { "g\($0):/r 1 \(now + 60_000)" }
            try await contract.store.set(contract.key("overrides"), "7 \(names.joined(separator: " "))")
            let a = contract.fixed("a", max: 10)
            let reply = try await contract.run([contract.set("another", 5), contract.check(a)])
            guard reply.results == [2, 7, 1, 1], reply.words == [names.joined(separator: " ")] else {
                throw contract.violation("\(reply.results)", line: #line)
            }
        },
        Case("overrides: what is no list is a fault, and left") { contract in
            let key = contract.key("overrides")
            try await contract.store.set(key, "many")
            try await contract.expect(contract.list(), contract.set("g", 1), gives: [-2, -2])
            try await contract.expect(key, holds: "many")
            try await contract.store.delete(key)
            try await contract.store.setList(key)
            try await contract.expect(contract.list(), gives: [-2])
        },
    ]
}
