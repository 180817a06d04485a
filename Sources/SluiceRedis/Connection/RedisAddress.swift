/// Where Redis is: `redis://[user:password@]host[:port][/db]`, `unix:///path[?db=n]`, or, where sentinels know it,
/// `redis+sentinel://[user:password@]host[:port],host[:port]/master[/db]`, or, of a Redis Cluster,
/// `redis+cluster://[user:password@]host[:port],host[:port]`. `rediss` in place of `redis` is TLS.
package struct RedisAddress: Sendable, Equatable, CustomStringConvertible {
    package enum Endpoint: Sendable, Equatable, CustomStringConvertible {
        /// A name or an address (IPv6 without brackets), and a port from 1 to 65535.
        case tcp(host: String, port: Int)
        /// A path of at most `RedisBounds.maxSocketPathBytes`.
        case unix(path: String)
        /// The master of this name, which sentinels know: at least one, at most `RedisBounds.maxSentinels`.
        case master(name: String, sentinels: [HostPort])
        /// A Redis Cluster, of which these nodes know the others: at least one, at most
        /// `RedisBounds.maxClusterAddresses`.
        case cluster(nodes: [HostPort])

        package var description: String {
            switch self {
            case .tcp(let host, let port): "\(HostPort(host: host, port: port))"
            case .unix(let path): path
            case .master(let name, let sentinels): sentinels.map(\.description).joined(separator: ",") + "/\(name)"
            case .cluster(let nodes): nodes.map(\.description).joined(separator: ",")
            }
        }
    }

    /// One server of several.
    package struct HostPort: Sendable, Hashable, CustomStringConvertible {
        /// A name or an address (IPv6 without brackets).
        package var host: String
        /// From 1 to 65535.
        package var port: Int

        package var description: String { "\(host.contains(":") ? "[\(host)]" : host):\(port)" }

        package init(host: String, port: Int) {
            self.host = host
            self.port = port
        }
    }

    package var endpoint: Endpoint
    /// 0 and above; the server decides how many there are (16 unless configured).
    package var database: Int
    /// Those in the URL, if any.
    package var credentials: RedisCredentials?
    /// Whether connections use TLS, those to sentinels too.
    package var isTLS: Bool

    package var isCluster: Bool { if case .cluster = endpoint { true } else { false } }

    package init(
        endpoint: Endpoint, database: Int = 0, credentials: RedisCredentials? = nil, isTLS: Bool = false
    ) {
        self.isTLS = isTLS
        self.endpoint = endpoint
        self.database = database
        self.credentials = credentials
    }

    /// Reads a URL. User, password and path are percent-decoded.
    /// - Throws: what is wrong, where, and how it should look, in one line that never shows a password. It quotes only
    /// a scheme and numbers: in a wrong address any other part may be a misplaced password.
    package init(_ text: String) throws(RedisAddressError) {
        guard let colon = text.firstRange(of: "://") else {
            throw RedisAddressError(
                "a Redis address starts with redis:// or unix://, such as \(RedisAddressError.tcpExample)")
        }
        let rest = text[colon.upperBound...]
        switch text[..<colon.lowerBound].lowercased() {
        case "redis": self = try Self.parseTCP(rest)
        case "redis+sentinel": self = try Self.parseSentinels(rest)
        case "rediss":
            self = try Self.parseTCP(rest)
            isTLS = true
        case "rediss+sentinel":
            self = try Self.parseSentinels(rest)
            isTLS = true
        case "redis+cluster": self = try Self.parseCluster(rest)
        case "rediss+cluster":
            self = try Self.parseCluster(rest)
            isTLS = true
        case "unix": self = try Self.parseUnix(rest)
        case let scheme:
            let isPlain = !text.contains("@") && scheme.allSatisfy { $0.isASCII && $0.isLetter }
            throw RedisAddressError(
                "the scheme \(isPlain ? "\"\(scheme.prefix(20))\" " : "")is unknown; expected redis://, rediss:// (TLS), "
                    + "redis+sentinel://, redis+cluster:// or unix://, such as "
                    + RedisAddressError.tcpExample)
        }
    }

    /// As a URL, with `***` for the password: fit for a log.
    package var description: String {
        let database = database == 0 ? "" : "\(database)"
        let user = credentials.map { "\($0.user ?? ""):***@" } ?? ""
        let tail = database.isEmpty ? "" : "/\(database)"
        return switch endpoint {
        case .unix(let path): "unix://\(path)\(database.isEmpty ? "" : "?db=\(database)")"
        case .tcp: "redis\(isTLS ? "s" : "")://\(user)\(endpoint)\(tail)"
        case .master: "redis\(isTLS ? "s" : "")+sentinel://\(user)\(endpoint)\(tail)"
        case .cluster: "redis\(isTLS ? "s" : "")+cluster://\(user)\(endpoint)"
        }
    }

    private static func parseTCP(_ text: Substring) throws(RedisAddressError) -> RedisAddress {
        var (address, location, tail) = try parseAuthority(text)
        address.endpoint = try parseLocation(location)
        address.database = try parseDatabase(tail.dropFirst())
        return address
    }

    private static func parseSentinels(_ text: Substring) throws(RedisAddressError) -> RedisAddress {
        var (address, locations, tail) = try parseAuthority(text)
        let parts = tail.dropFirst().split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = parts.first.flatMap(percentDecoded), !name.isEmpty,
            name.allSatisfy({ !$0.isWhitespace && $0 != "\"" && $0.isASCII })
        else {
            throw RedisAddressError(
                "the master's name is missing or no name; it follows the sentinels, as in "
                    + RedisAddressError.sentinelExample)
        }
        let sentinels = try parseList(locations, defaultPort: 26_379)
        guard sentinels.count <= RedisBounds.maxSentinels else {
            throw RedisAddressError(
                "there are \(sentinels.count) sentinels, and at most \(RedisBounds.maxSentinels) are asked; expected such "
                    + "as \(RedisAddressError.sentinelExample)")
        }
        address.endpoint = .master(name: name, sentinels: sentinels)
        address.database = try parseDatabase(parts.dropFirst().first ?? "")
        return address
    }

    private static func parseCluster(_ text: Substring) throws(RedisAddressError) -> RedisAddress {
        var (address, locations, tail) = try parseAuthority(text)
        let nodes = try parseList(locations)
        guard nodes.count <= RedisBounds.maxClusterAddresses else {
            throw RedisAddressError(
                "there are \(nodes.count) nodes, and at most \(RedisBounds.maxClusterAddresses) are asked for the others; "
                    + "expected such as \(RedisAddressError.clusterExample)")
        }
        guard try parseDatabase(tail.dropFirst()) == 0 else {
            throw RedisAddressError(
                "a Redis Cluster has no database but 0; expected such as \(RedisAddressError.clusterExample)")
        }
        address.endpoint = .cluster(nodes: nodes)
        return address
    }

    private static func parseList(
        _ text: Substring, defaultPort: Int = 6379
    ) throws(RedisAddressError) -> [HostPort] {
        var list: [HostPort] = []
        for location in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard case .tcp(let host, let port) = try parseLocation(location, defaultPort: defaultPort) else {
                continue
            }
            list.append(HostPort(host: host, port: port))
        }
        return list
    }

    /// Credentials, and what follows them: up to the first slash, and the rest.
    private static func parseAuthority(
        _ text: Substring
    ) throws(RedisAddressError) -> (address: RedisAddress, location: Substring, tail: Substring) {
        let authority = text.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let tail = text[authority.endIndex...]
        // Before anything is quoted: the rest may be part of a password.
        guard !tail.contains("@") else {
            throw RedisAddressError(
                "user and password hold a character that must be percent-encoded (/ as %2F, ? as %3F, # as %23), "
                    + "such as redis://gateway:pa%2Fss@localhost:6379")
        }
        var address = RedisAddress(endpoint: .tcp(host: "", port: 6379))
        var location = authority
        if let at = authority.lastIndex(of: "@") {
            address.credentials = try parseCredentials(authority[..<at])
            location = authority[authority.index(after: at)...]
        }
        guard tail.allSatisfy({ $0 != "?" && $0 != "#" }) else {
            // A wrong location is the more likely fault.
            if !location.contains(",") { _ = try parseLocation(location) }
            throw RedisAddressError(
                "nothing may follow the database in a redis:// address; expected such as "
                    + "\(RedisAddressError.tcpExample), with the password before the host or in a file")
        }
        return (address, location, tail)
    }

    private static func parseUnix(_ text: Substring) throws(RedisAddressError) -> RedisAddress {
        guard text.first == "/" else {
            throw RedisAddressError(
                "a Unix socket's address holds no host and no user: three slashes, then the path, such as "
                    + RedisAddressError.unixExample)
        }
        let encoded = text.prefix { $0 != "?" }
        guard let path = percentDecoded(encoded), !path.utf8.contains(0) else {
            throw RedisAddressError(
                "the path is not percent-encoded UTF-8 (% is written %25); expected such as "
                    + RedisAddressError.unixExample)
        }
        guard path.utf8.count <= RedisBounds.maxSocketPathBytes else {
            throw RedisAddressError(
                "the socket's path has \(path.utf8.count) bytes, and the system allows "
                    + "\(RedisBounds.maxSocketPathBytes); expected such as \(RedisAddressError.unixExample)")
        }
        var address = RedisAddress(endpoint: .unix(path: path))
        let query = text[encoded.endIndex...].dropFirst()
        if !query.isEmpty {
            guard query.hasPrefix("db=") else {
                throw RedisAddressError(
                    "only db may follow the path of a Unix socket, as in \(RedisAddressError.unixExample)?db=1; "
                        + "give a password by file or environment")
            }
            address.database = try parseDatabase(query.dropFirst(3))
        }
        return address
    }

    private static func parseCredentials(_ text: Substring) throws(RedisAddressError) -> RedisCredentials? {
        // Templates leave both empty where Redis asks for neither.
        if text.isEmpty { return nil }
        guard let colon = text.firstIndex(of: ":") else {
            throw RedisAddressError(
                "a user without a password before the @; expected user:password@ or :password@, such as "
                    + "redis://gateway:secret@localhost:6379")
        }
        guard let user = percentDecoded(text[..<colon]),
            let password = percentDecoded(text[text.index(after: colon)...])
        else {
            throw RedisAddressError(
                "user or password is not percent-encoded UTF-8 (% is written %25), such as "
                    + "redis://gateway:100%25@localhost:6379")
        }
        return .given(user: user, password: password)
    }

    private static func parseLocation(
        _ text: Substring, defaultPort: Int = 6379
    ) throws(RedisAddressError) -> Endpoint {
        let host: Substring
        let rest: Substring
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else {
                throw RedisAddressError("the bracket of an IPv6 address is not closed; expected redis://[::1]:6379")
            }
            host = text[text.index(after: text.startIndex)..<end]
            rest = text[text.index(after: end)...]
        } else {
            host = text.prefix { $0 != ":" }
            rest = text[host.endIndex...]
            guard !rest.dropFirst().contains(":") else {
                throw RedisAddressError(
                    "the host has several colons: an IPv6 address is written in brackets, such as redis://[::1]:6379, and "
                        + "a password ends with @, such as \(RedisAddressError.credentialsExample)")
            }
        }
        guard !host.isEmpty, host.allSatisfy({ !$0.isWhitespace && $0 != "%" }) else {
            throw RedisAddressError(
                "the host is empty or no name; expected such as \(RedisAddressError.tcpExample)")
        }
        guard !rest.isEmpty else { return .tcp(host: String(host), port: defaultPort) }
        guard rest.first == ":", let port = decimal(rest.dropFirst()), (1...65_535).contains(port) else {
            throw RedisAddressError(
                "the port \(shown(rest.dropFirst()))is no number from 1 to 65535; expected such as "
                    + "\(RedisAddressError.tcpExample), or with a password \(RedisAddressError.credentialsExample)")
        }
        return .tcp(host: String(host), port: port)
    }

    private static func parseDatabase(_ text: Substring) throws(RedisAddressError) -> Int {
        if text.isEmpty { return 0 }
        guard let database = decimal(text) else {
            throw RedisAddressError(
                "the database is no number of up to nine digits; expected such as redis://localhost:6379/1")
        }
        return database
    }
}

/// One line on what is wrong with an address.
package struct RedisAddressError: Error, Sendable, Equatable, CustomStringConvertible {
    package var description: String

    init(_ description: String) { self.description = description }

    static let tcpExample = "redis://localhost:6379/0"
    static let credentialsExample = "redis://gateway:secret@localhost:6379"
    static let sentinelExample = "redis+sentinel://one:26379,two:26379/mymaster"
    static let clusterExample = "redis+cluster://one:6379,two:6379"
    static let unixExample = "unix:///run/redis/redis.sock"
}

/// A number in quotation marks and a space after it; empty for any other text and for long numbers, which may be a
/// password.
private func shown(_ text: Substring) -> String {
    (1...5).contains(text.utf8.count) && decimal(text) != nil ? "\"\(text)\" " : ""
}

/// Digits alone, up to nine of them.
private func decimal(_ text: Substring) -> Int? {
    guard (1...9).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Int(text)
}

/// Nil if a `%` is not followed by two digits, or if the bytes are not UTF-8.
private func percentDecoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else {
            bytes.append(byte)
            continue
        }
        guard let high = rest.popFirst().flatMap(hexDigit), let low = rest.popFirst().flatMap(hexDigit) else {
            return nil
        }
        bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
}

private func hexDigit(_ byte: UInt8) -> UInt8? {
    Character(UnicodeScalar(byte)).hexDigitValue.map { UInt8($0) }
}

extension String {
    /// The first occurrence of `needle`.
    func firstRange(of needle: String) -> Range<Index>? {
        var at = startIndex
        while at < endIndex {
            if self[at...].hasPrefix(needle) { return at..<index(at, offsetBy: needle.count) }
            at = index(after: at)
        }
        return nil
    }
}
