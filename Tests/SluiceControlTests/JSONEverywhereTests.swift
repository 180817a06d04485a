import Foundation
import Support
import Testing

/// Whatever a command comes to, `--json` makes it one line of JSON on standard output.
@Suite struct JSONEverywhereTests {
    /// Every command that has no commands of its own, by its words.
    private static func commands(_ words: [String] = []) async throws -> [[String]] {
        let help = await ControlRun.of(words + ["--help"])
        #expect(help.exitCode == 0)
        let parts = help.output.components(separatedBy: "SUBCOMMANDS:\n")
        guard parts.count == 2 else { return [words] }
        var commands: [[String]] = []
        // Behind an empty line it goes on with where to find more.
        let list = parts[1].components(separatedBy: "\n\n")[0]
        for line in list.split(separator: "\n") where line.hasPrefix("  ") && !line.hasPrefix("   ") {
            let name = String(try #require(line.split(separator: " ").first))
            commands += try await Self.commands(words + [name])
        }
        return commands
    }

    private static func error(_ run: ControlRun) throws -> [String: Any] {
        #expect(run.errors == "")
        return try #require(run.json()["error"] as? [String: Any])
    }

    @Test func everyCommandHasIt() async throws {
        let commands = try await Self.commands()
        #expect(commands.count >= 8 && commands.contains(["policy", "check"]))
        for words in commands {
            let help = await ControlRun.of(words + ["--help"])
            #expect(help.output.contains("--json"), "\(words)")
            let wrong = await ControlRun.of(words + ["--json", "--no-such-option"])
            let error = try Self.error(wrong)
            #expect(wrong.exitCode == 64 && error["kind"] as? String == "wrong_usage", "\(words)")
            #expect(error["exit_code"] as? Int == 64 && (error["message"] as? String)?.isEmpty == false)
        }
    }

    /// With arguments that fit, and nobody who answers.
    @Test(arguments: [
        ["check", "g", "t"], ["peek", "g", "t"], ["explain", "g", "t"], ["counters"], ["override"], ["tail"], ["top"],
        ["status"],
        ["status", "--wait", "--timeout", "50ms"], ["commit", "g", "r", "1"], ["cancel", "g", "r"],
        ["release", "g", "r"], ["policy", "show"], ["policy", "diff", "/nonexistent/a"],
        ["policy", "check", "/nonexistent/a"], ["policy", "diff", "/nonexistent/a", "/nonexistent/b"],
        ["policy", "show", "/nonexistent/a"], ["gateways", "check", "/nonexistent/a"],
    ])
    func aSidecarThatCannotBeAskedIsAnError(words: [String]) async throws {
        let run = await ControlRun.of(words + ["--json"], environment: ["SLUICE_SOCKET": "/nonexistent/s.sock"])
        let error = try Self.error(run)
        #expect(run.exitCode == 2 && error["kind"] as? String == "could_not_ask" && error["exit_code"] as? Int == 2)
        #expect((error["message"] as? String)?.contains("/nonexistent/") == true)
    }

    @Test func whatTheSidecarRefusesIsAnError() async throws {
        let stub = try await StubSidecar { _ in StubSidecar.error("NOPERM not for you") }
        let run = await ControlRun.of("counters", "--json", "--socket", stub.path)
        #expect(run.exitCode == 2)
        #expect(try Self.error(run)["message"] as? String == "the sidecar refused: not for you (NOPERM)")
    }

    @Test func faultsAreListed() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(#"{"version": "1", "default": "dney", "hide": 3}"#, to: "policy.json")
        let check = await ControlRun.of("policy", "check", path, "--json")
        #expect(check.exitCode == 1 && check.errors == "")
        let report = try check.json()
        #expect(report["valid"] as? Bool == false && report["omitted_faults"] as? Int == 0)
        let faults = try #require(report["faults"] as? [[String: Any]])
        #expect(faults.map { $0["pointer"] as? String } == ["/default", "/hide"])
        #expect(faults[0]["nearest"] as? String == "deny" && faults[0]["file"] as? String == path)
        #expect(faults[0]["line"] as? Int == 1 && faults[0]["column"] as? Int == 29)
        for (words, code) in [(["policy", "show", path], 1), (["policy", "diff", path, path], 2)] {
            let run = await ControlRun.of(words + ["--json"])
            #expect(run.exitCode == Int32(code))
            let error = try Self.error(run)
            #expect(error["kind"] as? String == "faults" && error["exit_code"] as? Int == code)
            #expect((error["faults"] as? [[String: Any]])?.count == 2 * code)
        }
    }

    @Test func adviceChangesNoExitCode() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(
            """
            {"version": "1", "default": "deny", "tools": {"a": {"limits": [
                {"counter": "c", "max": 2, "window": 60, "algorithm": "sliding_window"}]}}}
            """, to: "policy.json")
        let text = await ControlRun.of("policy", "check", path)
        #expect(text.exitCode == 0 && text.errors == "" && text.output.contains("\nadvice: /tools/a/limits/c: "))
        let run = await ControlRun.of("policy", "check", path, "--json")
        #expect(run.exitCode == 0)
        let documents = try #require(try run.json()["documents"] as? [[String: Any]])
        let advice = try #require(documents.first?["advice"] as? [[String: Any]])
        #expect(advice.count == 1 && advice[0]["rule"] as? String == "/tools/a/limits/c")
    }

    @Test func aGoodDocumentIsSummedUp() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(
            """
            {"version": "1", "default": "deny", "tools": {"a": {}, "b": {"limits": [
                {"counter": "c", "max": 2, "algorithm": "concurrency"}]}}}
            """, to: "policy.json")
        let run = await ControlRun.of("policy", "check", path, "--json")
        #expect(run.exitCode == 0 && run.errors == "")
        let report = try run.json()
        #expect(report["valid"] as? Bool == true && report["grants"] is NSNull)
        let document = try #require((report["documents"] as? [[String: Any]])?.first)
        #expect(document["tools"] as? Int == 2 && document["limits"] as? Int == 1)
        #expect(document["must_reserve"] as? [String] == ["b"])
    }
}
