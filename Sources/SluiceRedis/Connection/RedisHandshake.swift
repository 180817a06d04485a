internal import NIOCore

/// What is said first on a connection, all at once, and what the answers mean. A value: it is fed replies and tells
/// what to do.
struct RedisHandshake {
    enum Action: Equatable {
        case wait
        /// Every answer is there.
        case ready(RedisServer)
        /// The connection is of no use: why, in one sentence without a secret.
        case fail(String)
    }

    private enum Step: Equatable {
        case authenticate, select, setName
        case loadScript(BatchScript)
        case readServer, readMemory, readReplication
    }

    private let credentials: RedisCredentials?
    private let database: Int
    private let clientName: String
    private let steps: [Step]
    private var answered = 0
    private var server = RedisServer()
    /// What was wrong with a step that the connection can do without: told if it then breaks.
    private(set) var setback: String?

    /// - Parameters:
    ///   - clientName: shown by `CLIENT LIST`.
    ///   - loadsScripts: whether the connection is for charging; one for reading needs neither scripts nor server.
    init(address: RedisAddress, credentials: RedisCredentials?, clientName: String, loadsScripts: Bool) {
        self.credentials = credentials
        self.database = address.database
        self.clientName = clientName
        var steps: [Step] = []
        if credentials != nil { steps.append(.authenticate) }
        if database != 0 { steps.append(.select) }
        steps.append(.setName)
        if loadsScripts {
            steps += BatchScript.allCases.map { .loadScript($0) }
            steps += [.readServer, .readMemory, .readReplication]
        }
        self.steps = steps
    }

    func writeCommands(into buffer: inout ByteBuffer) {
        for step in steps {
            switch step {
            case .authenticate:
                guard let credentials else { continue }
                if let user = credentials.user {
                    buffer.writeCommand("AUTH", user, credentials.password)
                } else {
                    buffer.writeCommand("AUTH", credentials.password)
                }
            case .select: buffer.writeCommand("SELECT", "\(database)")
            case .setName: buffer.writeCommand("CLIENT", "SETNAME", clientName)
            case .loadScript(let script):
                buffer.writeCommand([Array("SCRIPT".utf8), Array("LOAD".utf8), script.source])
            // One command a section: several at once are understood by Redis 7 and later only.
            case .readServer: buffer.writeCommand("INFO", "server")
            case .readMemory: buffer.writeCommand("INFO", "memory")
            case .readReplication: buffer.writeCommand("INFO", "replication")
            }
        }
    }

    mutating func receive(_ reply: FlatReply) -> Action {
        guard answered < steps.count else { return .fail("Redis answered more than it was asked") }
        let step = steps[answered]
        answered += 1
        if let error = reply.error {
            if let reason = failure(of: step, error) { return .fail(reason) }
            setback = error.reason
        } else if let reason = read(reply, of: step) {
            return .fail(reason)
        }
        return answered == steps.count ? .ready(server) : .wait
    }

    /// Why the connection is of no use after this error; nil if it can do without the step.
    private func failure(of step: Step, _ error: RedisError) -> String? {
        switch step {
        // A server that does not know `AUTH` quotes what it was sent.
        case .authenticate:
            "Redis did not accept the credentials: \(error.reason(without: credentials?.password ?? ""))"
        case .select: "Redis did not select database \(database): \(error.reason)"
        case .loadScript where error.code == "NOAUTH": "Redis asks for a password: \(error.reason)"
        case .loadScript: "Redis did not load the script: \(error.reason)"
        case .setName, .readServer, .readMemory, .readReplication: nil
        }
    }

    /// Why the answer makes no sense; nil if it does.
    private mutating func read(_ reply: FlatReply, of step: Step) -> String? {
        guard let first = reply.items.first, reply.items.count == 1 else { return "Redis answered with an array" }
        switch step {
        case .authenticate, .select, .setName:
            return first.kind == .status ? nil : "Redis answered with other than OK"
        case .loadScript(let script):
            let hash = Array(reply.bytes(of: first))
            let isHash = hash.count == 40 && hash.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
            guard isHash else { return "Redis answered SCRIPT LOAD with other than a hash" }
            server.scriptHashes[script] = hash
        case .readServer, .readMemory, .readReplication:
            server.read(info: reply.bytes(of: first))
        }
        return nil
    }
}

/// What the handshake learnt.
struct RedisServer: Equatable, CustomStringConvertible {
    var scriptHashes = BatchScriptHashes()
    private var fields: [String: String] = [:]

    /// Takes the lines `field:value` of one section of `INFO`.
    mutating func read(info: ArraySlice<UInt8>) {
        let wanted: Set = ["server_name", "valkey_version", "redis_version", "role", "maxmemory_policy"]
        for line in info.split(whereSeparator: { $0 == 13 || $0 == 10 }) {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
            let field = String(decoding: line[..<colon], as: UTF8.self)
            guard wanted.contains(field) else { continue }
            fields[field] = String(decoding: line[(colon + 1)...].prefix(RedisBounds.maxErrorBytes), as: UTF8.self)
        }
    }

    var isReplica: Bool { fields["role"] == "slave" }
    /// How it makes room: `noeviction`, `allkeys-lru` and so on; nil if it did not say.
    var evictionPolicy: String? { fields["maxmemory_policy"] }
    /// Whether it may throw away counters that are still open.
    var mayEvictCounters: Bool { evictionPolicy?.hasPrefix("allkeys-") ?? false }

    /// Such as `Redis 7.0.15, master`.
    var description: String {
        let product =
            if let version = fields["valkey_version"] {
                "Valkey \(version)"
            } else {
                "Redis \(fields["redis_version"] ?? "of unknown version")"
            }
        let role = fields["role"].map { $0 == "slave" ? ", replica" : ", \($0)" } ?? ""
        return product + role
    }
}
