import NIOConcurrencyHelpers
import SluiceEngine
import SluiceRedis
import Support

/// Servers that answer as nodes of a cluster, and to batches as a test says.
final class StubCluster: Sendable {
    /// What the script answers to a batch of one plain check.
    static let ran = "*2\r\n*3\r\n:1\r\n:1700000000000\r\n:0\r\n:1\r\n"

    private struct State {
        /// For each range of slots, the node that has it.
        var masters: [(slots: ClosedRange<Int>, node: Int)]
        /// For each node, what it answers to the next batches; `ran` to those after that.
        var answers: [[String]]
        /// For each node, what it was sent: `ASKING`, `SUBSCRIBE`, and for a batch the number of its keys and the last of
        /// them.
        var received: [[String]]
        var ports: [Int] = []
        var state = "ok"
        var knowsShards = true
        var host = "127.0.0.1"
    }

    let nodes: [StubServer]
    private let state: NIOLockedValueBox<State>

    /// - Parameter masters: for each node the slots that it has.
    init(_ masters: ClosedRange<Int>...) async throws {
        let state = NIOLockedValueBox(
            State(
                masters: masters.enumerated().map { ($1, $0) }, answers: masters.map { _ in [] },
                received: masters.map { _ in [] }))
        self.state = state
        var nodes: [StubServer] = []
        for index in masters.indices {
            nodes.append(
                try await StubServer(tcp: true) { words in
                    .answer(state.withLockedValue { Self.answer(words, index, &$0) })
                })
        }
        self.nodes = nodes
        let ports = nodes.map { Int($0.url.split(separator: ":").last!)! }
        state.withLockedValue { $0.ports = ports }
    }

    var url: String {
        "redis+cluster://" + nodes.map { "\($0.url.dropFirst("redis://".count))" }.joined(separator: ",")
    }
    func place(_ node: Int) -> String { state.withLockedValue { "127.0.0.1:\($0.ports[node])" } }
    func received(_ node: Int) -> [String] { state.withLockedValue { $0.received[node] } }
    func answers(_ node: Int, _ answers: String...) { state.withLockedValue { $0.answers[node] += answers } }
    func assign(_ slots: ClosedRange<Int>, to node: Int) { state.withLockedValue { $0.masters = [(slots, node)] } }
    func setState(_ text: String) { state.withLockedValue { $0.state = text } }
    func forgetShards() { state.withLockedValue { $0.knowsShards = false } }
    func announce(host: String) { state.withLockedValue { $0.host = host } }

    private static func answer(_ words: [String], _ node: Int, _ state: inout State) -> String {
        func bulk(_ text: String) -> String { "$\(text.utf8.count)\r\n\(text)\r\n" }
        switch (words[0], words.count > 1 ? words[1] : "") {
        case ("CLUSTER", "INFO"): return bulk("cluster_enabled:1\r\ncluster_state:\(state.state)\r\n")
        case ("CLUSTER", "SHARDS"):
            guard state.knowsShards else { return "-ERR Unknown subcommand or wrong number of arguments\r\n" }
            let shards = state.masters.map { slots, node in
                "*4\r\n" + bulk("slots") + "*2\r\n:\(slots.lowerBound)\r\n:\(slots.upperBound)\r\n" + bulk("nodes")
                    + "*1\r\n*8\r\n" + bulk("port") + ":\(state.ports[node])\r\n" + bulk("endpoint") + bulk(state.host)
                    + bulk("role") + bulk("master") + bulk("health") + bulk("online")
            }
            return "*\(shards.count)\r\n" + shards.joined()
        case ("CLUSTER", "SLOTS"):
            let rows = state.masters.map { slots, node in
                "*3\r\n:\(slots.lowerBound)\r\n:\(slots.upperBound)\r\n*2\r\n" + bulk(state.host)
                    + ":\(state.ports[node])\r\n"
            }
            return "*\(rows.count)\r\n" + rows.joined()
        case ("SCRIPT", _): return bulk(String(repeating: words[2].contains("ALGORITHMS") ? "b" : "a", count: 40))
        case ("EVAL", _): return "*0\r\n"
        case ("INFO", "server"): return bulk("redis_version:7.0.15\r\nredis_mode:cluster\r\n")
        case ("INFO", "replication"): return bulk("role:master\r\n")
        case ("INFO", _): return bulk("")
        case ("EVALSHA", "0000000000000000000000000000000000000000"): return "-NOSCRIPT No matching script.\r\n"
        case ("EVALSHA", _):
            state.received[node].append("\(words[2]) \(words[words.count - 2])")
            return state.answers[node].isEmpty ? ran : state.answers[node].removeFirst()
        case ("SUBSCRIBE", let channel):
            state.received[node].append("SUBSCRIBE")
            return "*3\r\n" + bulk("subscribe") + bulk(channel) + ":1\r\n"
        case ("ASKING", _):
            state.received[node].append("ASKING")
            return "+OK\r\n"
        default: return "+OK\r\n"
        }
    }
}
