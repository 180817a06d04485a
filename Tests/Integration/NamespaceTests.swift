import Foundation
import Support
import Testing

extension Integration {
    /// A Redis Cluster whose masters are hosts of their own, as far as the network knows: what is cut off there sends
    /// neither RST nor FIN.
    @Suite(.enabled(if: NamespaceStage.isAllowed, "network namespaces need root and iproute2's ip"))
    struct Namespaces {
        /// A master's link goes down and comes up again. Its connections stay open all the time.
        @Test func aMasterBehindADeadLinkIsLeft() async throws {
            let stage = try await NamespaceStage()
            let policy = Document.tools(["wide": [Document.limit("wide", max: 1_000_000)]])
            var sidecars: [SidecarProcess] = []
            for _ in 0..<2 {
                let sidecar = try await SidecarProcess(
                    policy: policy, redis: stage.url, store: stage, budget: "200ms", wrapper: stage.wrapper)
                try await sidecar.waitUntilShared()
                sidecars.append(sidecar)
            }
            let clients = try sidecars.map { try $0.client() }
            let grants = (0..<60).map { "cut-\($0)" }
            var sources: [[String]] = []
            /// Every grant through both sidecars.
            func askAll() throws {
                var seen: Set<String> = []
                for grant in grants {
                    for client in clients {
                        let reply = try client.check(grant, "wide")
                        #expect(reply.allowed)
                        seen.insert(reply.source)
                    }
                }
                sources.append(seen.sorted())
            }
            try askAll()
            try await stage.setLink(1, isUp: false)
            try askAll()
            for sidecar in sidecars {
                let client = try sidecar.client()
                try await waitUntil("one master is away\n\(sidecar.log)") {
                    try client.info("redis_masters_away") == "1"
                }
                let line = try (1...3).map { try client.info("redis_master_\($0)") ?? "" }
                    .first { $0.hasPrefix("address=\(stage.address(1)),") }
                #expect(line?.contains("partitions_shared=0") == true, "\(line ?? "")")
            }
            try askAll()
            try await stage.setLink(1, isUp: true)
            for sidecar in sidecars {
                try await sidecar.waitUntilShared(timeout: .seconds(60))
                try await waitUntil("all is written back") { try sidecar.figure("unsettled_counters") == 0 }
            }
            #expect(sources[0].contains("shared") && sources[2] == ["local", "shared"], "\(sources)")
            for grant in grants {
                let reply = try clients[0].check(grant, "wide", "COST", "0", "TRACE")
                #expect(reply.source == "shared" && reply.trace?.first?.used == 6, "\(grant): \(reply)")
            }
        }
    }
}

/// Three masters of a cluster, each in a network namespace of its own, and a bridge in another one, which sidecars join.
final class NamespaceStage: Sendable {
    private let name: String
    private let nodes: [RedisProcess]

    /// Whether namespaces can be made here.
    static let isAllowed: Bool = {
        let name = "sluice\(ProcessInfo.processInfo.processIdentifier)t"
        defer { _ = try? run(["netns", "del", name]) }
        return
            (try? run(["netns", "add", name])) != nil
            && (try? run(["-n", name, "link", "add", "bridge0", "type", "bridge"])) != nil
            && (try? run(["-n", name, "link", "add", "one", "type", "veth", "peer", "name", "other"])) != nil
    }()

    init() async throws {
        let name = "sluice\(ProcessInfo.processInfo.processIdentifier)"
        self.name = name
        var nodes: [RedisProcess] = []
        do {
            try Self.run(["netns", "add", "\(name)hub"])
            try Self.run(["-n", "\(name)hub", "link", "add", "bridge0", "type", "bridge"])
            try Self.run(["-n", "\(name)hub", "addr", "add", "10.77.0.1/24", "dev", "bridge0"])
            for link in ["lo", "bridge0"] { try Self.run(["-n", "\(name)hub", "link", "set", link, "up"]) }
            for index in 0..<3 {
                let node = "\(name)n\(index)"
                try Self.run(["netns", "add", node])
                try Self.run([
                    "-n", "\(name)hub", "link", "add", "to\(index)", "type", "veth", "peer", "name", "eth0", "netns",
                    node,
                ])
                try Self.run(["-n", "\(name)hub", "link", "set", "to\(index)", "master", "bridge0", "up"])
                try Self.run(["-n", node, "addr", "add", "10.77.0.\(index + 2)/24", "dev", "eth0"])
                for link in ["lo", "eth0"] { try Self.run(["-n", node, "link", "set", link, "up"]) }
                nodes.append(
                    try await RedisProcess(
                        configuration: [
                            "port 6379", "bind 10.77.0.\(index + 2)", "protected-mode no", "cluster-enabled yes",
                            "cluster-config-file nodes.conf", "cluster-node-timeout 2000",
                            "cluster-require-full-coverage no",
                        ], wrapper: ["ip", "netns", "exec", node]))
            }
            let masters = (0..<3).map { "10.77.0.\($0 + 2):6379" }
            try Self.run(
                ["netns", "exec", "\(name)hub", "redis-cli", "--cluster", "create"] + masters + ["--cluster-yes"])
            for node in nodes {
                try await waitUntil("a node serves the cluster", timeout: .seconds(60)) {
                    try node.command("CLUSTER", "INFO").text?.contains("cluster_state:ok") == true
                }
            }
        } catch {
            Self.remove(name)
            throw error
        }
        self.nodes = nodes
    }

    /// A namespace is gone with its last process.
    deinit { Self.remove(name) }

    private static func remove(_ name: String) {
        for end in ["n0", "n1", "n2", "hub"] { _ = try? run(["netns", "del", "\(name)\(end)"]) }
    }

    /// Runs a program where the masters can be reached.
    var wrapper: [String] { ["ip", "netns", "exec", "\(name)hub"] }
    var url: String { "redis+cluster://10.77.0.2:6379,10.77.0.3:6379,10.77.0.4:6379" }
    func address(_ index: Int) -> String { "10.77.0.\(index + 2):6379" }

    /// Pulls the cable of a master, or plugs it in.
    func setLink(_ index: Int, isUp: Bool) async throws {
        try Self.run(["-n", "\(name)hub", "link", "set", "to\(index)", isUp ? "up" : "down"])
    }

    @discardableResult
    private static func run(_ words: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["ip"] + words
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw SupportError("ip \(words): \(output)") }
        return output
    }
}
