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
        let directory = await ControlRun.of("policy", "check", folder.path)
        #expect(directory.exitCode == 2)
        #expect(directory.errors == "sluicectl: \(folder.path): Is a directory\n")
    }
}
