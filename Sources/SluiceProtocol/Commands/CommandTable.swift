/// One argument of a command, as `COMMAND DOCS` describes it.
struct ArgumentDescription: Sendable {
    enum Kind: String, Sendable {
        case string
        case integer
        case token = "pure-token"
        case block
    }

    var name: String
    var kind = Kind.string
    /// The word before the value, or the argument itself.
    var token: String?
    var isOptional = false
    var isRepeated = false
    /// The parts of a block.
    var parts: [ArgumentDescription] = []

    /// How documentation writes it: `<grant>`, `[COST n]`, `[ATTR name value]...`.
    var usage: String {
        var words = token.map { [$0] } ?? []
        switch kind {
        case .token: break
        case .block: words += parts.map(\.name)
        case .string, .integer: words.append(isOptional || token != nil ? name : "<\(name)>")
        }
        let text = words.joined(separator: " ")
        return (isOptional ? "[\(text)]" : text) + (isRepeated ? "..." : "")
    }
}

/// One command: its parser checks the number of arguments against it, and `COMMAND` describes it.
struct CommandDescription: Sendable {
    /// In lower case.
    var name: String
    /// The fewest arguments, including the command's name.
    var minimumCount: Int
    /// The most arguments, including the command's name; `nil` if only the frame bounds them.
    var maximumCount: Int?
    var summary: String
    var group = "connection"
    /// Whether the first argument is a grant. Cluster clients route by it.
    var hasGrant = false
    var flags = ["fast"]
    var arguments: [ArgumentDescription] = []

    func accepts(argumentCount count: Int) -> Bool {
        count >= minimumCount && (maximumCount.map { count <= $0 } ?? true)
    }

    /// Redis's notation for the number of arguments: exact if positive, a minimum if negative.
    var arity: Int { minimumCount == maximumCount ? minimumCount : -minimumCount }

    var usage: String { ([name.uppercased()] + arguments.map(\.usage)).joined(separator: " ") }
}

/// Every command of Sluice, in the order of its documentation.
enum CommandTable {
    static func command(named name: String) -> CommandDescription? { byName[name] }

    /// The names for an error to list.
    static let allNames = commands.map { $0.name.uppercased() }.joined(separator: ", ")

    private static let byName = Dictionary(uniqueKeysWithValues: commands.map { ($0.name, $0) })

    static let commands: [CommandDescription] = checks + reservations + operators + connection

    private static let grant = ArgumentDescription(name: "grant")
    private static let reservation = ArgumentDescription(name: "reservation")

    private static let identities = [
        ArgumentDescription(name: "n", kind: .integer, token: "COST", isOptional: true),
        ArgumentDescription(name: "server", token: "SERVER", isOptional: true),
        ArgumentDescription(name: "session", token: "SESSION", isOptional: true),
        ArgumentDescription(
            name: "attribute", kind: .block, token: "ATTR", isOptional: true, isRepeated: true,
            parts: [ArgumentDescription(name: "name"), ArgumentDescription(name: "value")]),
    ]
    /// Those of a call that was made.
    private static let callers = identities.filter { $0.token != "COST" } + promises.filter { $0.token == "ID" }
    private static let promises = [
        ArgumentDescription(name: "reserve", kind: .token, token: "RESERVE", isOptional: true),
        ArgumentDescription(name: "key", token: "ID", isOptional: true),
    ]
    private static let tellings = [
        ArgumentDescription(name: "approved", kind: .token, token: "APPROVED", isOptional: true),
        ArgumentDescription(name: "trace", kind: .token, token: "TRACE", isOptional: true),
    ]

    private static let checks = [
        CommandDescription(
            name: "check", minimumCount: 3, summary: "May this grant make this call? Counts it if it may.",
            group: "sluice", hasGrant: true, flags: ["write", "fast"],
            arguments: [grant, ArgumentDescription(name: "tool")] + identities + promises + tellings),
        CommandDescription(
            name: "peek", minimumCount: 3, summary: "Would that check pass? Counts nothing.",
            group: "sluice", hasGrant: true, flags: ["readonly", "fast"],
            arguments: [grant, ArgumentDescription(name: "tool")] + identities + tellings),
    ]

    private static let reservations = [
        CommandDescription(
            name: "commit", minimumCount: 4, maximumCount: 4,
            summary: "Settles a reservation to the cost it really had.",
            group: "sluice", hasGrant: true, flags: ["write", "fast"],
            arguments: [grant, reservation, ArgumentDescription(name: "n", kind: .integer)]),
        CommandDescription(
            name: "cancel", minimumCount: 3, maximumCount: 3, summary: "Gives back all that a reservation charged.",
            group: "sluice", hasGrant: true, flags: ["write", "fast"], arguments: [grant, reservation]),
        CommandDescription(
            name: "release", minimumCount: 3, maximumCount: 3, summary: "Frees a concurrency slot.",
            group: "sluice", hasGrant: true, flags: ["write", "fast"], arguments: [grant, reservation]),
        CommandDescription(
            name: "charge", minimumCount: 4,
            summary: "Charges what a call cost, whatever the maximum says.",
            group: "sluice", hasGrant: true, flags: ["write", "fast"],
            arguments: [grant, ArgumentDescription(name: "tool"), ArgumentDescription(name: "n", kind: .integer)]
                + callers),
        CommandDescription(
            name: "refund", minimumCount: 4,
            summary: "Gives back what a call was charged, in open windows and never below 0.",
            group: "sluice", hasGrant: true, flags: ["write", "fast"],
            arguments: [grant, ArgumentDescription(name: "tool"), ArgumentDescription(name: "n", kind: .integer)]
                + callers),
        CommandDescription(
            name: "cl.throttle", minimumCount: 5, maximumCount: 6, summary: "Throttles a key as redis-cell does.",
            group: "sluice", hasGrant: true, flags: ["write", "fast"],
            arguments: [
                ArgumentDescription(name: "key"),
                ArgumentDescription(name: "max_burst", kind: .integer),
                ArgumentDescription(name: "count_per_period", kind: .integer),
                ArgumentDescription(name: "period", kind: .integer),
                ArgumentDescription(name: "quantity", kind: .integer, isOptional: true),
            ]),
    ]

    private static let more = ArgumentDescription(name: "argument", isOptional: true, isRepeated: true)

    private static let operators = [
        CommandDescription(
            name: "counters", minimumCount: 1, summary: "Lists open counters.", group: "operators",
            flags: ["admin", "readonly"],
            arguments: [
                ArgumentDescription(name: "grant", token: "GRANT", isOptional: true),
                ArgumentDescription(name: "tool", token: "TOOL", isOptional: true),
                ArgumentDescription(name: "atlimit", kind: .token, token: "ATLIMIT", isOptional: true),
                ArgumentDescription(name: "order", token: "SORT", isOptional: true),
                ArgumentDescription(name: "n", kind: .integer, token: "LIMIT", isOptional: true),
                ArgumentDescription(name: "cursor", token: "CURSOR", isOptional: true),
            ]),
        CommandDescription(
            name: "tail", minimumCount: 1, summary: "Streams decisions until the connection is closed.",
            group: "operators", flags: ["admin", "readonly"],
            arguments: [
                ArgumentDescription(name: "denied", kind: .token, token: "DENIED", isOptional: true),
                ArgumentDescription(name: "grant", token: "GRANT", isOptional: true),
                ArgumentDescription(name: "tool", token: "TOOL", isOptional: true),
            ]),
        CommandDescription(
            name: "clear", minimumCount: 2, maximumCount: 6,
            summary: "Sets the open counters of a grant, or of one of its tools, to 0.", group: "operators",
            hasGrant: true, flags: ["admin", "write"],
            arguments: [
                grant, ArgumentDescription(name: "tool", isOptional: true),
                ArgumentDescription(name: "cursor", token: "CURSOR", isOptional: true),
                ArgumentDescription(name: "dryrun", kind: .token, token: "DRYRUN", isOptional: true),
            ]),
        CommandDescription(
            name: "override", minimumCount: 1, maximumCount: 6,
            summary: "Gives a grant another maximum of one limit for a time, ends that, or lists those that hold.",
            group: "operators", hasGrant: true, flags: ["admin", "write"],
            arguments: [
                ArgumentDescription(name: "grant", isOptional: true),
                ArgumentDescription(name: "rule", isOptional: true),
                ArgumentDescription(name: "max", isOptional: true),
                ArgumentDescription(name: "seconds", kind: .integer, isOptional: true),
                ArgumentDescription(name: "dryrun", kind: .token, token: "DRYRUN", isOptional: true),
            ]),
        CommandDescription(
            name: "explain", minimumCount: 3, summary: "Tells why a check would be allowed or denied, limit by limit.",
            group: "operators", hasGrant: true, flags: ["admin", "readonly"],
            arguments: [grant, ArgumentDescription(name: "tool")] + identities + tellings),
        CommandDescription(
            name: "policy", minimumCount: 1, summary: "Shows the policies in force.", group: "operators",
            flags: ["admin", "readonly"], arguments: [more]),
        CommandDescription(
            name: "info", minimumCount: 1, summary: "Tells the state of this replica.", group: "operators",
            flags: ["readonly"],
            arguments: [ArgumentDescription(name: "section", isOptional: true, isRepeated: true)]),
    ]

    private static let subcommand = ArgumentDescription(name: "subcommand")

    private static let connection = [
        CommandDescription(
            name: "ping", minimumCount: 1, maximumCount: 2, summary: "Answers PONG, or the message.",
            arguments: [ArgumentDescription(name: "message", isOptional: true)]),
        CommandDescription(
            name: "echo", minimumCount: 2, maximumCount: 2, summary: "Answers the message.",
            arguments: [ArgumentDescription(name: "message")]),
        CommandDescription(
            name: "hello", minimumCount: 1, summary: "Agrees on RESP2 or RESP3.",
            arguments: [
                ArgumentDescription(name: "protover", kind: .integer, isOptional: true),
                ArgumentDescription(
                    name: "credentials", kind: .block, token: "AUTH", isOptional: true,
                    parts: [ArgumentDescription(name: "username"), ArgumentDescription(name: "password")]),
                ArgumentDescription(name: "clientname", token: "SETNAME", isOptional: true),
            ]),
        CommandDescription(
            name: "auth", minimumCount: 2, maximumCount: 3,
            summary: "Answers OK: every user of the socket may use it.",
            arguments: [
                ArgumentDescription(name: "username", isOptional: true), ArgumentDescription(name: "password"),
            ]),
        CommandDescription(
            name: "select", minimumCount: 2, maximumCount: 2,
            summary: "0: a decision is an array; 1: its fields have names, in RESP2, too. There is no other.",
            arguments: [ArgumentDescription(name: "index", kind: .integer)]),
        CommandDescription(
            name: "client", minimumCount: 2, summary: "Names and describes this connection.",
            arguments: [subcommand, more]),
        CommandDescription(
            name: "command", minimumCount: 1, summary: "Describes the commands.",
            arguments: [ArgumentDescription(name: "subcommand", isOptional: true), more]),
        CommandDescription(
            name: "config", minimumCount: 2, summary: "Answers what common tools ask: CONFIG GET pattern.",
            arguments: [subcommand, more]),
        CommandDescription(
            name: "multi", minimumCount: 1, maximumCount: 1,
            summary: "Begins a transaction, in which no command is run."),
        CommandDescription(
            name: "exec", minimumCount: 1, maximumCount: 1, summary: "Ends it: nothing was run, nothing was charged."),
        CommandDescription(name: "discard", minimumCount: 1, maximumCount: 1, summary: "Ends it."),
        CommandDescription(
            name: "reset", minimumCount: 1, maximumCount: 1, summary: "Returns to RESP2 and takes the name away."),
        CommandDescription(
            name: "quit", minimumCount: 1, summary: "Closes the connection when its replies have gone out."),
    ]
}
