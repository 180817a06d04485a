import Foundation
import SluicePolicy
import StoreModel
import Testing

@testable import SluiceEngine

/// The policies of `deploy/policies`, by their decisions.
@Suite struct ExamplePolicyTests {
    private typealias Question = LimiterRig.Question

    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../deploy/policies").standardizedFileURL.path

    private static func bytes(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)")))
    }

    /// At 22:14 of a Tuesday in UTC, 23:14 in Berlin.
    private static func rig(_ name: String) throws -> LimiterRig {
        LimiterRig(try PolicyDocument.parse(bytes(name + ".json"), file: name))
    }

    /// How many of some calls pass before the first that does not.
    private static func admitted(_ rig: inout LimiterRig, _ question: Question, of calls: Int = 10_000) -> Int {
        (0..<calls).first { _ in !rig.decide(question).allowed } ?? calls
    }

    @Test func anAgent() throws {
        var rig = try Self.rig("agent")
        #expect(Self.admitted(&rig, Question(tool: "search")) == 20)
        let denied = rig.decide("search")
        #expect(denied.message == "search is limited to 20 calls per minute for this grant." && denied.messageHasWait)
        // All calls of a minute together are 60.
        #expect(Self.admitted(&rig, Question(tool: "read_file")) == 40)
        rig.pass(ms: 60_000)
        let first = rig.reserve("opencode_run")
        _ = rig.reserve("opencode_run")
        #expect(rig.reserve("opencode_run").message == "Two runs are in progress. Wait for one of them to end.")
        #expect(rig.settle(try #require(first.reservation), .release) == true)
        #expect(rig.reserve("opencode_run").allowed)
        #expect(rig.decide("delete_file").message == "Agents delete nothing. Move the file to trash/ instead.")
        #expect(rig.decide("rm").message.hasPrefix("This tool is not for agents."))
    }

    @Test func aTeam() throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: Self.folder + "/team")
        let files = try names.map { ($0, try Self.bytes("team/\($0)")) }
        var rig = LimiterRig(policy())
        rig.limiter.replacePolicies(try PolicySet.parse(files: files))
        for (grant, runs) in [("free-1", 5), ("pro-1", 60), ("pro-nightly", 300)] {
            #expect(Self.admitted(&rig, Question(tool: "run", grant: grant)) == runs, "\(grant)")
        }
        // Search and all that fetch are one budget.
        #expect(Self.admitted(&rig, Question(tool: "search", grant: "free-1"), of: 60) == 60)
        #expect(Self.admitted(&rig, Question(tool: "fetch_page", grant: "free-1")) == 40)
        let denied = rig.decide("fetch_other", grant: "free-1")
        #expect(denied.message.hasPrefix("Your plan's pages of this hour are used up. More in "))
        #expect(rig.decide("admin_x", grant: "pro-1").rule == "(hidden)")
        #expect(rig.decide("deploy", grant: "pro-1").verdict == .approve)
        #expect(rig.decide("deploy", grant: "free-1").verdict == .deny)
        // A team's grants share its day.
        for grant in 0..<333 {
            let question = Question(tool: "run", grant: "pro-t\(grant)", attributes: ["team": "red"], cost: 60)
            #expect(rig.decide(question).allowed)
        }
        let last = Question(tool: "search", grant: "pro-last", attributes: ["team": "red"], cost: 21)
        #expect(rig.decide(last).rule == "/all_tools/limits/team")
    }

    @Test func aServer() throws {
        var rig = try Self.rig("server")
        func question(_ tool: String, _ server: String?) -> Question { Question(tool: tool, server: server) }
        #expect(Self.admitted(&rig, question("create_issue", "github"), of: 6) == 6)
        #expect(Self.admitted(&rig, question("create_pull_request", "github")) == 4)
        #expect(rig.decide(question("repo_delete", "github")).rule == "(hidden)")
        #expect(rig.decide(question("merge_pull_request", "github")).verdict == .approve)
        #expect(rig.decide(question("read_file", "github")).allowed)
        // Servers that are not listed have 30 a minute each.
        for server in ["one", "two"] { #expect(Self.admitted(&rig, question("x", server)) == 30, "\(server)") }
        #expect(rig.decide(question("x", nil)).rule == "(default deny)")
        for _ in 0..<4 { #expect(rig.decide(Question(tool: "query", server: "postgres", reserves: true)).allowed) }
        #expect(!rig.decide(Question(tool: "query", server: "postgres", reserves: true)).allowed)
        #expect(rig.decide(question("drop", "postgres")).verdict == .deny)
    }

    @Test func aSession() throws {
        var rig = try Self.rig("session")
        for session in ["a", "b", nil] {
            #expect(Self.admitted(&rig, Question(tool: "search", session: session)) == 10, "\(session ?? "none")")
        }
        #expect(Self.admitted(&rig, Question(tool: "chat", session: "a")) == 30)
        #expect(rig.decide("chat", session: "b").allowed)
    }

    @Test func businessHours() throws {
        var rig = try Self.rig("business-hours")
        let closed = rig.decide("deploy")
        #expect(closed.verdict == .deny && closed.rule == "/tools/deploy/hours")
        #expect(closed.message == "Deployments are made from Monday to Thursday, 9 to 16 in Berlin.")
        // Until 09:00 in Berlin.
        #expect(closed.retryAfterMs == (9 * 60 + 46) * 60_000)
        #expect(rig.decide("run_batch").allowed && rig.decide("status").allowed)
        rig.pass(ms: closed.retryAfterMs)
        rig.tick()
        #expect(Self.admitted(&rig, Question(tool: "deploy")) == 3)
        #expect(rig.decide("run_batch").verdict == .deny)
    }

    @Test func tokensAndCalls() throws {
        var rig = try Self.rig("tokens")
        #expect(rig.decide("chat", cost: 90_000).allowed)
        #expect(Self.admitted(&rig, Question(tool: "chat")) == 19)
        rig.pass(ms: 60_000)
        let reservation = try #require(rig.reserve("chat", cost: 5_000).reservation)
        #expect(rig.settle(reservation, .commit(cost: 12_000)) == true)
        let look = rig.decide("chat", cost: 0)
        #expect(look.message == "chat is limited to 100,000 tokens per day for this grant." && look.messageHasWait)
    }

    @Test func bursts() throws {
        var rig = try Self.rig("burst")
        for _ in 0..<20 {
            let reservation = try #require(rig.reserve("complete").reservation)
            #expect(rig.settle(reservation, .release) == true)
        }
        #expect(rig.reserve("complete").rule == "/tools/complete/limits/steady")
        rig.pass(ms: 5_000)
        for _ in 0..<5 { #expect(rig.reserve("complete").allowed) }
        #expect(!rig.reserve("complete").allowed)
        #expect(Self.admitted(&rig, Question(tool: "embed")) == 10)
    }

    @Test func approvals() throws {
        var rig = try Self.rig("approval")
        let asked = rig.decide("write_file")
        #expect(asked.verdict == .approve)
        #expect(asked.message == "A person must see this change before it is written.")
        #expect(Self.admitted(&rig, Question(tool: "write_file", approved: true)) == 100)
        #expect(rig.decide("send_mail").verdict == .approve && rig.decide("send_mail", approved: true).allowed)
        #expect(rig.decide("read_x").allowed && rig.decide("drop_table", approved: true).verdict == .deny)
    }

    @Test func aRollOutInShadow() throws {
        var rig = try Self.rig("shadow")
        for tool in ["search", "run", "internal_x", "other"] {
            #expect(Self.admitted(&rig, Question(tool: tool), of: 50) == 50, "\(tool)")
        }
        let reports = rig.limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now)
        let denials = Dictionary(uniqueKeysWithValues: reports.map { ($0.rule, $0.denials) })
        #expect(
            denials == [
                "/tools/search/limits/searches": 40, "/tools/run/action": 50, "(hidden)": 50, "(default deny)": 50,
                "/all_tools/limits/calls": 100,
            ])
    }

    @Test func manyTools() throws {
        var rig = try Self.rig("many-tools")
        #expect(Self.admitted(&rig, Question(tool: "github_issue_list"), of: 30) == 30)
        #expect(Self.admitted(&rig, Question(tool: "github_issue_get")) == 30)
        #expect(Self.admitted(&rig, Question(tool: "slack_channel_list")) == 30)
        for tool in ["mysql_row_list", "mysql_table_list"] {
            #expect(Self.admitted(&rig, Question(tool: tool)) == 20, "\(tool)")
        }
        #expect(rig.decide("slack_message_send").verdict == .approve)
        #expect(rig.decide("jira_issue_delete").rule == "(hidden)" && rig.decide("jira_issue_close").verdict == .deny)
        #expect(rig.decide("jira_issue_list").allowed)
        // 300 calls a minute, of which 130 were made and a few more.
        #expect(Self.admitted(&rig, Question(tool: "drive_file_get")) == 300 - 131)
    }
}
