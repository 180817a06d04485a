internal import NIOCore
internal import SluiceEngine

/// The commands sent first on a connection, and the meaning of their answers. They go out in rounds, each all at once:
/// one, and a second where an answer asks for it. A value: it takes replies and returns what to do.
struct RedisHandshake {
    enum Action: Equatable {
        case wait
        /// A round has been answered, and `writeCommands` writes the next.
        case ask
        /// Every answer has arrived.
        case ready(RedisServer)
        /// The connection is unusable: the reason, in one sentence without a secret.
        case fail(String)
    }

    private enum Step: Equatable {
        case authenticate, select, setName
        case loadScript(BatchScript)
        /// The hash of a script that nobody has: only whether `EVALSHA` is refused is of interest.
        case tryHash
        case checkCommands
        case readServer, readMemory, readReplication
        case readHello
        /// Redis computes the hash of a script that it may not load.
        case hashScript(BatchScript)
    }

    private let credentials: RedisCredentials?
    private let database: Int
    private let isOfCluster: Bool
    private let clientName: String
    private let keyPrefix: String
    private let rightsKey: String
    private let isForCharging: Bool
    private var steps: [Step] = []
    private var answered = 0
    private var isFirstRound = true
    private var userForm = UserForm.asGiven
    private var server = RedisServer()
    /// Why commands that another may replace are forbidden, in Redis's words.
    private var refused: [Replaceable: String] = [:]
    /// The fault of a step that the connection can do without: reported if the connection then breaks.
    private var setback: String?
    /// The same if it may be about the connection rather than the command.
    private(set) var lastingSetback: String?

    private enum Replaceable { case load, hash, text, info }

    /// How a user is sent.
    private enum UserForm {
        case asGiven
        /// The server knows passwords only: what else this round brings is of a connection without authentication.
        /// Becomes `leftOut` with the next round.
        case refused
        case leftOut
    }

    /// - Parameters:
    ///   - address: that of the settings: the server's, or that of its sentinels or its cluster.
    ///   - clientName: shown by `CLIENT LIST`.
    ///   - keyPrefix: what the keys begin with.
    ///   - rightsKey: the key of `CommandCheck`; nil: that of a single server.
    ///   - isForCharging: whether the connection is for batches; others need neither scripts nor server facts.
    init(
        address: RedisAddress, credentials: RedisCredentials?, clientName: String, keyPrefix: String,
        rightsKey: String? = nil, isForCharging: Bool
    ) {
        self.credentials = credentials
        self.database = address.database
        if case .cluster = address.endpoint { isOfCluster = true } else { isOfCluster = false }
        self.clientName = clientName
        self.keyPrefix = keyPrefix
        self.rightsKey = rightsKey ?? CommandCheck.key(prefix: keyPrefix)
        self.isForCharging = isForCharging
        begin()
    }

    /// Begins the first round.
    private mutating func begin() {
        steps = credentials == nil ? [] : [.authenticate]
        if database != 0 { steps.append(.select) }
        steps.append(.setName)
        if isForCharging {
            steps += BatchScript.allCases.map { .loadScript($0) }
            steps += [.tryHash, .checkCommands, .readServer, .readMemory, .readReplication]
        }
        answered = 0
    }

    /// Why the connection broke, by the answers so far.
    var lossReason: String {
        if let setback { return "Redis closed the connection: \(setback)" }
        guard answered == 0, isFirstRound, let first = steps.first else { return "Redis closed the connection" }
        let command = first == .setName ? "CLIENT SETNAME" : first == .select ? "SELECT" : "AUTH"
        return "Redis closed the connection at \(command), before any answer: a proxy in front of Redis may not know "
            + "what Sluice needs, connect to Redis itself"
    }

    func writeCommands(into buffer: inout ByteBuffer) {
        for step in steps {
            switch step {
            case .authenticate:
                guard let credentials else { continue }
                if let user = credentials.user, userForm == .asGiven {
                    buffer.writeCommand("AUTH", user, credentials.password)
                } else {
                    buffer.writeCommand("AUTH", credentials.password)
                }
            case .select: buffer.writeCommand("SELECT", "\(database)")
            case .setName: buffer.writeCommand("CLIENT", "SETNAME", clientName)
            case .loadScript(let script):
                buffer.writeCommand([Array("SCRIPT".utf8), Array("LOAD".utf8), script.source])
            case .tryHash: buffer.writeCommand("EVALSHA", String(repeating: "0", count: 40), "0")
            case .checkCommands:
                buffer.writeCommand(
                    "EVAL", CommandCheck.script, "1", rightsKey, KeySpace(prefix: keyPrefix).changeChannel)
            // One section per command: only Redis 7 and later accept several at once.
            case .readServer: buffer.writeCommand("INFO", "server")
            case .readMemory: buffer.writeCommand("INFO", "memory")
            case .readReplication: buffer.writeCommand("INFO", "replication")
            case .readHello: buffer.writeCommand("HELLO")
            case .hashScript(let script):
                buffer.writeCommand([
                    Array("EVAL".utf8), Array("return redis.sha1hex(ARGV[1])".utf8), Array("0".utf8), script.source,
                ])
            }
        }
    }

    mutating func receive(_ reply: FlatReply) -> Action {
        guard answered < steps.count else { return .fail("Redis answered more than it was asked") }
        let step = steps[answered]
        answered += 1
        if let error = reply.error {
            if step == .authenticate, credentials?.user != nil, userForm == .asGiven, error.isArity {
                userForm = .refused
                setback = error.reason(without: credentials?.password ?? "")
            }
            if userForm != .refused {
                if let reason = failure(of: step, error) { return .fail(reason) }
                note(error)
            }
        } else if userForm != .refused, let reason = read(reply, of: step) {
            return .fail(reason)
        }
        return answered == steps.count ? endRound() : .wait
    }

    private mutating func note(_ error: RedisError) {
        // The answer that `EVALSHA` of no script is to have.
        guard !error.isNoScript else { return }
        setback = error.reason
        if !error.isForbidden { lastingSetback = error.reason }
    }

    // MARK: - Rounds

    private mutating func endRound() -> Action {
        if userForm == .refused {
            userForm = .leftOut
            server.foundLimitations = [
                RedisLimitation(
                    loss: "this server knows no users: the password was sent without the user", reason: setback ?? "")
            ]
            begin()
            return .ask
        }
        if let fault = server.fault(ofCluster: isOfCluster) { return .fail(fault) }
        if let fault = scriptFault { return .fail(fault) }
        guard isForCharging, isFirstRound else { return finish() }
        isFirstRound = false
        answered = 0
        steps = server.isVersionKnown ? [] : [.readHello]
        if refused[.load] != nil, refused[.hash] == nil { steps += BatchScript.allCases.map { .hashScript($0) } }
        return steps.isEmpty ? finish() : .ask
    }

    /// Why no script can be run; nil if there is a way.
    private var scriptFault: String? {
        guard let text = refused[.text], let other = refused[.load] ?? refused[.hash] else { return nil }
        return "Redis refuses both ways to run scripts: \(other); \(text)"
    }

    private mutating func finish() -> Action {
        var found = server.foundLimitations
        if let words = refused[.hash] {
            server.scriptHashes = BatchScriptHashes()
            found.append(
                RedisLimitation(loss: "every batch brings its script along, since EVALSHA is refused", reason: words))
        } else if let words = refused[.load] {
            found.append(
                RedisLimitation(
                    loss: "scripts are brought along by the first batches, since SCRIPT LOAD is refused", reason: words)
            )
        } else if let words = refused[.text] {
            found.append(
                RedisLimitation(
                    loss: "scripts that Redis loses cost a connection, since EVAL is refused", reason: words))
        }
        if let words = refused[.info] {
            let unknown =
                server.isVersionKnown
                ? "whether Redis may evict counters is unknown"
                : "Redis' version, its role and whether it may evict counters are unknown"
            found.append(RedisLimitation(loss: "\(unknown), since INFO is refused", reason: words))
        }
        server.foundLimitations = found
        return .ready(server)
    }

    // MARK: - Answers

    /// Why the connection is unusable after this error; nil if it can do without the step.
    private mutating func failure(of step: Step, _ error: RedisError) -> String? {
        switch step {
        // A server that does not know `AUTH` quotes what it was sent.
        case .authenticate:
            return "Redis did not accept the credentials: \(error.reason(without: credentials?.password ?? ""))"
        case .select: return "Redis did not select database \(database): \(error.reason)"
        case .loadScript where error.code == "NOAUTH": return "Redis asks for a password: \(error.reason)"
        case .loadScript where error.isForbidden: refused[.load] = error.reason
        case .loadScript: return "Redis did not load the script: \(error.reason)"
        case .hashScript: refused[.hash] = error.reason
        case .tryHash where error.isForbidden: refused[.hash] = error.reason
        case .checkCommands where error.isForbidden && error.isAboutKeys:
            return "Redis does not let this user use its keys: \(error.reason)"
        case .checkCommands where error.isForbidden: refused[.text] = error.reason
        case .readServer where error.isForbidden: refused[.info] = error.reason
        case .setName where error.isForbidden && isForCharging:
            server.foundLimitations.append(
                RedisLimitation(
                    loss: "the connection has no name in CLIENT LIST, since CLIENT SETNAME is refused",
                    reason: error.reason))
        case .setName, .tryHash, .checkCommands, .readServer, .readMemory, .readReplication, .readHello: break
        }
        return nil
    }

    /// Why the answer is malformed, or what it says rules out that anything is counted; nil if neither.
    private mutating func read(_ reply: FlatReply, of step: Step) -> String? {
        if step == .readHello {
            server.read(hello: reply.tree())
            return nil
        }
        if step == .checkCommands { return readCommands(reply.tree()) }
        guard let first = reply.items.first, reply.items.count == 1 else { return "Redis answered with an array" }
        switch step {
        case .authenticate, .select, .setName:
            return first.kind == .status ? nil : "Redis answered with other than OK"
        case .loadScript(let script), .hashScript(let script):
            let hash = Array(reply.bytes(of: first))
            let isHash = hash.count == 40 && hash.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
            guard isHash else { return "Redis answered SCRIPT LOAD with other than a hash" }
            server.scriptHashes[script] = hash
        case .readServer, .readMemory, .readReplication: server.read(info: reply.bytes(of: first))
        case .tryHash, .checkCommands, .readHello: break
        }
        return nil
    }

    private mutating func readCommands(_ reply: RedisReply?) -> String? {
        guard case .array(let elements) = reply else { return "Redis answered the check of commands with no list" }
        var forbidden: [(use: CommandCheck.Use, name: String, words: String)] = []
        for index in stride(from: 0, to: elements.count - 1, by: 2) {
            guard case .string(let name) = elements[index], case .string(let words) = elements[index + 1] else {
                continue
            }
            let error = RedisError(String(decoding: words.prefix(RedisBounds.maxErrorBytes), as: UTF8.self))
            let command = String(decoding: name, as: UTF8.self)
            guard error.isForbidden, let use = CommandCheck.uses[command] else { continue }
            forbidden.append((use, command, error.reason))
        }
        func refused(_ use: CommandCheck.Use) -> (names: String, words: String)? {
            let those = forbidden.filter { $0.use == use }
            return those.first.map { (those.map(\.name).joined(separator: ", "), $0.words) }
        }
        if let (names, words) = refused(.counting) {
            return "Redis does not let scripts of this user run \(names): \(words)"
        }
        if let (names, words) = refused(.records) {
            server.refusesRecords = true
            server.foundLimitations.append(
                RedisLimitation(
                    loss: "reservations, logs, slots and the list of live replicas do not work, since scripts may not "
                        + "run \(names)", reason: words))
        }
        if let (_, words) = refused(.notifying) {
            server.announcesChanges = false
            server.foundLimitations.append(
                RedisLimitation(
                    loss: "other replicas may deny for a second what was given back, since scripts may not run PUBLISH",
                    reason: words))
        }
        return nil
    }
}
