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
            try await waitUntil("that is logged") { sidecar.log.contains("policy rejected, the last good one stays") }
            #expect(try client.check(grant, "t").remaining == 6)
        }

        /// As `rsync --times` and `cp --preserve` leave it: neither the size nor the time of the last change is another one.
        @Test func aFileOfEqualSizeAndTimeIsReadAgain() async throws {
            let sidecar = try await SidecarProcess(policy: Self.document(max: "5"), replicas: 1)
            let client = try sidecar.client()
            let path = sidecar.folder.path("policy.json")
            var before = stat()
            try #require(stat(path, &before) == 0)
            let file = try #require(FileHandle(forWritingAtPath: path))
            try file.write(contentsOf: Data(Self.document(max: "9").utf8))
            let times = [before.st_atim, before.st_mtim]
            try #require(futimens(file.fileDescriptor, times) == 0)
            try file.close()
            var after = stat()
            try #require(stat(path, &after) == 0)
            try #require(
                (after.st_ino, after.st_size, after.st_mtim.tv_sec, after.st_mtim.tv_nsec)
                    == (before.st_ino, before.st_size, before.st_mtim.tv_sec, before.st_mtim.tv_nsec))
            try await waitUntil("the file is read again\n\(sidecar.log)") { try client.info("policy_reloads") == "1" }
            #expect(try client.check(Grants.next(), "t").limit == 9)
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
            try await waitUntil("the link is followed again") { try client.info("policy_reloads") == "1" }
            #expect(try client.check("g", "t").remaining == 4)
            try await process.end()
        }

        /// Every limit again with another maximum, and one that counts in another way.
        private static func language(max: Int, algorithm: String) -> String {
            Document.tools([
                "fixed": [Document.limit("c", max: max)],
                "sliding": [Document.limit("c", max: max, #""algorithm": "sliding_window""#)],
                "bucket": [Document.limit("c", max: 1, #""algorithm": "token_bucket", "burst": \#(max)"#)],
                "slots": [Document.slots("c", max: max)],
                "changed": [Document.limit("c", max: max, #""algorithm": "\#(algorithm)""#)],
            ])
        }

        /// A counter keeps its count when its maximum changes, and reservations can still be settled; one that counts in
        /// another way is another counter. Redis still has the old one when the document goes back.
        @Test(arguments: Desk.Store.allCases)
        func countsOutliveNewMaximums(_ store: Desk.Store) async throws {
            let desk = try await Desk(store, policy: Self.language(max: 10, algorithm: "fixed_window"))
            let grant = Grants.next()
            let tools = ["fixed", "sliding", "bucket", "slots", "changed"]
            let ids = try tools.map { try desk.one.reserve(grant, $0, "COST", $0 == "slots" ? "1" : "4") }
            func reload(_ max: Int, _ algorithm: String, _ number: Int) async throws {
                for sidecar in desk.sidecars {
                    _ = try sidecar.folder.write(Self.language(max: max, algorithm: algorithm), to: "policy.json")
                    sidecar.process.signal(SIGHUP)
                    try await waitUntil("the file is read again") { try sidecar.figure("policy_reloads") >= number }
                }
            }
            try await reload(5, "sliding_window", 1)
            for tool in tools {
                let used = tool == "changed" ? 0 : tool == "slots" ? 1 : 4
                let reply = try desk.other.peek(grant, tool, "TRACE")
                #expect(reply.limit == 5 && reply.trace?.first?.used == used, "\(tool)")
                // A bucket of another size holds what was in it.
                #expect(reply.remaining == 5 - used, "\(tool)")
            }
            #expect(try !desk.one.check(grant, "bucket", "COST", "2").allowed)
            #expect(try desk.one.check(grant, "changed", "COST", "5").remaining == 0)
            for (tool, id) in zip(tools, ids) where tool != "slots" {
                #expect(try desk.other.settle("COMMIT", grant, id, "3"), "\(tool)")
            }
            #expect(try desk.other.settle("RELEASE", grant, ids[3]))
            try await reload(20, "fixed_window", 2)
            for tool in tools where tool != "changed" || store == .redis {
                let reply = try desk.one.peek(grant, tool, "TRACE")
                let used = tool == "slots" ? 0 : 3
                #expect(reply.limit == 20 && reply.trace?.first?.used == used, "\(tool)")
            }
        }

        /// Reloads without a pause, under load, between two documents: every check is answered, and what was admitted is
        /// what was counted.
        @Test func manyReloadsLoseNoCheckAndChargeNoneTwice() async throws {
            let documents = [1_000_000, 2_000_000].map { max in
                Document.tools(
                    ["run": [Document.limit("c", max: max), Document.limit("s", max: max, #""scope": "session""#)]],
                    allTools: max == 1_000_000 ? [] : [Document.limit("all", max: max)])
            }
            let pair = try await Pair(policy: documents[0])
            let grants = (1...5).map { Grants.next("traffic\($0)") }
            let traffic = Traffic(to: pair.both, grants: grants, pauseMicroseconds: 500)
            let client = try pair.one.client()
            for reload in 1...Self.reloads {
                _ = try pair.one.folder.write(documents[reload % 2], to: "policy.json")
                pair.one.process.signal(SIGHUP)
                let deadline = ContinuousClock.now + .seconds(20)
                while try Int(client.info("policy_reloads") ?? "") ?? 0 < reload {
                    guard ContinuousClock.now < deadline else { throw SupportError("reload \(reload) does not come") }
                }
            }
            let tallies = try await traffic.end()
            for tally in tallies {
                #expect(tally.answers > 0 && tally.errors.isEmpty)
                #expect(Set(tally.sources.keys) == ["shared"])
            }
            for grant in grants {
                let admitted = tallies.reduce(0) { $0 + ($1.admitted["shared"]?[grant] ?? 0) }
                #expect(try pair.other.client().used(grant, "run") == [admitted, admitted])
            }
            #expect(try client.info("policy_last_refusal") == "")
        }

        private static let reloads = 150
    }
}
