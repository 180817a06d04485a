package import Logging
import SluiceEngine
import SluicePolicy

/// Every setting, in the order of `--help`: a new one costs its row here and its row in the table of this target's README.
package struct SettingTable: Sendable {
    package let socketPath = Setting(
        "socket", "Path of the socket that gateways call (required)",
        required: "the path of the socket that gateways call, such as /run/sluice/sluice.sock")
    package let socketMode = Setting(
        "socket-mode", "Permission bits of the socket, octal", default: "0660", expected: "an octal mode such as 0660"
    ) { text in UInt32(text, radix: 8).flatMap { $0 <= 0o777 ? $0 : nil } }
    package let socketGroup = Setting<String?>(
        "socket-group", "Group of the socket, by name or id (default: that of the process)")
    package let takesOver = Setting(
        "take-over", "Take the place of a sluiced that listens at the same sockets, once this one can answer",
        off: "it does not start then")
    package let httpSocketPath = Setting<String?>(
        "http-socket", "Path of a Unix socket for HTTP: metrics, health, checks as JSON (default: none)")
    /// Loopback, unless `allowsRemote`.
    package let httpAddress = Setting(
        "http-listen", "Address for HTTP, as HOST:PORT; port 0 takes a free one, which the log names", default: "none",
        expected: "HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"
    ) { text -> ListenAddress?? in
        if text == "none" { return .some(nil) }
        return ListenAddress(text).map { .some($0) }
    }
    package let allowsRemote = Setting(
        "allow-remote", "Let --http-listen and --grpc-listen take addresses that other machines can reach",
        off: "they may not")
    package let grpcSocketPath = Setting<String?>(
        "grpc-socket", "Path of a socket for gateways that speak gRPC, such as Envoy (default: none)")
    package let grpcAddress = Setting<ListenAddress?>(
        "grpc-listen", "Address for gateways that speak gRPC, without TLS; of loopback unless --allow-remote",
        default: "none", expected: "a host and a port such as 127.0.0.1:8081, or none"
    ) { text in text == "none" ? .some(nil) : ListenAddress(text).map { .some($0) } }
    package let grpcBudgetMs = Setting(
        "grpc-budget", "How long a check over gRPC may take, at most --budget; ms or s", default: "12ms",
        expected: "a duration from 1ms to 10s, such as 12ms"
    ) { text -> Int64? in number(text, of: [("ms", 1), ("s", 1000)], in: 1...10_000) }
    package let gatewaysFile = Setting<String?>(
        "gateways", "File that says how requests over gRPC become checks (default: none, and their plain meaning)")
    package let operatorUserIDs = Setting(
        "operators", "User ids that may use operators' commands beside root and sluiced's own, with commas",
        default: "", shown: "none", expected: "user ids with commas between them, such as 1001,1002"
    ) { text -> Set<UInt32>? in
        let ids = text.split(separator: ",").map { UInt32($0) }
        return ids.contains(nil) ? nil : Set(ids.compactMap(\.self))
    }
    package let policyFile = Setting<String?>(
        "policy", "Path of the policy document that every grant gets (this or --policies is required)")
    package let policyFolder = Setting<String?>(
        "policies",
        "Path of a folder with NAME.json documents, and grants.json, which maps a grant (or *) to a document's name")
    /// Only the gateway sees arguments.
    package let argumentsCheckedByGateway = Setting(
        "arguments-checked-by-gateway",
        "The gateway evaluates the policies' require and deny_if, which are rejected otherwise", off: "it does not")
    /// The store's address as it was given; nil for `none`.
    package let redisURL = Setting(
        "redis",
        """
        Where counters are shared: redis://[user:password@]host[:port][/db], rediss:// the same over TLS, \
        redis+sentinel://[user:password@]host[:port],host[:port]/master[/db], rediss+sentinel://, \
        redis+cluster://[user:password@]host[:port],host[:port], rediss+cluster://, unix:///path[?db=n], \
        or none: one replica, local counters
        """, default: "none", holdsSecret: true, parse: textOrNone)
    package let redisUser = Setting<String?>(
        "redis-user", "User for Redis (default: that of --redis, else Redis' default user)")
    /// Not a flag: every user can read a command line.
    package let redisPassword = Setting<String?>("redis-password", nil, holdsSecret: true)
    package let redisPasswordFile = Setting<String?>(
        "redis-password-file", "File that holds Redis' password, read at each connect (default: none)")
    package let redisAuthorities = Setting<String?>(
        "redis-ca",
        "PEM file of the authorities that may have issued Redis' certificate, for rediss:// (default: the system's)")
    package let redisCertificate = Setting<String?>(
        "redis-certificate", "PEM file of a client certificate for Redis, read at each connect (default: none)")
    package let redisKey = Setting<String?>(
        "redis-key", "PEM file of the key of --redis-certificate (default: none)")
    package let redisServerName = Setting<String?>(
        "redis-server-name",
        "Name that Redis' certificate must hold, also sent as SNI (default: the host of --redis)")
    package let sentinelUser = Setting<String?>(
        "redis-sentinel-user", "User for the sentinels of redis+sentinel:// (default: their default user)")
    /// Not a flag, as above.
    package let sentinelPassword = Setting<String?>("redis-sentinel-password", nil, holdsSecret: true)
    package let sentinelPasswordFile = Setting<String?>(
        "redis-sentinel-password-file", "File that holds the sentinels' password, read at each connect (default: none)")
    /// Whether a sidecar that cannot count in the store ends rather than count alone from its start.
    package let requiresRedis = Setting(
        "require-redis", "Refuse to start while counters cannot be shared in Redis", off: "it counts alone then")
    package let budgetMs = Setting(
        "budget", "How long a check may take, from the socket to its answer; ms or s", default: "20ms",
        expected: "a duration from 1ms to 10s, such as 20ms"
    ) { text -> Int64? in number(text, of: [("ms", 1), ("s", 1000)], in: 1...10_000) }
    package let keyPrefix = Setting(
        "key-prefix", "What every key in Redis begins with", default: "sluice",
        expected: "1 to 64 letters, digits, '.', '_' or '-'", parse: plainName)
    package let clusterBuckets = Setting(
        "cluster-buckets",
        "Into how many parts the counters of a Redis Cluster are divided; the same in all sidecars", default: "64",
        expected: "a whole number from 1 to \(EngineBounds.maxPartitions)"
    ) { text in Int(text).flatMap { (1...EngineBounds.maxPartitions).contains($0) ? $0 : nil } }
    package let replicas = Setting(
        "replicas", "How many replicas to assume, at least, while Redis is unavailable", default: "1",
        expected: "a whole number from 1 to 1000"
    ) { text in Int(text).flatMap { (1...1000).contains($0) ? $0 : nil } }
    /// Folder for state that must survive the process; nil: none.
    package let stateFolder = Setting(
        "state-dir",
        "Folder for state that must survive a restart while Redis is unavailable; each sidecar needs its own",
        default: "none", parse: textOrNone)
    package let memoryBytes = Setting(
        "memory",
        """
        Most memory for what clients make sluiced hold; MiB, GiB or TiB: their identities, and what they leave unread
        """, default: "\(ServerBounds.defaultMemoryBytes >> 20)MiB",
        expected: "a size from 16MiB to 1TiB, such as 512MiB"
    ) { text in
        number(
            text, of: [("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)],
            in: ServerBounds.minMemoryBytes...ServerBounds.maxMemoryBytes)
    }
    package let answersThrottle = Setting(
        "cl-throttle", "Answer CL.THROTTLE, which needs no policy: every user of the socket can make keys",
        off: "it is off")
    package let decisionLog = Setting(
        "decision-log",
        "File that a line of JSON is appended to for each denial, or stderr; SIGHUP opens it again", default: "none",
        parse: textOrNone)
    package let decisionLogSample = Setting(
        "decision-log-sample",
        "Log one in so many of the allowed decisions, too; 1: all, as policy replay needs; 0: none", default: "0",
        expected: "a whole number from 0 to 1000000"
    ) { text in Int64(text).flatMap { (0...1_000_000).contains($0) ? $0 : nil } }
    package let decisionLogGrants = Setting(
        "decision-log-grants",
        "plain, or hash: grants, sessions, idempotency keys and values of attributes are logged as keyed hashes",
        default: "plain", expected: "plain or hash"
    ) { Settings.LoggedGrants(rawValue: $0) }
    /// Not a flag, as the passwords.
    package let decisionLogKey = Setting<String?>("decision-log-key", nil, holdsSecret: true)
    package let decisionLogKeyFile = Setting<String?>(
        "decision-log-key-file", "File that holds the key of those hashes, at least 16 bytes (default: none)")
    package let logLevel = Setting(
        "log-level", Logger.Level.allCases.map(\.rawValue).joined(separatedBy: "or"), default: "info",
        expected: Logger.Level.allCases.map(\.rawValue).joined(separatedBy: "or")
    ) { Logger.Level(rawValue: $0) }
    package let logFormat = Setting(
        "log-format", "text or json, on standard error", default: "text", expected: "text or json"
    ) { Settings.LogFormat(rawValue: $0) }

    /// The rows, in order: a row cannot be left out.
    package var rows: [any SettingRow] { Mirror(reflecting: self).children.compactMap { $0.value as? any SettingRow } }

    /// What the environment's variables begin with.
    static let environmentPrefix = "SLUICE_"

    // MARK: - Parsing

    private static func textOrNone(_ text: String) -> String?? { .some(text == "none" ? nil : text) }

    /// A whole number with a unit, in the smallest unit.
    private static func number<Number: FixedWidthInteger>(
        _ text: String, of units: [(name: String, factor: Number)], in range: ClosedRange<Number>
    ) -> Number? {
        guard let unit = units.first(where: { text.hasSuffix($0.name) }),
            let number = Number(text.dropLast(unit.name.count))
        else { return nil }
        let (product, overflows) = number.multipliedReportingOverflow(by: unit.factor)
        return !overflows && range.contains(product) ? product : nil
    }

    private static func plainName(_ text: String) -> String? {
        let isPlain = text.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        return isPlain && (1...64).contains(text.utf8.count) ? text : nil
    }
}
