import Foundation
import Support
import Testing

/// The policies that a real sidecar has in force.
@Suite struct PolicySidecarTests {
    private static func document(max: Int) -> String {
        """
        {"version": "1", "default": "deny", "tools": {
          "run": {"limits": [{"counter": "c", "window": "hour", "max": \(max)}]}, "edit": {"require": []}}}
        """
    }

    @Test func theyAreShownAndCompared() async throws {
        let sidecar = try await SidecarProcess(
            policy: Self.document(max: 10), replicas: 1, arguments: ["--arguments-checked-by-gateway"])
        let socket = sidecar.socketPath
        let shown = await ControlRun.of("policy", "show", "--socket", socket, "--tool", "run")
        #expect(shown.errors == "")
        #expect(shown.exitCode == 0)
        #expect(shown.output.hasPrefix("\(sidecar.folder.path("policy.json")): 2 tools, 1 limit, default deny, 1 tool"))
        #expect(shown.output.contains("\nrun   allow   c         10  hour    fixed_window  grant  local   enforce\n"))

        let folder = try TemporaryFolder()
        let flag = "--arguments-checked-by-gateway"
        let same = try folder.write(Self.document(max: 10), to: "same.json")
        let equal = await ControlRun.of("policy", "diff", same, flag, environment: ["SLUICE_SOCKET": socket])
        #expect(equal.output == "no difference\n")
        #expect(equal.exitCode == 0)
        let other = try folder.write(Self.document(max: 20), to: "other.json")
        let differing = await ControlRun.of("policy", "diff", "--socket", socket, other, flag)
        #expect(differing.exitCode == 1)
        #expect(differing.output.hasPrefix("tool run\n~ limit c: max 10 -> 20, keeps its count\n"))

        // What is in force, not what the file has become.
        _ = try sidecar.folder.write("{", to: "policy.json")
        try await waitUntil("the file is refused") { try sidecar.figure("policy_refusals") == 1 }
        let after = await ControlRun.of("policy", "diff", "--socket", socket, same, flag)
        #expect(after.exitCode == 0)
    }

    @Test func aFolderIsShownByGrant() async throws {
        let folder = try TemporaryFolder()
        _ = try folder.write(#"{"version": "1", "default": "allow"}"#, to: "open.json")
        _ = try folder.write(#"{"version": "1", "default": "deny"}"#, to: "shut.json")
        _ = try folder.write(#"{"bob": "shut", "ann": "open"}"#, to: "grants.json")
        let runtime = try TemporaryFolder()
        let socket = runtime.path("s.sock")
        let process = try SidecarProcess.launch(["--socket", socket, "--policies", folder.path])
        try await SidecarProcess.waitUntilReady(process)
        let same = await ControlRun.of("policy", "diff", "--socket", socket, folder.path)
        #expect(same.output == "no difference\n")
        let ann = await ControlRun.of("policy", "show", "--socket", socket, "--grant", "ann")
        #expect(ann.output.hasPrefix("grant  policy\nann    open\n\nopen: 0 tools"))

        let client = try RedisClient(path: socket)
        #expect(try client.command("POLICY", "SOURCE").text == folder.path + "\n")
        #expect(try client.command("POLICY", "SHOW").text?.hasSuffix(": ok, 2 documents, 2 grants\n") == true)
        let shut = try client.command("policy", "show", "bob").text
        #expect(shut?.hasSuffix("\n\(folder.path)/shut.json: ok, 0 tools, 0 limits, default deny\n") == true)
        #expect(try client.command("POLICY", "SHOW", "carl").text == "carl: no policy, so no tool is allowed\n")
        for words in [["POLICY"], ["POLICY", "SHOUT"], ["POLICY", "SHOW", "a", "b"], ["POLICY", "SOURCE", "\r\n"]] {
            guard case .error(let text) = try client.command(words) else {
                Issue.record("\(words) was answered")
                continue
            }
            #expect(text.hasPrefix("BADARG POLICY: found \""))
            #expect(text.hasSuffix("\", expected SHOW [grant], SOURCE or DOCUMENTS"))
        }
        try await process.end()
    }

    @Test func aDocumentOrASidecar() async throws {
        #expect(await ControlRun.of("policy", "show", "a.json", "--socket", "/s").exitCode == 64)
        #expect(await ControlRun.of("policy", "diff", "a.json", "b.json", "--socket", "/s").exitCode == 64)
        #expect(await ControlRun.of("policy", "diff", "a.json", "b.json", "c.json").exitCode == 64)
        #expect(await ControlRun.of("policy", "diff").exitCode == 64)
        let none = await ControlRun.of("policy", "show", "--socket", "/nonexistent/s")
        #expect(none.exitCode == 2)
        #expect(none.errors.hasPrefix("sluicectl: cannot connect to /nonexistent/s"))
        let stub = try await StubSidecar { _ in
            StubSidecar.map([
                ("source", StubSidecar.text("p")), ("single", StubSidecar.integer(1)),
                ("files", StubSidecar.map([("policy.json", StubSidecar.text("{"))])),
            ])
        }
        let odd = await ControlRun.of("policy", "show", "--socket", stub.path)
        #expect(odd.exitCode == 2)
        #expect(odd.errors.contains("expected policies of this version"))
    }
}
