import Foundation
import Glibc
import SluiceClient
import SluiceProcesses
import SluiceTerminal

/// The driver's own Redis and sidecars, in a temporary folder, and the faults that a script injects.
///
/// A process is only signalled by its id, and only before it has been waited for, so that the id cannot belong to
/// another process.
actor LocalCluster {
    private struct Process {
        /// nil for those of a Redis Cluster, which no script names.
        let victim: FaultScript.Victim?
        let command: [String]
        let log: String
        let socket: String
        /// nil after it has ended.
        var pid: pid_t?
    }

    private let folder: String
    private var group: ProcessGroup?
    private var processes: [Process] = []
    private let policy: String
    private let policyPath: String

    nonisolated let redisSocket: String
    /// Redis' address in the form of `--socket`; nil if there is no Redis.
    nonisolated let redisPlace: String?
    nonisolated let sidecarSockets: [String]
    nonisolated let redisClusters: [RedisClusterPlan]

    /// How sidecars and the driver reach Redis.
    enum RedisTransport: String, Sendable, CaseIterable {
        case unix
        case tcp
        /// Redis is not started, and sidecars count alone.
        case none
    }

    /// Starts nothing yet.
    /// - Parameters:
    ///   - policy: the document's text.
    ///   - budgetNs: the sidecars' budget for a check.
    ///   - clusters: Redis Clusters beside it, each with a sidecar of its own.
    init(
        sidecars: Int, policy: String, budgetNs: Int64, redis transport: RedisTransport = .unix,
        clusters: [RedisClusterPlan.Shape] = []
    ) throws {
        var template = Array("/tmp/sluice-load-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw LocalClusterFailure("mkdtemp: \(String(cString: strerror(errno)))")
        }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.folder = folder
        self.policy = policy
        policyPath = "\(folder)/policy.json"
        redisSocket = "\(folder)/redis.sock"
        sidecarSockets = (1...sidecars).map { "\(folder)/sidecar-\($0).sock" }
        redisClusters = try clusters.enumerated().map { number, shape in
            try RedisClusterPlan(shape, number: number, folder: folder, freePort: Self.freePort)
        }
        let port = transport == .tcp ? try Self.freePort() : 0
        let redis = [
            "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--unixsocket", redisSocket, "--dir", folder,
            "--save", "", "--appendonly", "no",
        ]
        let url: String
        switch transport {
        case .unix: (redisPlace, url) = (redisSocket, "unix://\(redisSocket)")
        case .tcp: (redisPlace, url) = ("tcp://127.0.0.1:\(port)", "redis://127.0.0.1:\(port)")
        case .none: (redisPlace, url) = (nil, "none")
        }
        if transport != .none {
            processes.append(
                Process(victim: .redis, command: redis, log: "\(folder)/redis.log", socket: redisSocket))
        }
        // Otherwise it is searched in `PATH`.
        let sluiced = ChildProgram.builtBeside("sluiced") ?? "sluiced"
        for (index, socket) in sidecarSockets.enumerated() {
            let command = [
                sluiced, "--socket", socket, "--policy", policyPath, "--redis", url, "--replicas", "\(sidecars)",
                "--budget", "\(max(1, budgetNs / 1_000_000))ms",
            ]
            processes.append(
                Process(
                    victim: .sidecar(index + 1), command: command, log: "\(folder)/sidecar-\(index + 1).log",
                    socket: socket))
        }
        for cluster in redisClusters {
            for master in cluster.masters {
                processes.append(
                    Process(victim: nil, command: master.command, log: "\(master.socket).log", socket: master.socket))
            }
            let command = [
                sluiced, "--socket", cluster.sidecarSocket, "--policy", policyPath, "--redis", cluster.url,
                "--cluster-buckets", "\(cluster.shape.buckets)", "--require-redis", "--budget",
                "\(max(1, budgetNs / 1_000_000))ms",
            ]
            processes.append(
                Process(
                    victim: nil, command: command, log: "\(cluster.sidecarSocket).log", socket: cluster.sidecarSocket))
        }
    }

    /// The id of a running process; nil if it has ended.
    func processID(of victim: FaultScript.Victim) -> pid_t? {
        processes.first { $0.victim == victim }?.pid
    }

    /// The ids of a cluster's processes that run: its sidecar, then its masters.
    func processIDs(of cluster: RedisClusterPlan) -> [pid_t] {
        ([cluster.sidecarSocket] + cluster.masters.map(\.socket)).compactMap { socket in
            processes.first { $0.socket == socket }?.pid
        }
    }

    /// The last line about trouble in each sidecar's log, if there is one.
    func complaints() -> [String] {
        processes.compactMap { process in
            guard process.victim != .redis, let log = FileManager.default.contents(atPath: process.log) else {
                return nil
            }
            return String(decoding: log, as: UTF8.self).split(separator: "\n")
                .last { $0.contains(" warning ") || $0.contains(" error ") }.map(String.init)
        }
    }

    /// Starts Redis and then the sidecars, and waits until each answers.
    func start() async throws {
        group = try ProcessGroup(folder: folder)
        try Data(policy.utf8).write(to: URL(fileURLWithPath: policyPath))
        for index in processes.indices {
            if let cluster = redisClusters.first(where: { $0.sidecarSocket == processes[index].socket }) {
                try await cluster.form()
            }
            try start(index)
            try await waitUntilReady(index)
        }
    }

    /// Asks all processes to end, kills those that do not, and removes the folder.
    func end() async {
        // Sidecars first, so that they do not see Redis disappear.
        for index in processes.indices.reversed() {
            signal(index, SIGCONT)
            signal(index, SIGTERM)
        }
        let deadlineNs = Clock.nowNs() + LoadBounds.endTimeoutNs
        while processes.indices.contains(where: isRunning), Clock.nowNs() < deadlineNs {
            try? await Task.sleep(for: .milliseconds(5))
        }
        for index in processes.indices { kill(index) }
        group?.end()
        group = nil
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Executes one action of a fault script.
    /// - Throws: `LocalClusterFailure` if it could not be done; the run goes on.
    func perform(_ action: FaultScript.Action) async throws {
        switch action {
        case .act(.stop, let victim): signal(index(of: victim), SIGSTOP)
        case .act(.continue, let victim): signal(index(of: victim), SIGCONT)
        case .act(.kill, let victim): kill(index(of: victim))
        case .act(.restart, let victim):
            kill(index(of: victim))
            try start(index(of: victim))
        case .flush:
            do {
                _ = try await SluiceConnection.ask(redisSocket, ["FLUSHALL"])
            } catch {
                throw LocalClusterFailure("FLUSHALL failed: \(error)")
            }
        case .reloadPolicy(let path):
            if let path {
                guard let text = FileManager.default.contents(atPath: path) else {
                    throw LocalClusterFailure("cannot read \(path)")
                }
                try text.write(to: URL(fileURLWithPath: policyPath), options: .atomic)
            }
            for index in processes.indices where processes[index].victim != .redis && processes[index].victim != nil {
                signal(index, SIGHUP)
            }
        }
    }

    // MARK: - Processes

    private func index(of victim: FaultScript.Victim) -> Int {
        guard let index = processes.firstIndex(where: { $0.victim == victim }) else {
            preconditionFailure("scripts name only processes that there are")
        }
        return index
    }

    private func start(_ index: Int) throws {
        guard let group else { throw LocalClusterFailure("the processes have been ended") }
        processes[index].pid = try group.start(processes[index].command, log: processes[index].log)
    }

    private func signal(_ index: Int, _ signal: Int32) {
        guard isRunning(index), let pid = processes[index].pid else { return }
        Glibc.kill(pid, signal)
    }

    /// Kills it, and waits for its end.
    private func kill(_ index: Int) {
        guard isRunning(index), let pid = processes[index].pid else { return }
        Glibc.kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        processes[index].pid = nil
    }

    private func isRunning(_ index: Int) -> Bool {
        guard let pid = processes[index].pid else { return false }
        guard waitpid(pid, nil, WNOHANG) == 0 else {
            processes[index].pid = nil
            return false
        }
        return true
    }

    private func waitUntilReady(_ index: Int) async throws {
        let process = processes[index]
        let deadlineNs = Clock.nowNs() + LoadBounds.startTimeoutNs
        while (try? await SluiceConnection.ask(process.socket, ["PING"]))?.string != "PONG" {
            guard isRunning(index), Clock.nowNs() < deadlineNs else {
                let log = FileManager.default.contents(atPath: process.log).map { String(decoding: $0, as: UTF8.self) }
                throw LocalClusterFailure(
                    "\(process.command[0]) did not start: \(log?.split(separator: "\n").last.map(String.init) ?? "it said nothing")"
                )
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// An unused port of the loopback interface; Redis fails to start if it was taken meanwhile.
    private static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 ? getsockname(descriptor, $0, &length) : -1
            }
        }
        guard result == 0 else { throw LocalClusterFailure("no free port: \(String(cString: strerror(errno)))") }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    /// The default document of spawned sidecars: 100 in 5 s for each identity, for the tool of each kind of check.
    static func defaultPolicy(tools: [String], scope: LoadSettings.Scope) -> String {
        let limit: JSONText = [
            "counter": "load", "window": 5, "max": 100, "scope": .string(scope.rawValue),
        ]
        return policy(tools: Set(tools).sorted().map { ($0, [limit]) })
    }

    /// A document that gives each tool its limits, and denies all others.
    static func policy(tools: [(name: String, limits: [JSONText])]) -> String {
        let document: JSONText = [
            "version": "1", "default": "deny", "tools": .object(tools.map { ($0.name, ["limits": .array($0.limits)]) }),
        ]
        return document.lines
    }
}
