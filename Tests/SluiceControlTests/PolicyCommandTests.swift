import Foundation
import Support
import Testing

@Suite struct PolicyCommandTests {
    @Test func aValidDocumentIsShown() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(
            #"{"version": "1", "default": "deny", "tools": {"run": {"limits": [{"counter": "c", "window": "minute", "max": 10}]}}}"#,
            to: "policy.json")
        let run = await ControlRun.of("policy", "check", path)
        #expect(run.errors == "")
        #expect(run.exitCode == 0)
        #expect(
            run.output == """
                tool         action  counter  limit          scope
                run          allow   c        10 per minute  grant
                (any other)  deny    -        -              -

                \(path): ok, 1 tool, 1 limit, default deny

                """)
    }

    @Test func allFaultsAreOnStandardError() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(#"{"version": "2", "default": "perhaps"}"#, to: "policy.json")
        let run = await ControlRun.of("policy", "check", path)
        #expect(run.exitCode == 1)
        #expect(run.output == "")
        let lines = run.errors.split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines.allSatisfy { $0.hasPrefix("\(path):1:") })
    }

    @Test func whatCannotBeReadIsNoFault() async throws {
        let folder = try TemporaryFolder()
        let missing = await ControlRun.of("policy", "check", folder.path("none.json"))
        #expect(missing.exitCode == 2)
        #expect(missing.errors == "sluicectl: \(folder.path("none.json")): No such file or directory\n")
        try FileManager.default.createDirectory(
            atPath: folder.path("inner.json"), withIntermediateDirectories: false)
        let inner = await ControlRun.of("policy", "check", folder.path)
        #expect(inner.exitCode == 2)
        #expect(inner.errors == "sluicectl: \(folder.path)/inner.json: Is a directory\n")
    }

    @Test func aFolderIsCheckedAsOne() async throws {
        let folder = try TemporaryFolder()
        _ = try folder.write(#"{"version": "1", "default": "deny"}"#, to: "shut.json")
        let missing = await ControlRun.of("policy", "check", folder.path)
        #expect(missing.exitCode == 1)
        #expect(missing.errors.hasPrefix("\(folder.path)/grants.json:1:1: found no such file"))
        _ = try folder.write(#"{"*": "shut"}"#, to: "grants.json")
        let run = await ControlRun.of("policy", "check", folder.path)
        #expect(run.exitCode == 0)
        #expect(run.output.hasSuffix("\n\(folder.path): ok, 1 document, 1 grant\n"))
    }

    /// Every command that reads documents takes the flag.
    @Test(arguments: ["check", "show", "diff"])
    func argumentRulesAreForTheGateway(command: String) async throws {
        let folder = try TemporaryFolder()
        let text = #"{"version": "1", "default": "deny", "tools": {"edit": {"require": [{"path": "/file"}]}}}"#
        let path = try folder.write(text, to: "policy.json")
        let words = ["policy", command, path] + (command == "diff" ? [path] : [])
        let refused = await ControlRun.of(words)
        #expect(refused.exitCode == (command == "diff" ? 2 : 1))
        #expect(refused.errors.contains("say so with --arguments-checked-by-gateway"))
        let run = await ControlRun.of(words + ["--arguments-checked-by-gateway"])
        #expect(run.exitCode == 0)
        #expect(run.errors == "")
    }
}
