import Support
import Testing

extension Integration {
    /// Whose calls share a counter, and whose never do.
    @Suite struct Scopes {
        private static let max = 1_000

        private static func limit(_ scope: String, acrossGrants: Bool = false) -> String {
            Document.limit(
                "c", max: max, #""scope": "\#(scope)""# + (acrossGrants ? #", "across_grants": true"# : ""))
        }

        private static let policy = Document.tools([
            "grant": [limit("grant")], "session": [limit("session")], "server": [limit("server")],
            "global": [limit("global")], "team": [limit("attribute:team")],
            "any session": [limit("session", acrossGrants: true)],
            "any server": [limit("server", acrossGrants: true)],
            "any team": [limit("attribute:team", acrossGrants: true)],
        ])

        /// A tool, what names its scope in one way and in another, and what concerns another scope.
        private static let tools: [(tool: String, one: [String], other: [String], beside: [String])] = [
            ("session", ["SESSION", "a"], ["SESSION", "b"], ["SERVER", "x", "ATTR", "team", "red"]),
            ("server", ["SERVER", "a"], ["SERVER", "b"], ["SESSION", "x", "ATTR", "team", "red"]),
            ("team", ["ATTR", "team", "a"], ["ATTR", "team", "b"], ["ATTR", "Team", "b", "SESSION", "b"]),
        ]

        @Test(arguments: Desk.Store.allCases)
        func areSharedWithinTheScopeOnly(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.policy)
            func left(_ client: RedisClient, _ words: [String]) throws -> Int {
                let reply = try CheckReply(client.command(["CHECK"] + words))
                #expect(reply.allowed && reply.source == desk.source && reply.limit == Self.max)
                return reply.remaining
            }
            let (alice, bob) = (Grants.next("alice"), Grants.next("bob"))
            for (tool, one, other, beside) in Self.tools {
                #expect(try left(desk.one, [alice, tool] + one) == 999)
                #expect(try left(desk.other, [alice, tool] + one + beside) == 998)
                #expect(try left(desk.other, [alice, tool] + other) == 999)
                #expect(try left(desk.one, [bob, tool] + one) == 999)
                // A check without the identity counts for the grant alone.
                #expect(try left(desk.one, [alice, tool] + beside) == 999)
                #expect(try left(desk.other, [alice, tool]) == 998)
                #expect(try left(desk.other, [bob, tool]) == 999)

                let across = "any \(tool)"
                #expect(try left(desk.one, [alice, across] + one) == 999)
                #expect(try left(desk.other, [bob, across] + one) == 998)
                #expect(try left(desk.other, [bob, across] + other) == 999)
                #expect(try left(desk.one, [alice, across]) == 999)
                #expect(try left(desk.other, [alice, across]) == 998)
                #expect(try left(desk.other, [bob, across]) == 999)
            }
            #expect(try left(desk.one, [alice, "grant", "SESSION", "a"]) == 999)
            #expect(try left(desk.other, [alice, "grant", "SERVER", "b"]) == 998)
            #expect(try left(desk.other, [bob, "grant"]) == 999)
            #expect(try left(desk.one, [alice, "global"]) == 999)
            #expect(try left(desk.other, [bob, "global", "SESSION", "a"]) == 998)
            try checkEveryCounterIsShown(desk)
        }

        /// Every one of them is found again by its key: of each tool five, four where grants share that of one session;
        /// two of the grants alone, and one of all.
        private func checkEveryCounterIsShown(_ desk: Desk) throws {
            for client in desk.both {
                let answer = try client.command("COUNTERS")
                let counters = answer["counters"]?.elements ?? []
                #expect(counters.count == 3 * (5 + 4) + 3)
                #expect(counters.allSatisfy { $0["max"] == .integer(Self.max) && $0["rule"]?.text != "" })
                let subjects = Set(counters.compactMap { $0["subject"]?.text })
                #expect(
                    subjects == [
                        "", "global", "session=a", "session=b", "server=a", "server=b", "attribute:team=a",
                        "attribute:team=b",
                    ])
            }
        }

        /// Names that look like parts of a key, like each other, or like what they are not.
        static let names: [String] = [
            "a", "A", "a b", " a", "a ", "a\u{A0}b", "{a}", "}", "a}:session:c:f60:0", "a:b", ":", "%",
            "%61",
            "a%3Ab", "%25", ";s=a", "c;s=a", "session=a", "=", "a=", "attribute=team=a", "global=",
            "global",
            "all_tools", "all%5Ftools", "*", "?", "[a]", "\\", "\"", "\r\n", "$1\r\na", "\t", "reservation:1", "id:a",
            "é", "e\u{301}", "ß", "SS", "😀", "👩‍👩‍👧", "\u{200B}a", "\u{202E}a", "ａ", "null", "0", "-1", "undefined", "..",
            "/", "a~1b",
            String(repeating: "x", count: 256), String(repeating: "x", count: 255) + "y",
            String(repeating: "x", count: 255), String(repeating: "😀", count: 64),
        ]

        /// Every name as a grant, with every name as what else is counted by: no two of these share a count.
        @Test func noTwoNamesShareACount() async throws {
            let pair = try await Pair(policy: Self.policy)
            let clients = try pair.both.map { try $0.client() }
            let names = Self.names
            let few = names.indices.filter { $0 % 4 == 0 }.map { names[$0] }
            var checks: [[String]] = []
            for grant in few {
                checks += names.map { [grant, "session", "SESSION", $0] } + [[grant, "session"]]
                checks += few.map { [grant, "server", "SERVER", $0] } + [[grant, "server"]]
                checks += few.map { [grant, "team", "ATTR", "team", $0] } + [[grant, "team"]]
                checks += [[grant, "any session"]]
            }
            checks += names.map { ["g", "any session", "SESSION", $0] }
            checks += names.map { ["h", "any server", "SERVER", $0] }
            checks += names.map { ["i", "any team", "ATTR", "team", $0] }
            for (client, left) in zip(clients, [Self.max - 1, Self.max - 2]) {
                let replies = try client.pipeline(checks.map { ["CHECK"] + $0 }).map(CheckReply.init)
                for (check, reply) in zip(checks, replies) where reply.remaining != left || reply.source != "shared" {
                    Issue.record("\(check): \(reply)")
                }
            }
            #expect(try pair.countedKeys() == checks.count)
        }

        /// The same of tools and of counters, which the document names. Writing a tool's accents in another way is the
        /// same tool.
        @Test func noTwoToolsShareACount() async throws {
            // A tool's name in a policy has no * or ?: it would read as a pattern.
            let tools = Self.names.filter {
                !$0.contains("*") && !$0.contains("?") && !$0.utf8.elementsEqual("e\u{301}".utf8)
            }
            let policy = Document.text(
                tools.enumerated().map { index, tool in
                    (tool, [Document.limit(tools[(index * 7 + 3) % tools.count], max: Self.max)])
                },
                allTools: tools.prefix(15).map { Document.limit($0, max: 1_000_000) })
            let pair = try await Pair(policy: policy)
            let clients = try pair.both.map { try $0.client() }
            for (client, left) in zip(clients, [Self.max - 1, Self.max - 2]) {
                let replies = try client.pipeline(tools.map { ["CHECK", "g", $0] }).map(CheckReply.init)
                for (tool, reply) in zip(tools, replies) where reply.remaining != left || reply.source != "shared" {
                    Issue.record("\(tool): \(reply)")
                }
            }
            #expect(try clients[0].check("g", "e\u{301}").remaining == Self.max - 3)
            #expect(try pair.countedKeys() == tools.count + 15)
        }
    }
}
