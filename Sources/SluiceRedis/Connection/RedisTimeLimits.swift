package import NIOCore

/// How long a link waits. The defaults are those of `RedisBounds`; tests use others, to be fast or to allow for a busy
/// machine.
package struct RedisTimeLimits: Sendable, Equatable {
    /// For a connection to open.
    package var connect = RedisBounds.connectTimeLimit
    /// For the handshake's answers.
    package var handshake = RedisBounds.handshakeTimeLimit
    /// For a scan, from its call to its completion.
    package var scan = RedisBounds.scanTimeLimit

    /// For a sentinel, from the begin of its connection to its answer.
    package var sentinel = RedisBounds.sentinelTimeLimit
    /// For a node of a cluster to say which master has which slots, from the begin of the connection.
    package var cluster = RedisBounds.clusterTimeLimit

    package init() {}
}

extension TimeAmount {
    /// For a sentence, such as `2000 ms`.
    var inMilliseconds: String { "\(nanoseconds / 1_000_000) ms" }
}
