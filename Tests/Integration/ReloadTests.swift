import Foundation
import Support
import Testing

extension Integration {
    /// Policies that change while a sidecar runs.
    @Suite struct Reload {
        private static func document(max: String) -> String {
            """
            {"version": "1", "default": "deny", "tools": {"t": {"limits": [
                {"counter": "c", "window": "day", "max": \(max)}]}}}
            """
        }

        @Test func aChangedFileIsTakenAndABadOneIsNot() async throws {
            let sidecar = try await SidecarProcess(policy: Self.document(max: "5"), replicas: 1)
            let client = try sidecar.client()
            let grant = Grants.next()
            #expect(try client.check(grant, "t").remaining == 4)

            _ = try sidecar.folder.write(Self.document(max: "9"), to: "policy.json")
            try await waitUntil("the file is read again\n\(sidecar.log)") { try sidecar.figure("policy_reloads") == 1 }
            let reply = try client.check(grant, "t")
            #expect(reply.limit == 9 && reply.remaining == 7)

            _ = try sidecar.folder.write(Self.document(max: "\"x\""), to: "policy.json")
            try await waitUntil("the file is refused") {
                try client.info("policy_last_refusal")?.contains("/tools/t/limits/0/max: found \"x\"") == true
            }
            try await waitUntil("that is logged") { sidecar.log.contains("policy refused, the last good one stays") }
            #expect(try client.check(grant, "t").remaining == 6)
        }

        @Test func aSignalReadsAFolderAgain() async throws {
            let folder = try TemporaryFolder()
            _ = try folder.write(Self.document(max: "5"), to: "small.json")
            _ = try folder.write(Self.document(max: "50"), to: "large.json")
            _ = try folder.write(#"{"*": "small", "vip": "large"}"#, to: "grants.json")
            let socket = try TemporaryFolder()
            let process = try SidecarProcess.launch([
                "--socket", socket.path("s.sock"), "--policies", folder.path,
            ])
            try await SidecarProcess.waitUntilReady(process)
            let client = try RedisClient(path: socket.path("s.sock"))
            #expect(try client.check("vip", "t").limit == 50)
            #expect(try client.check("another", "t").limit == 5)

            process.signal(SIGHUP)
            try await waitUntil("the folder is read again") { try client.info("policy_reloads") == "1" }
            try await waitUntil("that is logged") { process.errors.contains("changes=0") }
            #expect(try client.check("vip", "t").remaining == 48)
            try await process.end()
        }

        /// As Kubernetes replaces a ConfigMap: the file is a link over a link, and the inner one is swapped.
        @Test func aSwappedLinkIsSeen() async throws {
            let folder = try TemporaryFolder()
            let files = FileManager.default
            for (version, max) in [("v1", "5"), ("v2", "6")] {
                try files.createDirectory(atPath: folder.path(version), withIntermediateDirectories: false)
                _ = try folder.write(Self.document(max: max), to: "\(version)/policy.json")
            }
            try files.createSymbolicLink(atPath: folder.path("..data"), withDestinationPath: "v1")
            try files.createSymbolicLink(atPath: folder.path("policy.json"), withDestinationPath: "..data/policy.json")
            let process = try SidecarProcess.launch([
                "--socket", folder.path("s.sock"), "--policy", folder.path("policy.json"),
            ])
            try await SidecarProcess.waitUntilReady(process)
            let client = try RedisClient(path: folder.path("s.sock"))
            #expect(try client.check("g", "t").limit == 5)

            try files.createSymbolicLink(atPath: folder.path("..new"), withDestinationPath: "v2")
            #expect(rename(folder.path("..new"), folder.path("..data")) == 0)
            try await waitUntil("the link is followed anew") { try client.info("policy_reloads") == "1" }
            #expect(try client.check("g", "t").remaining == 4)
            try await process.end()
        }
    }
}
