import SluicePolicy
import Testing

/// Names with `*`: what they match, which of them wins, and what their limits count.
@Suite struct PatternTests {
    @Test(
        arguments: [
            ("github_*", ["github_", "github_get", "github_*"], ["github", "xgithub_get", ""]),
            ("*_delete", ["_delete", "a_delete", "_delete_delete"], ["delete", "_delete_", "a_deletes"]),
            ("*", ["", "a", "日本"], []),
            ("a*a", ["aa", "aba", "aaa"], ["a", "ab", "ba"]),
            ("a*b*c", ["abc", "a_b_c", "abbc", "acbc"], ["ac", "abcd", "acb", "bc"]),
            ("*ab*ab*", ["abab", "xababx", "ab_ab"], ["ab", "aab", "aba"]),
            ("café*", ["café", "cafe\u{301}s"], ["cafe", "cafes"]),
            ("caf*", ["café", "cafe\u{301}"], ["ca"]),
            ("cafe*", ["cafe", "cafes"], ["café", "cafe\u{301}"]),
        ])
    func matches(text: String, names: [String], others: [String]) throws {
        let pattern = try #require(NamePattern(text))
        for name in names { #expect(pattern.matches(name), "\(name)") }
        for name in others { #expect(!pattern.matches(name), "\(name)") }
    }

    /// Compared with a search that tries every way.
    @Test func matchesLikeTheDefinition() {
        func matches(_ name: Substring, _ pattern: Substring) -> Bool {
            guard let first = pattern.first else { return name.isEmpty }
            if first == "*" {
                return matches(name, pattern.dropFirst()) || (!name.isEmpty && matches(name.dropFirst(), pattern))
            }
            return name.first == first && matches(name.dropFirst(), pattern.dropFirst())
        }
        var random = SeededRandom(seed: 5)
        func word(_ letters: [Character]) -> String {
            String((0..<Int.random(in: 0...7, using: &random)).map { _ in letters.randomElement(using: &random)! })
        }
        var patterns: [NamePattern] = []
        let names = (0..<60).map { _ in word(["a", "b"]) }
        for _ in 0..<300 {
            guard let pattern = NamePattern(word(["a", "b", "*", "*"])) else { continue }
            patterns.append(pattern)
            for name in names where pattern.matches(name) != matches(name[...], pattern.text[...]) {
                Issue.record("\(pattern.text) and \(name)")
            }
        }
        // Two patterns that have a name in common can meet.
        for one in patterns {
            for other in patterns where !one.canMeet(other) {
                if let name = names.first(where: { one.matches($0) && other.matches($0) }) {
                    Issue.record("\(one.text) and \(other.text) meet at \(name)")
                }
            }
        }
    }

    @Test func whatMeets() throws {
        for (one, other, meet) in [
            ("a*", "b*", false), ("a*", "*b", true), ("a*", "ab*", true), ("*a", "*b", false), ("a*x", "ab*y", false),
        ] {
            let (first, second) = (try #require(NamePattern(one)), try #require(NamePattern(other)))
            #expect(first.canMeet(second) == meet && second.canMeet(first) == meet, "\(one) \(other)")
        }
    }

    private static let policy = try! parse(
        document(
            members: """
                "hide":["*_delete"],
                "tools":{
                  "git_*":{"rate_limit":"5/minute"},
                  "git_push*":{"action":"deny"},
                  "git_status":{},
                  "web_*":{"each_tool":true,"on_deny":"Slow.","limits":[{"counter":"c","window":"day","max":3}]}
                }
                """))

    @Test func theNameWinsThenThePatternWithMostCharacters() {
        let rules = ["git_status", "git_log", "git_push", "git_push_tags", "git_delete", "web_get", "other"].map {
            switch Self.policy.ruling(forTool: $0) {
            case .deny(let rule, _), .approve(let rule, _, _), .count(let rule, _): rule
            case .shadow, .within: ""
            }
        }
        #expect(
            rules == [
                "/tools/git_status", "/tools/git_*", "/tools/git_push*/action", "/tools/git_push*/action", "(hidden)",
                "/tools/web_*", "(default deny)",
            ])
        // A denial names the tool that was called, not the pattern.
        #expect(
            Self.policy.ruling(forTool: "git_push")
                == .deny(rule: "/tools/git_push*/action", message: "git_push is not allowed by this grant's policy."))
    }

    /// A pattern's tools share its counters unless each is counted for itself.
    @Test func whoseCountersThereAre() throws {
        func limit(_ tool: String) throws -> Limit {
            guard case .count(_, let limits) = Self.policy.ruling(forTool: tool) else {
                throw PolicyFaults.none
            }
            return try #require(limits.first)
        }
        #expect(try limit("git_log").container == .pattern("git_*"))
        #expect(try limit("git_log") == limit("git_diff"))
        #expect(try limit("web_get").container == .tool("web_get"))
        #expect(try limit("web_put").container == .tool("web_put"))
        #expect(try limit("web_get").rule == "/tools/web_*/limits/c" && limit("web_get").onDeny == "Slow.")
        // Of a tool that is really called so, too.
        #expect(try limit("web_*").container == .tool("web_*"))
        #expect(
            try limit("git_log").denialMessage
                == "All tools that git_* matches are together limited to 5 calls per minute per session.")
        for tool in ["git_log", "web_get"] {
            let limit = try limit(tool)
            #expect(Self.policy.limits(in: limit.container) == [limit])
        }
    }

    @Test func theirViews() {
        #expect(
            PolicySummary(Self.policy, file: "p.json").line
                == "p.json: ok, 1 tool, 3 patterns, 2 limits, default deny, 1 hidden")
        let listing = PolicyListing(Self.policy)
        #expect(
            listing.entries.map(\.subject.title) == [
                "git_*", "git_push*", "git_status", "web_*", "*_delete", "(any other)",
            ])
        #expect(listing.entries.map(\.action) == [.allow, .deny, .allow, .allow, .hidden, .deny])
        let entry = PolicyListing(Self.policy, tool: "web_get").entries[0]
        #expect(entry.subject.title == "web_get (web_*)" && entry.limits.map(\.container) == [.tool("web_get")])
        #expect(PolicyListing(Self.policy, tool: "a_delete").entries[0].action == .hidden)
    }

    @Test func changesInWords() throws {
        let before = try parse(document(members: #""tools":{"a_*":{"rate_limit":"1/day"},"a_x":{}}"#))
        let after = try parse(document(members: #""tools":{"a_*":{"each_tool":true,"rate_limit":"1/day"}}"#))
        #expect(
            PolicyDiff(from: before, to: after).lines == [
                "tool a_*: now counts each tool for itself",
                "tool a_*: limit rate_limit: starts a new counter",
                "tool a_x: no longer listed, allowed as before",
            ])
        let hiding = try parse(document(members: #""hide":["a_*"],"tools":{"a_x":{}}"#))
        #expect(PolicyDiff(from: before, to: hiding).lines.contains("tool a_x: now hidden"))
    }

    /// Ten thousand tools and as many patterns as there may be.
    @Test func manyTools() throws {
        let tools = (0..<10_000).map { #""tool_\#($0)":{"rate_limit":"9/minute"}"# }
        let patterns = (0..<PolicyBounds.maxPatterns).map { #""pattern_\#($0)_*":{}"# }
        let policy = try parse(document(members: #""tools":{\#((tools + patterns).joined(separator: ","))}"#))
        #expect(policy.ruling(forTool: "pattern_77_x") == .count(rule: "/tools/pattern_77_*", limits: []))
        let more = patterns + [#""one_more*":{}"#]
        #expect(
            faultLines(document(members: #""tools":{\#(more.joined(separator: ","))}"#)) == [
                "policy.json:2:9: /tools: found 257 patterns, expected at most 256 names with * in one place"
            ])
    }

    @Test func ofGrants() throws {
        let files = [
            "open.json": #"{"version":"1","default":"allow"}"#, "shut.json": #"{"version":"1","default":"deny"}"#,
            "grants.json": #"{"team-*":"open","team-a-*":"shut","team-a-lead":"open","*":"shut"}"#,
        ]
        let policies = try PolicySet.parse(files: files.map { ($0.key, Array($0.value.utf8)) })
        let names = ["team-b", "team-a-1", "team-a-lead", "other"].map { policies.documentName(forGrant: $0) }
        #expect(names == ["open", "shut", "open", "shut"])
        #expect(policies.sortedGrants.map(\.grant) == ["team-a-lead", "team-*", "team-a-*", "*"])
    }
}

extension PolicyFaults {
    /// For tests that expect a ruling of another kind.
    fileprivate static var none: PolicyFaults { FaultCollector(file: "").collected() }
}
