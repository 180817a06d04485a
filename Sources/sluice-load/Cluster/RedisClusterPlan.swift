import SluiceClient

/// A Redis Cluster of the driver's own: its masters, and the sidecar that counts in it.
struct RedisClusterPlan: Sendable {
    struct Shape: Sendable, Equatable {
        var masters: Int
        /// As the sidecar's `--cluster-buckets`.
        var buckets: Int
    }

    struct Master: Sendable {
        let socket: String
        let port: Int
        let command: [String]
    }

    let shape: Shape
    let masters: [Master]
    let sidecarSocket: String

    /// - Parameters:
    ///   - folder: gets a folder for each master.
    ///   - number: which of several clusters.
    ///   - freePort: returns an unused port of loopback.
    init(_ shape: Shape, number: Int, folder: String, freePort: () throws -> Int) rethrows {
        self.shape = shape
        sidecarSocket = "\(folder)/cluster-\(number).sock"
        masters = try (0..<shape.masters).map { index in
            let name = "\(folder)/master-\(number)-\(index)"
            let (port, bus) = (try freePort(), try freePort())
            return Master(
                socket: "\(name).sock", port: port,
                command: [
                    "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--cluster-enabled", "yes",
                    "--cluster-port", "\(bus)", "--cluster-config-file", "\(name).conf", "--unixsocket", "\(name).sock",
                    "--dir", folder, "--save", "", "--appendonly", "no",
                ])
        }
    }

    /// As `--redis` takes it.
    var url: String { "redis+cluster://" + masters.map { "127.0.0.1:\($0.port)" }.joined(separator: ",") }

    private static let slotCount = 16_384

    /// Divides the slots, lets the masters meet, and waits until each serves. They must run.
    /// - Throws: `LocalClusterFailure`, `SluiceError`, or `CancellationError`.
    func form() async throws {
        for (index, master) in masters.enumerated() {
            let first = index * Self.slotCount / masters.count
            let last = (index + 1) * Self.slotCount / masters.count - 1
            try await ask(master, "SET-CONFIG-EPOCH", "\(index + 1)")
            try await ask(master, "ADDSLOTSRANGE", "\(first)", "\(last)")
            if index > 0 { try await ask(master, "MEET", "127.0.0.1", "\(masters[0].port)", "\(busPort(0))") }
        }
        let deadlineNs = Clock.nowNs() + LoadBounds.startTimeoutNs
        for master in masters {
            while true {
                let state = try await SluiceConnection.ask(master.socket, ["CLUSTER", "INFO"]).string ?? ""
                let lines = state.split(whereSeparator: \.isNewline)
                let isWhole = lines.contains("cluster_known_nodes:\(masters.count)")
                if isWhole, lines.contains("cluster_state:ok") { break }
                guard Clock.nowNs() < deadlineNs else {
                    throw LocalClusterFailure("the masters of a cluster do not find each other: \(state)")
                }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    private func busPort(_ index: Int) -> String {
        let command = masters[index].command
        return command.firstIndex(of: "--cluster-port").map { command[$0 + 1] } ?? ""
    }

    private func ask(_ master: Master, _ words: String...) async throws {
        let answer = try await SluiceConnection.ask(master.socket, ["CLUSTER"] + words)
        guard answer.string == "OK" else {
            throw LocalClusterFailure("CLUSTER \(words[0]) is answered \(answer) (Redis 7.0 or newer is needed)")
        }
    }
}
