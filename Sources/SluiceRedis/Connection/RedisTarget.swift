/// Where a connection goes, and with what.
struct RedisTarget {
    /// The handshake of a connection with these credentials.
    typealias MakeHandshake = (RedisCredentials?) -> RedisHandshake

    var address: RedisAddress
    var access: RedisAccess
    /// They know the address' master; nil if the address is that of a server.
    var sentinels: Sentinels?
    /// Whether its faults are to say which server they are about.
    var isOneOfSeveral = false
}
