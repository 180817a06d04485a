import SluiceEngine

extension Fleet {
    /// - Parameter nowMs: since the epoch.
    init(random: inout SeededRandom, nowMs: Int) {
        day = FleetDay(atMs: nowMs)
        var maker = Maker(random: random)
        documents["base"] = maker.document()
        documents["pro"] = maker.document(base: "base")
        documents["free"] = maker.document(base: maker.once(in: 2) ? "base" : "pro")
        documents["audit"] = maker.document(base: maker.once(in: 2) ? "base" : nil, isShadow: true)
        documents["wide"] = maker.document()
        let stream = Limit(counter: "c", max: 1_000_000, window: FleetStream.windowSeconds)
        documents["brief"] = Document(
            rules: Rules(defaultAllows: false, tools: [FleetStream.tool: Tool(limits: [stream])]))
        grants = [
            "pro-*": Entry(document: "pro"), "free-1": Entry(document: "free"), "audit": Entry(document: "audit"),
            FleetStream.grant: Entry(document: "brief"),
            "*-nightly": Entry(document: maker.one(of: ["pro", "wide", "free"])),
        ]
        if maker.once(in: 2) { grants["*"] = Entry(document: "wide") } else { grants["g*"] = Entry(document: "wide") }
        let reference = FleetReference(self)
        for grant in ["pro-*", "*-nightly", "free-1"] where maker.once(in: 2) {
            guard let document = grants[grant]?.document else { continue }
            for (rule, limit) in reference.limits(ofDocument: document)
            where limit.algorithm != .tokenBucket && maker.once(in: 4) {
                grants[grant]?.maxima[rule] = maker.one(of: [1, 3, 7, 25])
            }
        }
        random = maker.random
    }

    private struct Maker {
        var random: SeededRandom
        private var counters = 0

        init(random: SeededRandom) { self.random = random }

        mutating func one<Element>(of elements: [Element]) -> Element {
            elements[Int(random.next() % UInt64(elements.count))]
        }

        mutating func once(in count: UInt64) -> Bool { random.next() % count == 0 }

        private mutating func some<Element>(of elements: [Element], one count: UInt64 = 2) -> [Element] {
            elements.filter { _ in once(in: count) }
        }

        mutating func document(base: String? = nil, isShadow: Bool = false) -> Document {
            var document = Document(base: base, isShadow: isShadow, rules: rules(isPart: base != nil))
            if base == nil || once(in: 2) { document.rules.allTools.append(shared()) }
            if base == nil || once(in: 3) {
                for server in ["github", "*"] where once(in: 2) {
                    document.servers[server] = rules(isPart: once(in: 2), hasSlots: false)
                }
            }
            return document
        }

        /// One that grants of several documents have.
        private mutating func shared() -> Limit {
            once(in: 2)
                ? Limit(counter: "everybody", max: 400, scope: "global")
                : Limit(counter: "team", max: one(of: [20, 60]), scope: "attribute:team", acrossGrants: true)
        }

        private mutating func rules(isPart: Bool, hasSlots: Bool = true) -> Rules {
            var rules = Rules(defaultAllows: isPart && once(in: 2) ? nil : once(in: 2))
            if rules.defaultAllows == nil, !isPart { rules.defaultAllows = false }
            rules.hidden = some(of: ["github_push", "*_send", "o*"], one: 6)
            if once(in: 2) { rules.allTools = [limit(maxima: [30, 80])] }
            for name in some(of: Fleet.tools + Fleet.patterns) { rules.tools[name] = tool(name) }
            // A pattern must not be for the tool that reserves: a check then says so in vain.
            let isOpen = once(in: 4)
            rules.tools["slots"] =
                hasSlots
                ? Tool(limits: [slots()] + (once(in: 2) ? [limit()] : []), isShadow: isOpen) : nil
            if once(in: 2) {
                let tools = some(of: ["search", "fetch_*", "*_list", "run"]) + ["fetch_a"]
                rules.groups["browsing"] = (tools, [limit(), limit()])
            }
            if once(in: 3) { rules.groups["all"] = (["*"], [limit(maxima: [50])]) }
            return rules
        }

        private mutating func tool(_ name: String) -> Tool {
            var tool = Tool()
            tool.action = one(of: [.allow, .allow, .allow, .allow, .allow, .deny, .approve])
            if name.contains("*") { tool.eachTool = once(in: 2) }
            if tool.action != .deny {
                tool.limits = (0..<one(of: [0, 1, 1, 2])).map { _ in limit() }
                tool.hours = one(of: [.always, .always, .always, .open, .closed])
            }
            tool.isShadow = once(in: 6)
            return tool
        }

        private mutating func slots() -> Limit {
            counters += 1
            return Limit(counter: "c\(counters)", max: one(of: [1, 3]), algorithm: .concurrency)
        }

        private mutating func limit(maxima: [Int] = [3, 8, 20, 50]) -> Limit {
            counters += 1
            var limit = Limit(counter: "c\(counters)", max: one(of: maxima))
            if once(in: 15) { limit.max = 0 }
            if limit.max > 0 {
                limit.algorithm = one(of: [.fixedWindow, .fixedWindow, .slidingWindow, .slidingLog, .tokenBucket])
            }
            limit.scope = one(of: ["grant", "grant", "session", "server", "attribute:team"])
            limit.countsCalls = once(in: 4)
            limit.isShadow = once(in: 5)
            return limit
        }
    }
}
