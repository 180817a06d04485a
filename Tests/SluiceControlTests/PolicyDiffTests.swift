import SluiceTerminal
import Support
import Testing

@Suite struct PolicyDiffCommandTests {
    private static let old = """
        {"version": "1", "default": "deny", "tools": {
          "run": {"limits": [{"counter": "a", "window": "minute", "max": 10},
                             {"counter": "b", "window": "day", "max": 10}]},
          "old": {}}}
        """
    private static let new = """
        {"version": "1", "default": "allow", "tools": {
          "run": {"limits": [{"counter": "a", "window": "minute", "max": 20},
                             {"counter": "b", "window": "hour", "max": 10}],
                  "rate_limit": "5/second"},
          "new": {"action": "deny"}}}
        """

    private static func diff(
        _ old: String, _ new: String, _ arguments: String..., style: Style = .plain
    ) async throws -> ControlRun {
        let folder = try TemporaryFolder()
        let paths = [try folder.write(old, to: "old.json"), try folder.write(new, to: "new.json")]
        return await ControlRun.of(["policy", "diff"] + paths + arguments, style: style)
    }

    @Test func changesAreGroupedByPlace() async throws {
        let run = try await Self.diff(Self.old, Self.new)
        #expect(run.exitCode == 1)
        #expect(run.errors == "")
        #expect(
            run.output == """
                default
                ~ deny -> allow

                tool new
                + now listed, denied as before

                tool old
                - no longer listed, allowed as before

                tool run
                ~ limit a: max 10 -> 20, keeps its count
                ~ limit b: window day -> hour, starts a new counter
                + limit rate_limit: added, 5 per second, scope session

                6 changes: 2 added, 1 removed, 3 changed; 1 counter starts from 0

                """)
    }

    @Test func signsHaveColours() async throws {
        let run = try await Self.diff(Self.old, Self.new, style: Style(isColoured: true))
        #expect(run.output.contains("\u{1B}[32m+ limit rate_limit: added, 5 per second, scope session\u{1B}[0m\n"))
        #expect(run.output.contains("\u{1B}[31m- no longer listed, allowed as before\u{1B}[0m\n"))
        #expect(run.output.contains("\u{1B}[33m~ deny -> allow\u{1B}[0m\n"))
    }

    @Test func sameIsZero() async throws {
        let run = try await Self.diff(Self.old, Self.old + "\n")
        #expect(run.exitCode == 0)
        #expect(run.output == "no difference\n")
        let json = try await Self.diff(Self.old, Self.old, "--json")
        #expect(json.exitCode == 0)
        #expect(json.output == "{\"same\":true,\"changes\":[]}\n")
    }

    @Test func jsonNamesEachPlace() async throws {
        let run = try await Self.diff(Self.old, Self.new.replacing("allow", with: "deny"), "--json")
        #expect(run.exitCode == 1)
        let changes = try #require(try run.json()["changes"] as? [[String: Any]])
        #expect(changes.map { $0["kind"] as? String } == ["added", "removed", "changed", "changed", "added"])
        #expect(changes.map { $0["tool"] as? String } == ["new", "old", "run", "run", "run"])
        #expect(changes[1]["change"] as? String == "now denied")
        #expect(
            changes.map { ($0["counter"] as? [String: String])?["fate"] } == [nil, nil, "goes_on", "begins", "begins"])
    }

    @Test func faultsOfBothAreTwo() async throws {
        let run = try await Self.diff("{}", "[")
        #expect(run.exitCode == 2)
        #expect(run.output == "")
        let lines = run.errors.split(separator: "\n")
        #expect(lines.contains { $0.contains("/old.json:1:1: ") } && lines.contains { $0.contains("/new.json:1:2: ") })
        let missing = await ControlRun.of("policy", "diff", "/nonexistent/a", "/nonexistent/b")
        #expect(missing.exitCode == 2)
    }

    @Test func fromADocumentToAFolder() async throws {
        let folder = try TemporaryFolder()
        let single = try TemporaryFolder()
        let path = try single.write(Self.old, to: "old.json")
        _ = try folder.write(Self.old, to: "team.json")
        _ = try folder.write(#"{"*": "team"}"#, to: "grants.json")
        let run = await ControlRun.of("policy", "diff", path, folder.path)
        #expect(run.exitCode == 1)
        #expect(
            run.output == """
                policies
                ~ one for all grants -> documents by grant

                documents
                + document team: added

                grants
                + grant *: added, policy team

                3 changes: 2 added, 1 changed

                """)
    }
}
