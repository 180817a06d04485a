import Foundation
import Support
import SluicePolicy
import Testing

/// `policy replay` and `policy suggest`, on logs as text.
@Suite struct PolicyReplayTests {
    private static let policy = """
        {"version": "1", "default": "deny", "tools": {
          "run": {"limits": [{"counter": "r", "window": "minute", "max": 2}]},
          "spend": {"limits": [{"counter": "s", "window": "minute", "max": 10}]}}}
        """
    private static let all = #"{"time":"2026-11-30T10:00:00.000Z","sample":1}"#

    /// A line of a check at a second after ten o'clock.
    private static func check(
        _ second: Int, _ grant: String = "a", _ tool: String = "run", verdict: String = "allow", more: String = ""
    ) -> String {
        let time = "10:\(second / 600)\(second / 60 % 10):\(second % 60 / 10)\(second % 10)"
        return """
            {"time":"2026-11-30T\(time).000Z","door":"socket","action":"check","grant":"\(grant)","tool":"\(tool)",\(more)\
            "verdict":"\(verdict)","rule":"/x","source":"shared"}
            """
    }

    private static func run(
        _ command: String, _ logs: [[String]], policy: String = policy, _ arguments: String...
    ) async throws -> ControlRun {
        let folder = try TemporaryFolder()
        var words = ["policy", command]
        if command == "replay" { words.append(try folder.write(policy, to: "new.json")) }
        for (index, lines) in logs.enumerated() {
            words += ["--log", try folder.write(lines.joined(separator: "\n") + "\n", to: "\(index).jsonl")]
        }
        return await ControlRun.of(words + arguments)
    }

    @Test func aPageShowsWhoByWhichRuleAndWhen() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path("replay.html")
        let log =
            [Self.all] + (0..<4).map { Self.check($0, "a<script>") } + (4..<9).map { Self.check($0, "b") }
            + [Self.check(61)]
        let run = try await Self.run("replay", [log], "--report", path)
        #expect(run.exitCode == 1 && run.errors == "" && run.output.contains("5 newly denied"))
        let page = try String(contentsOfFile: path, encoding: .utf8)
        #expect(page.hasPrefix("<!DOCTYPE html>") && page.hasSuffix("</html>\n"))
        for words in [
            "<body class='doubtful'>", "<h1>5 calls would be newly denied</h1>", "<b>10</b><span>calls</span>",
            "<h2>/tools/run/limits/r</h2>", "<td>all, since 2026-11-30 10:00:02Z</td><td>5</td>",
            "<tr><td>b</td><td>3</td></tr><tr><td>a&lt;script&gt;</td><td>2</td></tr>",
            "<figcaption>When?</figcaption>",
            "<title>2026-11-30 10:00:02Z: 1 calls, 1 newly denied</title>", "1s a bar, at most 1",
            "<tr><td>run</td><td>10</td><td>0</td><td>5</td><td>5</td><td>0</td></tr>",
        ] {
            #expect(page.contains(words), "\(words)")
        }
        // It needs nothing from elsewhere, and runs nothing.
        for words in ["<script", "http:", "https:", "src=", "url("] { #expect(!page.contains(words), "\(words)") }
        let kept = try await Self.run("replay", [[Self.all, Self.check(0)]], "--report", path)
        #expect(kept.exitCode == 0)
        #expect(try String(contentsOfFile: path, encoding: .utf8).contains("<h1>Nobody would be newly denied</h1>"))
    }

    @Test func aPageThatCannotBeWrittenIsOneLine() async throws {
        let run = try await Self.run("replay", [[Self.all, Self.check(0)]], "--report", "/nonexistent/replay.html")
        #expect(run.exitCode == 2 && run.output == "")
        #expect(run.errors.hasPrefix("sluicectl: cannot write /nonexistent/replay.html: "))
        #expect(run.errors.split(separator: "\n").count == 1)
    }

    @Test func whoWouldBeDeniedIsShownByRule() async throws {
        let log =
            [Self.all] + (0..<4).map { Self.check($0) } + [Self.check(5, "b"), Self.check(6, "b", verdict: "limit")]
            + [Self.check(61)]
        let run = try await Self.run("replay", [log])
        #expect(run.errors == "")
        #expect(run.exitCode == 1)
        #expect(
            run.output == """
                tool  calls  denied then  denied now  newly denied  newly allowed
                run       7            1           2             2              1

                What would be denied, and was allowed
                rule                 calls  grants  first                 most
                /tools/run/limits/r      2       1  2026-11-30 10:00:02Z  a (2)

                7 calls of 2 grants in 1m 1s: denied then 1, denied now 2; 2 newly denied, 1 newly allowed

                """)
        let json = try await Self.run("replay", [log], "--json").json()
        #expect(json["newly_denied"] as? Int == 2)
        #expect((json["rules"] as? [[String: Any]])?.first?["grants"] as? Int == 1)
    }

    @Test func theSamePolicyChangesNothing() async throws {
        let log = [Self.all, Self.check(0), Self.check(1), Self.check(2, verdict: "limit"), Self.check(60)]
        let run = try await Self.run("replay", [log])
        #expect(run.exitCode == 0)
        #expect(run.output.hasSuffix("denied then 1, denied now 1; 0 newly denied, 0 newly allowed\n"))
    }

    @Test func logsOfSeveralSidecarsCountTogetherInTheOrderOfTime() async throws {
        let one = [Self.all, Self.check(0), Self.check(30), Self.check(60)]
        let other = [Self.all, Self.check(10), Self.check(61)]
        let json = try await Self.run("replay", [one, other], "--json").json()
        // 0 and 10 fill the first minute, 60 and 61 the second.
        #expect(json["newly_denied"] as? Int == 1)
        #expect((json["rules"] as? [[String: Any]])?.first?["first"] as? String == "2026-11-30T10:00:30Z")
    }

    @Test func reservationsAreSettledAsTheyWere() async throws {
        let reserve = { (second: Int, id: String) in
            Self.check(second, "a", "spend", more: #""cost":10,"reserve":true,"reservation":"\#(id)","#)
        }
        let settle = { (second: Int, action: String, id: String, cost: String) in
            #"{"time":"2026-11-30T10:00:0\#(second).500Z","action":"\#(action)","grant":"a","reservation":"\#(id)",\#(cost)"done":true}"#
        }
        let first = String(repeating: "1", count: 32)
        let second = String(repeating: "2", count: 32)
        let log = [
            Self.all, reserve(0, first), settle(0, "commit", first, #""cost":4,"#),
            Self.check(1, "a", "spend", more: #""cost":6,"#), Self.check(2, "a", "spend", verdict: "limit"),
            reserve(60, second),
            #"{"time":"2026-11-30T10:01:00.500Z","action":"cancel","grant":"a","reservation":"\#(second)","done":true}"#,
            Self.check(61, "a", "spend", more: #""cost":10,"#),
        ]
        let run = try await Self.run("replay", [log], "--json")
        #expect(run.exitCode == 0, "\(run.output)")
        #expect(try run.json()["settlements"] as? Int == 2)
    }

    @Test func chargesAndIdentitiesAreCounted() async throws {
        let policy = """
            {"version": "1", "default": "deny", "tools": {"run": {"limits": [
              {"counter": "r", "window": "day", "max": 1, "scope": "attribute:team"}]}}}
            """
        let team = { (name: String) in #""attributes":{"x":"1","team":"\#(name)"},"# }
        let charge = Self.check(3, "a", "run", more: team("red")).replacing("\"check\"", with: "\"charge\"")
        let log = [
            Self.all, Self.check(0, more: team("red")), Self.check(1, more: team("blue\\u0041\\n")),
            Self.check(2, more: team("blue")), charge, Self.check(4, more: team("red")),
            Self.check(5, more: team("blueA\\n")),
        ]
        let json = try await Self.run("replay", [log], policy: policy, "--json").json()
        #expect(json["calls"] as? Int == 5)
        #expect(json["newly_denied"] as? Int == 2)
    }

    /// A repeated check with its id is answered as before, and charged once.
    @Test func idsChargeOnce() async throws {
        let again = Self.check(0, more: #""id":"k","#)
        let run = try await Self.run("replay", [[Self.all, again, again, again, Self.check(1)]])
        #expect(run.exitCode == 0, "\(run.output)")
    }

    @Test(arguments: [(0, "denials only"), (20, "one in 20 of the allowed decisions")])
    func aLogWithoutAllDecisionsIsRejected(_ sample: Int, _ what: String) async throws {
        for command in ["replay", "suggest"] {
            let run = try await Self.run(
                command, [[#"{"time":"2026-11-30T10:00:00.000Z","sample":\#(sample)}"#, Self.check(0)]])
            #expect(run.exitCode == 2)
            #expect(run.errors.hasSuffix(".jsonl: it has \(what), start sluiced with --decision-log-sample 1\n"))
        }
    }

    @Test func whatIsMissingOrMalformedIsSaid() async throws {
        let odd = [
            "x", "[]", "{}", #"{"time":"yesterday","action":"check"}"#, String(repeating: "x", count: 300_000),
            Self.check(0).replacing("\"cost\"", with: "\"c\"").replacing("}", with: ""),
            Self.check(0, more: #""cost":-1,"#), Self.check(0, more: #""cost":1000000000001,"#), Self.check(0, ""),
            Self.check(0, more: #""deep":\#(String(repeating: "[", count: 50)),"#), Self.check(0, verdict: "perhaps"),
        ]
        let run = try await Self.run(
            "replay",
            [odd + [Self.check(1), "", #"{"dropped":7}"#, Self.check(2, more: #""new":{"a":[1,"x",null]},"#)]])
        #expect(run.exitCode == 0)
        let lines = run.errors.split(separator: "\n").map { $0.split(separator: ".jsonl: ")[1] }
        #expect(
            lines == [
                "it does not say whether every decision is in it", "7 lines are missing, which could not be written",
                "\(odd.count) lines are none of a decision log, and were passed over",
            ])
        #expect(run.output.contains("\n2 calls of 1 grants"))
    }

    @Test func filesThatCannotBeReadAreNamed() async throws {
        let run = await ControlRun.of("policy", "suggest", "--log", "/nowhere.jsonl")
        #expect(run.exitCode == 2)
        #expect(run.errors == "sluicectl: /nowhere.jsonl: No such file or directory\n")
        #expect(await ControlRun.of("policy", "suggest").exitCode == 64)
    }

    // MARK: - Suggestions

    @Test func aSuggestionIsWhatAllButOneOfAHundredGrantsStayWithin() async throws {
        var log = [Self.all]
        // 198 grants call 3 times in a minute, one 5 times, one 50 times; what was denied then does not count.
        for grant in 0..<198 { log += (0..<3).map { Self.check($0, "g\(grant)") } }
        log += (0..<5).map { Self.check($0, "five") } + (0..<50).map { Self.check($0, "fifty") }
        log += (0..<9).map { Self.check($0, "five", verdict: "limit") } + [Self.check(3599, "g1")]
        let run = try await Self.run("suggest", [log])
        #expect(run.exitCode == 0)
        #expect(run.errors == "")
        #expect(
            run.output == """
                tool  per     grants  median  suggested max  busiest  grants above
                run   minute     200       3              3       50             2
                      hour       200       3              4       50             2
                      day        200       3              4       50             2

                650 calls in 59m 59s: too short for a whole day

                """)
        let document = try await Self.run("suggest", [log], "--document").output
        let policy = try PolicyDocument.parse(Array(document.utf8), file: "p.json")
        #expect(policy.allLimits.map(\.max) == [3])
        let json = try await Self.run("suggest", [log], "--json").json()
        #expect((json["limits"] as? [[String: Any]])?.count == 3)
    }
}
