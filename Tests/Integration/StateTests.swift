import Foundation
import Support
import Testing

extension Integration.Outages {
    /// Sidecars that restart during an outage: afterwards Redis holds what all of their processes admitted, no call
    /// less and none twice.
    @Suite struct State {
        /// How a process ends.
        enum Ending: String, CaseIterable, Sendable { case terminated, killed }

        /// How Redis goes, and comes back.
        enum Absence: String, CaseIterable, Sendable { case cutOff, restarted, restartedEmpty }

        @Test(arguments: Ending.allCases, Absence.allCases)
        func aRollingRestart(_ ending: Ending, _ absence: Absence) async throws {
            let fleet = try await Fleet(keepsMemory: absence == .restarted)
            let grants = (1...20).map { Grants.next("rolled\($0)") }
            // Both know what is used.
            for index in fleet.sidecars.indices { try fleet.call(index, grants) }
            for sidecar in fleet.sidecars {
                for grant in grants { _ = try sidecar.client().peek(grant, "run") }
            }
            if absence == .cutOff {
                try await fleet.proxy.set(.refuse, cutsAll: true)
            } else {
                try await fleet.redis.kill()
            }
            for sidecar in fleet.sidecars { try await sidecar.waitUntilLocal() }
            for _ in 1...2 {
                for index in fleet.sidecars.indices {
                    try fleet.call(index, grants)
                    try await fleet.restart(index, ending)
                    try fleet.call(index, grants)
                }
            }
            if absence == .cutOff { try await fleet.proxy.set(.forward) } else { try await fleet.redis.restart() }
            try await fleet.expectTrueCounts()
        }

        /// A share that is used up stays used up, however often the sidecar is started again.
        @Test(arguments: Ending.allCases) func aShareIsNotHandedOutAgain(_ ending: Ending) async throws {
            let fleet = try await Fleet(policy: Policies.rate(100, per: Policies.longWindow))
            let grant = Grants.next()
            #expect(try fleet.sidecars[0].client().check(grant, "run", "COST", "40").source == "shared")
            for sidecar in fleet.sidecars { #expect(try sidecar.client().peek(grant, "run").remaining == 60) }
            try await fleet.proxy.set(.refuse, cutsAll: true)
            for sidecar in fleet.sidecars { try await sidecar.waitUntilLocal() }
            var admitted = 0
            for _ in 1...3 {
                for index in fleet.sidecars.indices {
                    let words = Array(repeating: ["CHECK", grant, "run"], count: 20)
                    let replies = try fleet.sidecars[index].client().pipeline(words).map(CheckReply.init)
                    admitted += replies.count(where: \.allowed)
                    try await fleet.restart(index, ending)
                }
            }
            #expect(admitted == 60)
        }

        /// Killed in the midst of settling, again and again.
        @Test func killedWhileItSettles() async throws {
            let fleet = try await Fleet(count: 1)
            let grants = (1...1_500).map { Grants.next("many\($0)") }
            try await fleet.proxy.set(.refuse, cutsAll: true)
            try await fleet.sidecars[0].waitUntilLocal()
            for round in 1...5 {
                try fleet.call(0, grants)
                try await fleet.waitUntilWritten(0)
                try await fleet.proxy.set(.forward)
                // Not all of it, and each time at another place.
                try await waitUntil("it settles") { try fleet.sidecars[0].figure("settled") >= 100 * round }
                try await fleet.sidecars[0].process.end()
                try await fleet.proxy.set(.refuse, cutsAll: true)
                try await fleet.start(0)
                try await fleet.sidecars[0].waitUntilLocal()
            }
            try await fleet.proxy.set(.forward)
            try await fleet.expectTrueCounts()
        }

        /// Killed while it admits, again and again: what is missing afterwards had been admitted since it was last all on
        /// the disk, and nothing is there twice.
        @Test func killedWhileItAdmits() async throws {
            let fleet = try await Fleet(count: 1, policy: Policies.rate(1_000_000, per: Policies.longWindow))
            let grants = (1...50).map { Grants.next("amid\($0)") }
            try await fleet.proxy.set(.refuse, cutsAll: true)
            try await fleet.sidecars[0].waitUntilLocal()
            var mayBeLost = 0
            for round in 1...5 {
                for _ in 1...8 * round { try fleet.call(0, grants) }
                try await fleet.waitUntilWritten(0)
                // The more calls, the more of them are on the disk by the end.
                for _ in 1...8 * round { try fleet.call(0, grants) }
                mayBeLost += 8 * round
                try await fleet.sidecars[0].process.end()
                try await fleet.start(0)
                try await fleet.sidecars[0].waitUntilLocal()
            }
            try await fleet.proxy.set(.forward)
            try await fleet.expectTrueCounts(butFor: mayBeLost)
        }

        /// Connections break in the midst of settling as well: answers are lost, and so are processes.
        @Test func answersAndProcessesAreLost() async throws {
            let fleet = try await Fleet(count: 1)
            let grants = (1...300).map { Grants.next("lost\($0)") }
            try await fleet.proxy.set(.refuse, cutsAll: true)
            try await fleet.sidecars[0].waitUntilLocal()
            for round in 1...6 {
                try fleet.call(0, grants)
                try await fleet.waitUntilWritten(0)
                let outages = try fleet.sidecars[0].figure("outages")
                // Some replies come through: the handshake's, the probe's, or the beginning of a settlement's.
                try await fleet.proxy.set(.cut(afterReplyBytes: 400 + 120 * round), cutsAll: true)
                _ = try? await waitUntil("it was cut", timeout: .seconds(2)) {
                    try fleet.sidecars[0].figure("outages") > outages
                }
                try await fleet.sidecars[0].process.end()
                try await fleet.start(0)
            }
            try await fleet.proxy.set(.forward, cutsAll: true)
            try await fleet.expectTrueCounts()
        }

        /// A disk that is full is said once, and checks go on.
        @Test func theDiskIsFull() async throws {
            let fleet = try await Fleet(count: 1, wrapper: ["prlimit", "--fsize=2000:unlimited"])
            let sidecar = fleet.sidecars[0]
            try await fleet.proxy.set(.refuse, cutsAll: true)
            try await sidecar.waitUntilLocal()
            try fleet.call(0, (1...100).map { Grants.next("full\($0)") })
            try await waitUntil("it could not be written") { try sidecar.figure("state_faults") >= 2 }
            try fleet.call(0, (1...100).map { Grants.next("fuller\($0)") })
            #expect(sidecar.log.split(separator: "\n").count { $0.contains("state is not kept") } == 1)
            // There is room again: nothing that was admitted meanwhile is missing.
            let relief = try ChildProcess("prlimit", ["--pid", "\(sidecar.pid)", "--fsize=unlimited:unlimited"])
            #expect(try await relief.wait() == .exited(status: 0))
            try await fleet.waitUntilWritten(0)
            #expect(sidecar.log.contains("state is kept again"))
            try await sidecar.process.end()
            try await fleet.start(0)
            try await fleet.proxy.set(.forward)
            try await fleet.expectTrueCounts()
        }

        @Test func oneFolderIsForOneSidecar() async throws {
            let fleet = try await Fleet(count: 1)
            let folder = fleet.folders[0].path("state")
            let socket = try TemporaryFolder()
            let policy = try socket.write(Policies.seed, to: "policy.json")
            let arguments = ["--socket", socket.path("s"), "--policy", policy, "--state-dir", folder]
            let errors = try await SidecarProcess.startErrors(arguments + ["--redis", fleet.redis.url])
            #expect(errors == ["--state-dir: \(folder): another sluiced uses it, give each its own"])
            let alone = try await SidecarProcess.outcome(arguments)
            #expect(alone.status == 78 && alone.errors.count == 1 && alone.errors[0].hasPrefix("--state-dir: found"))
        }

        @Test func aReplicaKeepsItsName() async throws {
            let fleet = try await Fleet(count: 1)
            let name = try fleet.sidecars[0].client().info("replica_id")
            #expect(try fleet.sidecars[0].client().info("state_dir") == fleet.folders[0].path("state"))
            try await fleet.restart(0, .killed)
            #expect(try fleet.sidecars[0].client().info("replica_id") == name)
            try await fleet.sidecars[0].waitUntilShared()
            #expect(try fleet.sidecars[0].client().check(Grants.next(), "run").source == "shared")
        }
    }

    /// Sidecars with state folders, which outlive their processes, and Redis behind a proxy.
    final class Fleet {
        let redis: RedisProcess
        let proxy: FaultProxy
        let folders: [TemporaryFolder]
        private(set) var sidecars: [SidecarProcess] = []
        /// What was admitted so far, by all processes.
        private var admitted: [String: Int] = [:]
        private let policy: String
        private let wrapper: [String]

        /// - Parameter keepsMemory: whether Redis writes down what it counts.
        init(
            count: Int = 2, policy: String = Settling.policy, keepsMemory: Bool = false, wrapper: [String] = []
        ) async throws {
            redis = try await RedisProcess(
                configuration: keepsMemory ? ["appendonly yes", "appendfsync always"] : [])
            proxy = try await FaultProxy(to: redis)
            // A disk that does not answer for half a second is given up, and then a batch may be sent twice.
            folders = try (0..<count).map { _ in try TemporaryFolder(isInMemory: true) }
            self.policy = policy
            self.wrapper = wrapper
            for index in folders.indices { try await start(index) }
            for sidecar in sidecars {
                try await sidecar.waitUntilShared()
                try await waitUntil("all know of each other") { try sidecar.figure("live_replicas") == count }
            }
        }

        func start(_ index: Int) async throws {
            let sidecar = try await SidecarProcess(
                policy: policy, redis: proxy.url, store: proxy, replicas: folders.count, budget: budget,
                arguments: ["--state-dir", folders[index].path("state")], wrapper: wrapper)
            if index < sidecars.count { sidecars[index] = sidecar } else { sidecars.append(sidecar) }
        }

        func restart(_ index: Int, _ ending: State.Ending) async throws {
            switch ending {
            case .terminated: #expect(try await sidecars[index].process.terminate() == .exited(status: 0))
            case .killed:
                try await waitUntilWritten(index)
                try await sidecars[index].process.end()
            }
            try await start(index)
        }

        func waitUntilWritten(_ index: Int) async throws {
            let sidecar = sidecars[index]
            try await waitUntil("all is written\n\(sidecar.log)") { try sidecar.figure("state_unwritten") == 0 }
        }

        /// One check of every grant, which all must be admitted.
        func call(_ index: Int, _ grants: [String]) throws {
            let calls = grants.map { ["CHECK", $0, "run"] }
            for reply in try sidecars[index].client().pipeline(calls).map(CheckReply.init) {
                #expect(reply.allowed)
            }
            for grant in grants { admitted[grant, default: 0] += 1 }
        }

        /// Redis is back: in the end it has what was admitted.
        ///
        /// - Parameter mayBeLost: how much of each grant need not be there.
        func expectTrueCounts(butFor mayBeLost: Int = 0) async throws {
            for sidecar in sidecars {
                try await sidecar.waitUntilShared()
                try await waitUntil("all is settled\n\(sidecar.log)") {
                    try sidecar.figure("unsettled_counters") == 0
                }
            }
            let client = try redis.client()
            var wrong: [String] = []
            for (grant, count) in admitted {
                let keys = try client.command(["KEYS", "*{\(grant)}*"]).elements ?? []
                let tally = try keys.first?.text.flatMap { try client.command(["GET", $0]).text }.flatMap { Int($0) }
                if !(count - mayBeLost...count).contains(tally ?? 0) {
                    wrong.append("\(grant): \(tally ?? 0) instead of \(count)")
                }
            }
            #expect(wrong.isEmpty, "\(wrong.count) of \(admitted.count), such as \(wrong.prefix(3))")
        }
    }
}
