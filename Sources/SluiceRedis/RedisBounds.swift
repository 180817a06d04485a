package import NIOCore

/// Every bound of the links to Redis, with its unit, its reason, and what happens when it is met.
package enum RedisBounds {
    /// How long a connection may take to open. A server on the same network answers within milliseconds; one that does
    /// not answer in two seconds is down or cut off. `linkClosed` follows.
    package static let connectTimeLimit = TimeAmount.seconds(2)
    /// How long the server may take to answer the whole handshake. A stopped server still accepts connections (its
    /// kernel does) and then does not answer. `linkClosed` follows.
    package static let handshakeTimeLimit = TimeAmount.seconds(2)
    /// How long one sentinel may take to answer, from the begin of its connection. The next one is asked then.
    package static let sentinelTimeLimit = TimeAmount.seconds(1)
    /// How often sentinels are asked whether the master is still the same. A failover is usually reported at once; this
    /// is for reports that were lost.
    package static let sentinelPollInterval = TimeAmount.seconds(5)
    /// The pause before a subscription to a sentinel is tried at the next one.
    package static let sentinelRetryPause = TimeAmount.seconds(1)
    /// Most sentinels in an address; a longer list is rejected. Five are usual at most.
    package static let maxSentinels = 32
    /// Most nodes of a Redis Cluster in an address; a longer list is rejected. One that answers is enough.
    package static let maxClusterAddresses = 32
    /// Most nodes that a Redis Cluster may name, as many as its makers recommend at most; an answer with more is
    /// malformed.
    package static let maxClusterNodes = 1_000
    /// Longest name of a host that a node may give, bytes: the longest of DNS. A node with a longer one is not used.
    package static let maxHostBytes = 253
    /// How long one node of a cluster may take to say which master has which slots, from the begin of the connection.
    /// The next one is asked then.
    package static let clusterTimeLimit = TimeAmount.seconds(1)
    /// How many nodes that a cluster named are asked before those of the address are.
    package static let clusterNodesAsked = 4
    /// While a connection to a node of a cluster takes longer than this to open, the others are asked for the master, each
    /// time that it has passed again.
    static let slowNodeInterval = TimeAmount.milliseconds(500)
    /// Of how many nodes that did not answer the reasons are given; the others are counted.
    static let clusterFailuresShown = 8
    /// How often a cluster is asked for its map though nothing hints at a change, with a quarter more or less at random.
    /// Changes show themselves at the next batch; this finds the nodes that were added meanwhile.
    package static let clusterPollInterval = TimeAmount.seconds(10)
    /// How often a batch that a cluster did not run is sent to where it said, or once more, before it is rejected.
    package static let maxRedirections = 8
    /// The pause before a batch is sent again whose keys are divided while their slot is moved; it doubles each time,
    /// up to `longestClusterPause`. All of them together are some 160 ms.
    package static let firstClusterPause = TimeAmount.milliseconds(1)
    package static let longestClusterPause = TimeAmount.milliseconds(50)
    /// Longest message accepted from the change channel, bytes: a counter's key has up to six names of at most 256 bytes,
    /// each byte written in up to three. A longer message did not come from a script and is ignored.
    package static let maxChangeBytes = 8_192
    /// Most unanswered batches on one connection. The engine keeps two in flight; more means a fault, and the
    /// connection is closed (`linkClosed`).
    package static let maxBatchesInFlight = 16
    /// Most bytes of one reply. The longest expected one is a page of `SCAN` (1,000 keys of some 2 KiB); more is
    /// treated as a protocol error, and the connection is closed. Exceeded by at most one read.
    package static let maxReplyBytes = 16 * 1024 * 1024
    /// Deepest nesting of arrays in a reply. Expected replies have a depth of two at most; hiredis 1.x has no bound of
    /// its own. A deeper reply is treated as malformed.
    package static let maxReplyDepth = 7
    /// How much buffer the reader keeps while it is empty, bytes. With hiredis' own default of 16 KiB it would be freed
    /// and allocated again for each large reply.
    package static let maxIdleReaderBytes = 256 * 1024
    /// How long a replica's marker lives after its last batch, ms. For so long a replica can find out whether an
    /// unanswered batch ran; the engine does so with the first batch after it reconnects.
    package static let markerTimeToLiveMs: Int64 = 3_600_000
    /// Highest total cost of the checks of one plain entry: more than any limit admits, and far below 2^53.
    package static let maxCostPerEntry: Int64 = 2_000_000_000_000
    /// Length of a reservation's id, in hexadecimal digits of one byte. An id of another length in an answer is
    /// malformed.
    package static let reservationBytes = 32
    /// Most replicas in the answer to a heartbeat: the script's own bound. A longer list is malformed.
    package static let maxListedReplicas = 1_024
    /// How many of a batch's latest windows and shapes are searched for an equal one. Batches have few of either; one
    /// that is not found is written again, which costs a few bytes and is just as correct.
    package static let maxDedupeLookback = 16
    /// How long `scan` may take from its call to its completion. Then it returns what it has found, or fails if that is
    /// less than a page. A person waits for it.
    package static let scanTimeLimit = TimeAmount.seconds(2)
    /// Most keys of a slot that are asked for at once: Redis gathers them in a few milliseconds.
    static let scanSlotKeys: Int64 = 10_000
    /// How many keys Redis examines for one `SCAN`: some 0.3 ms of its time, so that checks are hardly delayed.
    package static let scanKeysPerCall = 1_000
    /// How many keys of a page a scan reads at once: some 0.2 ms of this process' time, and of Redis'.
    package static let scanCountersPerTurn = 128
    /// Most scans at once; one more is rejected. Each has a connection of its own.
    package static let maxScans = 4
    /// Longest text of an error from Redis that is kept, bytes; the rest is cut off. Redis' own longest sentence
    /// (`MISCONF`) has some 330.
    package static let maxErrorBytes = 1_024
    /// Longest path of a Unix socket, bytes: SwiftNIO's bound on every system, four less than Linux allows.
    package static let maxSocketPathBytes = 103
}
