import Foundation
import Support
import Testing

@Suite struct GatewaysCommandTests {
    private static let valid = """
        {"version": "1", "denial": "error", "grant": ["jwt:sub", "principal"], "domains": {
          "mcp": {"tool": "x-tool", "denial": "mcp", "missing_tool": "allow"},
          "llm": {"grant": "x-tenant-id", "tool": "model", "tool_prefix": "llm/", "charges": "always"}}}
        """

    @Test func aValidFileIsShown() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(Self.valid, to: "gateways.json")
        let run = await ControlRun.of("gateways", "check", path)
        #expect(run.errors == "")
        #expect(run.exitCode == 0)
        #expect(
            run.output == """
                domain  grant             tool                 missing grant  missing tool  denial  charges
                llm     x-tenant-id       model, after "llm/"  deny           domain        http    always
                mcp     grant or x-grant  x-tool               deny           allow         mcp     fitting

                \(path): ok, 2 domains; ext_authz: grant from jwt:sub, principal, denial error, missing metadata deny; \
                headers ratelimit

                """)
        let json = try await ControlRun.of("gateways", "check", path, "--json").json()
        #expect(json["valid"] as? Bool == true && (json["domains"] as? [Any])?.count == 2)
        let bare = try folder.write(#"{"version": "1"}"#, to: "bare.json")
        #expect(
            await ControlRun.of("gateways", "check", bare).output
                == "\(bare): ok, every domain with the defaults; ext_authz: grant from context:grant, header:x-grant, "
                + "jwt:sub, principal, denial mcp, missing metadata deny; headers ratelimit\n")
    }

    @Test func allFaultsAreShown() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(#"{"version": 1, "denial": "no", "domain": {}}"#, to: "gateways.json")
        let run = await ControlRun.of("gateways", "check", path)
        #expect(run.exitCode == 1 && run.output == "")
        let lines = run.errors.split(separator: "\n")
        #expect(lines.count == 3 && lines.allSatisfy { $0.hasPrefix("\(path):1:") })
        let json = await ControlRun.of("gateways", "check", path, "--json")
        #expect(json.exitCode == 1)
        #expect(try (json.json()["faults"] as? [Any])?.count == 3)
        let missing = await ControlRun.of("gateways", "check", folder.path("none.json"))
        #expect(missing.exitCode == 2)
        #expect(missing.errors == "sluicectl: \(folder.path("none.json")): No such file or directory\n")
    }

    /// Envoy's filters know nothing of the end of a call.
    @Test func slotsThatNobodyReleasesAreAdvisedOn() async throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(
            #"""
            {"version": "1", "default": "deny", "tools": {"slow": {"limits": [
              {"counter": "slots", "algorithm": "concurrency", "max": 2, "hold": "5m"}]}}}
            """#, to: "policy.json")
        let run = await ControlRun.of("policy", "check", path, "--for", "ext_authz")
        #expect(run.exitCode == 0)
        let line =
            "advice: /tools/slow/limits/slots: ext_authz says nothing when a call has ended, so each slot is held for 5 "
            + "minutes, however short the call is\n"
        #expect(run.output.contains(line), "\(run.output)")
        #expect(await !ControlRun.of("policy", "check", path).output.contains("advice"))
        let json = try await ControlRun.of("policy", "check", path, "--for", "rls", "--json").json()
        let document = try #require((json["documents"] as? [[String: Any]])?.first)
        #expect((document["advice"] as? [Any])?.count == 1)
    }

    /// As a policy: the last good one stays, and a script that deploys it learns that from the exit code.
    @Test func aRejectedReloadIsReported() async throws {
        let folder = try TemporaryFolder()
        let file = try folder.write(#"{"version": "1"}"#, to: "gateways.json")
        let sidecar = try await SidecarProcess(
            policy: #"{"version": "1", "default": "allow"}"#, replicas: 1,
            arguments: ["--gateways", file, "--grpc-socket", folder.path("grpc.sock")])
        let before = await ControlRun.of("status", "--socket", sidecar.socketPath)
        #expect(before.exitCode == 0 && before.output.contains("\ngateways  \(file)\n"))

        try folder.write(#"{"version": "1", "denial": "no", "grant": []}"#, to: "gateways.json")
        sidecar.process.signal(SIGHUP)
        try await waitUntil("it is refused") { try sidecar.figure("gateways_refusals") == 1 }
        try await waitUntil("that is logged") {
            sidecar.log.components(separatedBy: "gateways rejected, the last good ones stay").count == 3
        }
        let status = await ControlRun.of("status", "--socket", sidecar.socketPath)
        #expect(status.exitCode == 3)
        #expect(status.output.contains("\nrefused   newer ones, the last good ones stay: \(file):1:"))
        let json = await ControlRun.of("status", "--socket", sidecar.socketPath, "--json")
        #expect(try (json.json()["gateways_refused"] as? String)?.hasPrefix("\(file):1:") == true)

        try folder.write(#"{"version": "1", "denial": "error"}"#, to: "gateways.json")
        sidecar.process.signal(SIGHUP)
        try await waitUntil("it is taken") { try sidecar.figure("gateways_reloads") >= 1 }
        #expect(await ControlRun.of("status", "--socket", sidecar.socketPath).exitCode == 0)
    }
}
