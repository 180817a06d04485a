import Foundation
import SluicePolicy
import Testing

/// The policies of `deploy/policies` do what their page says.
@Suite struct ExamplePoliciesTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../deploy/policies").standardizedFileURL.path

    private static func names(_ path: String = "") throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder + path).sorted()
    }

    private static func text(_ name: String) throws -> String {
        try String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8)
    }

    private static func policy(_ name: String) throws -> Policy {
        try PolicyDocument.parse(try text(name + ".json").utf8, file: name)
    }

    private static func team() throws -> PolicySet {
        try PolicySet.parse(files: try names("/team").map { ($0, Array(try text("team/\($0)").utf8)) })
    }

    @Test func eachIsValidWithoutWarningsAndOnThePage() throws {
        let page = try Self.text("README.md")
        for name in try Self.names() where name != "README.md" {
            #expect(page.contains("| `\(name.hasSuffix(".json") ? name : name + "/")` |"), "\(name)")
            guard name.hasSuffix(".json") else { continue }
            let policy = try Self.policy(String(name.dropLast(5)))
            #expect(PolicyAdvice.all(of: policy) == [], "\(name)")
            #expect(try PolicyDocument.parse(PolicyDocument.text(of: policy).utf8, file: name) == policy, "\(name)")
        }
        #expect(try Self.names().count >= 10)
        let team = try Self.team()
        #expect(PolicySetSummary(team, file: "team").line == "team: ok, 3 documents, 3 grants")
        for policy in team.policies { #expect(PolicyAdvice.all(of: policy) == []) }
    }

    private static func limits(_ policy: Policy, _ tool: String, server: String? = nil) -> [String] {
        policy.ruling(forTool: tool, server: server).limits.map { String($0.rule.split(separator: "/").last ?? "") }
    }

    @Test func anAgent() throws {
        let policy = try Self.policy("agent")
        #expect(Self.limits(policy, "opencode_run") == ["runs", "runs_at_once", "calls", "calls_a_day"])
        #expect(policy.mustReserve.titles == ["opencode_run"])
        guard case .deny("(default deny)", let message) = policy.ruling(forTool: "other") else {
            Issue.record("not denied")
            return
        }
        #expect(message.hasPrefix("This tool is not for agents."))
    }

    @Test func aTeamWithTiers() throws {
        let policies = try Self.team()
        func maxima(_ grant: String, _ tool: String) -> [Int64] {
            policies.ruling(forGrant: grant, tool: tool).limits.map(\.max)
        }
        #expect(maxima("anybody", "run") == [5, 1000] && maxima("anybody", "fetch_page") == [100, 1000])
        #expect(maxima("pro-1", "run") == [60, 50_000, 20_000])
        #expect(maxima("pro-nightly", "run") == [300, 50_000, 20_000])
        #expect(maxima("pro-nightly", "search") == [5_000, 50_000, 20_000])
        #expect(policies.ruling(forGrant: "pro-1", tool: "admin_x").limits.isEmpty)
    }

    @Test func byServer() throws {
        let policy = try Self.policy("server")
        #expect(Self.limits(policy, "create_issue", server: "github") == ["created", "calls"])
        #expect(Self.limits(policy, "query", server: "postgres") == ["queries"])
        #expect(Self.limits(policy, "anything", server: "other") == ["calls"])
        #expect(policy.ruling(forTool: "query").limits.isEmpty)
        #expect(policy.ruling(forTool: "repo_delete", server: "github").limits.isEmpty)
    }

    @Test func theOthers() throws {
        #expect(Self.limits(try Self.policy("session"), "search") == ["rate_limit", "session", "grant"])
        #expect(Self.limits(try Self.policy("tokens"), "chat") == ["calls", "tokens"])
        #expect(Self.limits(try Self.policy("burst"), "complete") == ["steady", "at_once"])
        guard
            case .within(let hours, _, .deny("/tools/deploy/hours", _)) = try Self.policy("business-hours")
                .ruling(forTool: "deploy")
        else {
            Issue.record("always open")
            return
        }
        #expect(hours.words == "mon-thu 09:00-16:00 (Europe/Berlin)")
        guard case .approve = try Self.policy("approval").ruling(forTool: "send_mail") else {
            Issue.record("needs no approval")
            return
        }
        let shadow = try Self.policy("shadow")
        for tool in ["search", "run", "internal_x", "other"] {
            #expect(shadow.ruling(forTool: tool).limits.allSatisfy { $0.mode == .shadow }, "\(tool)")
            #expect(!shadow.ruling(forTool: tool).limits.isEmpty, "\(tool)")
        }
    }

    /// 300 tools of several servers, as gateways name them.
    @Test func manyTools() throws {
        let policy = try Self.policy("many-tools")
        let servers = ["github", "slack", "mysql", "jira", "drive", "calendar"]
        let things = ["issue", "message", "table", "file", "event", "page", "user", "label", "branch", "row"]
        let tools = servers.flatMap { server in
            things.flatMap { thing in
                ["list", "get", "create", "update", "delete"].map { "\(server)_\(thing)_\($0)" }
            }
        }
        #expect(tools.count == 300)
        var outcomes: [String: Int] = [:]
        for tool in tools {
            let outcome =
                switch policy.ruling(forTool: tool) {
                case .deny(let rule, _), .approve(let rule, _, _), .count(let rule, _): rule
                case .shadow, .within: "another"
                }
            outcomes[outcome, default: 0] += 1
        }
        // Of the names that two patterns match, the pattern with more characters takes precedence.
        #expect(
            outcomes == [
                "(hidden)": 60, "/tools/github_*": 40, "/tools/slack_*": 40, "/tools/mysql_*": 40, "/tools/*_list": 30,
                "/tools/*_get": 30, "(default deny)": 60,
            ])
        #expect(Self.limits(policy, "github_issue_create") == ["github", "changes", "calls"])
        guard case .approve = policy.ruling(forTool: "slack_message_send") else {
            Issue.record("needs no approval")
            return
        }
    }
}
