internal import NIOCore

/// The commands sent first on a connection, all at once, and the meaning of their answers. A value: it takes replies
/// and returns what to do.
struct RedisHandshake {
    enum Action: Equatable {
        case wait
        /// Every answer has arrived.
        case ready(RedisServer)
        /// The connection is unusable: the reason, in one sentence without a secret.
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
    /// The fault of a step that the connection can do without: reported if the connection then breaks.
    private(set) var setback: String?

    /// - Parameters:
    ///   - clientName: shown by `CLIENT LIST`.
    /// - loadsScripts: whether the connection is for charging; one for reading needs neither scripts nor server facts.
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
            // One section per command: only Redis 7 and later accept several at once.
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

    /// Why the connection is unusable after this error; nil if it can do without the step.
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

    /// Why the answer is malformed; nil if it is valid.
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

/// What the handshake found out about the server.
struct RedisServer: Equatable, CustomStringConvertible {
    var scriptHashes = BatchScriptHashes()
    private var fields: [String: String] = [:]

    /// Reads the lines `field:value` of one section of `INFO`.
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
    /// How it makes room: `noeviction`, `allkeys-lru` and so on; nil if unknown.
    var evictionPolicy: String? { fields["maxmemory_policy"] }
    /// Whether it may evict counters that are still open.
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
