import Foundation
import Glibc
import NIOConcurrencyHelpers
@testable import sluice_load
import Support
import Testing

/// Real processes that the driver starts and ends itself.
@Suite struct LocalClusterTests {
    private static let policy = """
        {"version": "1", "default": "deny",
         "tools": {"opencode_run": {"limits": [{"counter": "c", "window": "hour", "max": 5, "scope": "grant"}]}}}
        """

    private func check(_ socket: String) throws -> String {
        let client = try RedisClient(path: socket)
        return "\(try client.command(["CHECK", "g", "opencode_run"]))"
    }

    @Test func startsBreaksAndEndsItsProcesses() async throws {
        let cluster = try LocalCluster(sidecars: 2, policy: Self.policy, budgetNs: 5_000_000_000)
        do {
            try await cluster.start()
            #expect(cluster.sidecarSockets.count == 2)
            for socket in cluster.sidecarSockets { #expect(try check(socket).contains("shared")) }
            try await cluster.perform(.act(.kill, .sidecar(1)))
            #expect(throws: (any Error).self) { try check(cluster.sidecarSockets[0]) }
            try await cluster.perform(.flush)
            try await cluster.perform(.act(.stop, .redis))
            // Not answered while it hangs.
            await #expect(throws: LocalClusterFailure.self) { try await cluster.perform(.flush) }
            try await cluster.perform(.act(.continue, .redis))
            try await cluster.perform(.act(.restart, .sidecar(1)))
            try await waitUntil("the sidecar is back") { (try? check(cluster.sidecarSockets[0])) != nil }
            try await cluster.perform(.reloadPolicy(path: nil))
        } catch {
            await cluster.end()
            throw error
        }
        await cluster.end()
        #expect(!FileManager.default.fileExists(atPath: cluster.redisSocket))
        #expect(throws: (any Error).self) { try check(cluster.sidecarSockets[1]) }
    }

    @Test func whatDoesNotStartIsReported() async throws {
        let cluster = try LocalCluster(sidecars: 1, policy: "no document", budgetNs: 20_000_000)
        await #expect(throws: LocalClusterFailure.self) { try await cluster.start() }
        await cluster.end()
        #expect(!FileManager.default.fileExists(atPath: cluster.redisSocket))
    }

    @Test func aRunDoesWhatItsScriptSaysAndNotesWhen() async throws {
        let cluster = try LocalCluster(sidecars: 1, policy: Self.policy, budgetNs: 5_000_000_000)
        var settings = LoadSettings(socketPaths: cluster.sidecarSockets)
        settings.warmUpNs = 0
        settings.durationNs = 600_000_000_000
        settings.connectionsPerSocket = 2
        settings.budgetNs = 5_000_000_000
        let script = try FaultScript(
            text: "at 0s flush redis\nat 1ms kill sidecar 1\nat 2ms restart sidecar 1", sidecars: 1)
        let notes = NIOLockedValueBox<[String]>([])
        let answers = NIOLockedValueBox<Int64>(0)
        let runner = LoadRunner(
            settings, cluster: cluster, faults: script,
            onSample: { sample in
                let count = sample.statistics.decisionCount
                answers.withLockedValue { $0 += count }
            },
            onNote: { note in notes.withLockedValue { $0.append(note) } })
        do {
            try await cluster.start()
            let run = Task { try await runner.run() }
            try await waitUntil("the script is over", timeout: .seconds(60)) {
                notes.withLockedValue { $0.count } == 3
            }
            try await waitUntil("checks are answered", timeout: .seconds(60)) {
                answers.withLockedValue { $0 } > 0
            }
            run.cancel()
            let summary = try await run.value
            #expect(summary.timeline.marks.map(\.text) == ["flush redis", "kill sidecar 1", "restart sidecar 1"])
        } catch {
            await cluster.end()
            throw error
        }
        await cluster.end()
    }
}
