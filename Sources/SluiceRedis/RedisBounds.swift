package import NIOCore

/// Every bound of the links to Redis, with its unit, its reason, and what happens when it is met.
package enum RedisBounds {
    /// How long a connection may take to open. A server on the same network answers within milliseconds; whoever does
    /// not answer in two seconds is down or cut off. `linkClosed` follows.
    package static let connectTimeLimit = TimeAmount.seconds(2)
    /// How long the server may take to answer the whole handshake. A server that is stopped accepts connections (the
    /// kernel does so for it) and then says nothing. `linkClosed` follows.
    package static let handshakeTimeLimit = TimeAmount.seconds(2)
    /// Longest message on the channel for changes that is taken, bytes; a tag holds a name of 256 bytes at most, each
    /// written in up to three. A longer one is none of ours, and is passed over.
    package static let maxChangeBytes = 2_048
    /// Most batches that may be unanswered on one connection. The engine keeps two under way; more than this means
    /// that something is wrong, and the connection is closed (`linkClosed`).
    package static let maxBatchesInFlight = 16
    /// Most bytes of one reply. The longest that is expected is a page of `SCAN` (1,000 keys of some 2 KiB); more is
    /// taken for a protocol error, and the connection is closed. Exceeded by at most one read.
    package static let maxReplyBytes = 16 * 1024 * 1024
    /// How deep the arrays of a reply may lie in one another. Nothing that is asked for is deeper than two; hiredis 1.x
    /// has no bound of its own. A deeper reply is taken for nonsense.
    package static let maxReplyDepth = 7
    /// How much buffer the reader keeps while it is empty, bytes. hiredis' own default of 16 KiB would have it freed
    /// and allocated again for each large reply.
    package static let maxIdleReaderBytes = 256 * 1024
    /// How long a replica's marker lives after its last batch, ms. A batch that never got its answer can be asked
    /// about for so long; the engine asks with the first batch after it is connected again.
    package static let markerTimeToLiveMs: Int64 = 3_600_000
    /// Most that the checks of one plain entry may cost together: more than any limit admits, and far below 2^53.
    package static let maxCostPerEntry: Int64 = 2_000_000_000_000
    /// How long the id of a reservation is, bytes: so many hexadecimal digits. Any other in an answer is taken for
    /// nonsense.
    package static let reservationBytes = 32
    /// Most replicas that a list of signs of life names: as many as the script tells. More is taken for nonsense.
    package static let maxReplicasTold = 1_024
    /// How many of the latest windows and shapes of a batch are looked through for one that is equal. Batches have
    /// few of either; one that is not found is written again, which costs a few bytes and is just as right.
    package static let maxDedupeLookback = 16
    /// How long `scan` may take from its call to its completion; then it tells what it has found, or fails if that is not even a
    /// page. A person waits for it.
    package static let scanTimeLimit = TimeAmount.seconds(2)
    /// How many keys Redis looks at for one `SCAN`: some 0.3 ms of its time, so that checks are hardly delayed.
    package static let scanKeysPerCall = 1_000
    /// How many keys of a page a scan looks at and reads at once: some 0.2 ms of this process' time, and of Redis'.
    package static let scanCountersPerTurn = 128
    /// Most scans under way at once; one more is refused. Each has a connection of its own.
    package static let maxScans = 4
    /// Longest text of an error from Redis that is kept, bytes; the rest is cut off. Its longest own sentence (`MISCONF`)
    /// has some 330.
    package static let maxErrorBytes = 1_024
    /// Longest path of a Unix socket, bytes: what SwiftNIO takes on every system, four less than Linux has room for.
    package static let maxSocketPathBytes = 103
}
