/// Every bound of the server, with its unit, its reason, and what happens when it is met.
package enum ServerBounds {
    /// Most connections at once; one more is answered with `BUSY` and closed. A gateway pools a few dozen. Fewer if the
    /// system permits fewer open files.
    package static let maxConnections = 10_000
    /// Files reserved when the system permits fewer than the connections need: the event loop's own, the links to the
    /// store, the listener. Without them, a full server could not even answer `BUSY`.
    package static let reservedFiles = 64
    /// Most work for what one connection has sent, until others have had theirs, in units of about a microsecond: the
    /// cost of a check. The rest is done once every other connection's input has been looked at, in this turn of the event
    /// loop or in a later one; nothing is rejected. Twice the pipeline of gateways that do not want to wait for each other.
    package static let maxShareOfTurn = 64
    /// Most work for what a gRPC connection has sent once it waits for its turn: some ten calls, whose answers leave in one
    /// piece. What is no more than `maxShareOfTurn` does not wait.
    static let maxGatewayShare = 192
    /// `maxShareOfTurn` once the turn is full.
    package static let minShareOfTurn = 8
    /// Most work in one turn of the event loop for all connections, in the same units, but for `minShareOfTurn` of each
    /// that has sent something: a turn takes a millisecond or less, however much has been sent.
    package static let maxWorkPerTurn = 448
    /// How many bytes of a reply count as one unit, in addition to the request.
    package static let replyBytesPerWork = 512
    /// What an error counts in addition to the request: its sentence is assembled.
    package static let workPerError = 2
    /// What `INFO` and `EXPLAIN` count: they assemble some hundred lines.
    package static let workPerReport = 32
    /// Limits that are named to an operator who asked for one that is not there; the number of the others follows.
    static let maxLimitsNamed = 5
    /// Counters that the line of a clear names; the number of all is in it, too.
    static let maxLoggedClears = 20
    /// What `COUNTERS`, `POLICY` and `CLEAR` count: a whole turn.
    package static let workPerListing = maxShareOfTurn
    /// Most bytes read from a connection in one turn: some 200 checks. The rest stays in its socket.
    package static let maxReadBytes = 16_384
    /// If the event loop spends more than this in polling its sockets, ns, it has slept, and what it found has just
    /// arrived. A poll that finds something at once takes a few microseconds.
    package static let sleepNs: Int64 = 25_000
    /// Bytes for everything that clients make the sidecar hold, unless `--memory` says otherwise: a million identities
    /// with short names, and a thousand clients that leave some 100 KiB unread each. At the bound, connections that
    /// hold most are closed, new ones are answered with `BUSY`, and new identities find the table full.
    package static let defaultMemoryBytes = 512 * 1_048_576
    /// Lowest setting: the tables and one connection with all that it may hold must fit.
    package static let minMemoryBytes = 16 * 1_048_576
    /// Highest setting.
    package static let maxMemoryBytes = 1 << 40
    /// How many quarters of it the engine's tables may take: the rest is always left for connections.
    static let tableQuarters = 3
    /// What an idle connection holds, bytes: its channel, its handler and small buffers, as measured.
    static let bytesPerConnection = 8_192
    /// What an idle gRPC connection holds, bytes: its channel, the tables of its header compression, its counts.
    static let bytesPerGRPCConnection = 65_536
    /// What a call holds that waits for its answer, bytes, beside its message.
    static let bytesPerGRPCCall = 1_024
    /// Most bytes of large messages of gRPC that wait to be read, of all connections; the call that passes it is answered
    /// `RESOURCE_EXHAUSTED`.
    static let maxLargeMessageBytes = 16 * 1_048_576
    /// Overhead of a piece of output that the socket has not taken, bytes.
    static let bytesPerUnreadPiece = 128
    /// When so many bytes may be unread, the handler checks whether they are: written output may have been read at
    /// once.
    static let unverifiedBytes = 32_768
    /// A connection's empty buffers larger than this are freed, bytes.
    static let keptBufferBytes = 16_384
    /// So much must have been freed before memory is given back to the system, bytes: less is soon used again.
    static let fewestFreedBytes = 8 * 1_048_576
    /// Most checks in a second in which that may happen: they may wait some milliseconds.
    static let checksInQuietSecond: Int64 = 100
    /// How many parts the connections are divided into; one part is swept at a time.
    static let sweepParts = 10
    /// How often connections are swept for frames that never end and answers that are not read, ns.
    package static let sweepIntervalNs: Int64 = 1_000_000_000
    /// How long giving back leases may delay the end of the process, ns: a hundred thousand of them take half of it.
    static let giveBackLimitNs: Int64 = 1_000_000_000
    /// How long a drain may take before the remaining connections are closed, ns.
    package static let drainLimitNs: Int64 = 5_000_000_000
    /// Longest path of a Unix socket, bytes: SwiftNIO's bound on every system, four less than Linux allows.
    package static let maxSocketPathBytes = 103
    /// How often changes are written to the state's file, ns: so much of what was admitted without the store may be
    /// lost with the process. Half as long as a person would notice; an fsync takes a disk some milliseconds.
    package static let stateIntervalNs: Int64 = 20_000_000
    /// How long the sidecar waits after a failed write, ns.
    package static let stateRetryNs: Int64 = 1_000_000_000
    /// How long a batch waits at most until the records needed after a crash are on the disk, ns. A disk that takes
    /// longer is treated as broken.
    package static let stateHoldLimitNs: Int64 = 500_000_000
    /// Most HTTP connections at once; one more is answered 503 and closed. Proxies keep a few dozen open. So many fewer
    /// the socket has, because they share the open files.
    package static let maxHTTPConnections = 512
    /// Longest head of an HTTP request, bytes, its path and headers counted; a longer one is answered 431, then close.
    package static let maxHTTPHeadBytes = 16_384
    /// Most headers of an HTTP request, answered in the same way.
    package static let maxHTTPHeaders = 100
    /// Longest body of an HTTP request, bytes: as a frame of the socket; a longer one is answered 413, then close.
    package static let maxHTTPBodyBytes = 65_536
    /// Most requests of one HTTP connection in one turn of the event loop: as much work as the 64 of the socket. The next
    /// one follows after `httpPauseNs`. Metrics and other reports are made one in a turn.
    static let httpRequestsPerTurn = 8
    /// How long such a pause is, ns: the sockets are polled meanwhile.
    static let httpPauseNs: Int64 = 1_000_000
    /// How long an HTTP connection may be idle before it is closed, ns: longer than nginx keeps its own end (60 s), so
    /// that a proxy seldom asks at a connection that is just being closed.
    static let httpIdleNs: Int64 = 75_000_000_000
    /// How long an HTTP request may take from its head to its end, ns; then close.
    static let httpRequestNs: Int64 = 10_000_000_000
    /// How long an HTTP client may take to read its answer, ns; then close.
    static let httpUnreadNs: Int64 = 30_000_000_000
    /// How long a drain waits for HTTP connections, ns: their checks have been answered by then.
    static let httpDrainLimitNs: Int64 = 1_000_000_000
    /// What an idle HTTP connection holds, bytes: as one of the socket, and NIO's parser.
    static let bytesPerHTTPConnection = 16_384
    /// Counters on a page of `/v1/counters` when `limit` is not given, and the most.
    static let countersPerPage = 100
    static let maxCountersPerPage = 1_000
    /// Most bytes of the decision log that wait to be written: some 4,000 lines, more than a second of denials. Lines beyond
    /// it are dropped and counted.
    static let maxUnwrittenDecisionBytes = 1 << 20
    /// Most bytes of questions kept for the decision log while their checks wait for the store. What does not fit is not
    /// logged, and counted as dropped.
    static let maxWaitingDecisionBytes = 16 << 20
    /// Most connections that listen to decisions (`TAIL`); one more is answered with `BUSY`. A person or two, each with a
    /// screen or two; a set of them is a byte.
    package static let maxTails = 8
    /// Most lines in a second for one of them, after as many at once: more than a person reads or a screen shows. Others are
    /// left out and counted.
    package static let tailLinesPerSecond: Int64 = 1_000
    /// Most bytes that wait for one of them while it does not read: a second's lines. Others are left out and counted.
    package static let maxTailBytes = 262_144
    /// How long an ending process waits until everything is on the disk, ns.
    package static let stateCloseLimitNs: Int64 = 5_000_000_000
    /// Largest state file, bytes: some 500,000 counters. What does not fit is not kept, and that is reported. When half
    /// of it is used, usages that were only observed are left out.
    package static let maxStateFileBytes = 67_108_864
    /// A state file is compacted when it is larger than this, bytes, and twice as large as after its last compaction.
    package static let minCompactedBytes = 1_048_576
    /// Most counters in one frame of a compacted state file: if one of the frame's bits is wrong, so many are lost, and
    /// all after them.
    package static let countersPerFrame = 1_024
    /// A buffer for writing the state file is freed when it is larger than this, bytes.
    package static let stateBufferBytes = 1_048_576
    /// How many counters `COUNTERS` examines before other work comes in between. One that it reports is as much work as
    /// `countersPerReport` that it skips.
    package static let countersLookedAtPerTurn = 1_024
    /// What that counts, in units of about a microsecond.
    static let workPerCounterPortion = 200
    package static let countersPerReport = 8
    /// How long `COUNTERS` goes on reading, ns; then it says where it ended. A client waits five seconds, and the last piece
    /// may take two.
    static let counterSurveyNs: Int64 = 2_000_000_000
    /// How many of the store's counters are read at once: some 1 MB while they are looked at.
    static let countersPerPiece = 1_024
    /// With more counters than this `COUNTERS` sorts them on another thread: a millisecond or so of work.
    package static let countersSortedHere = 256
    /// How often the sidecar checks that the socket's file is still there, ns: for so long gateways may not find it.
    package static let socketLookIntervalNs: Int64 = 1_000_000_000
    /// How many connections may wait to be accepted: a starting gateway opens its pool at once. The system may allow
    /// fewer (`net.core.somaxconn`).
    package static let listenBacklog: Int32 = 1_024
    /// How often, and after which pauses in ns, an ending sidecar looks whether connections wait to be accepted: for so long
    /// its end is delayed at most. Those that still wait then are cut.
    static let acceptLooks = 100
    static let acceptPauseNs: Int64 = 1_000_000
    /// How long a start waits for the lock of the socket's folder, ns: another starting sidecar holds it for
    /// milliseconds. If a process holds it longer, the start fails.
    package static let socketLockLimitNs: Int64 = 5_000_000_000
    /// How often a start tries that lock, ns.
    package static let socketLockPauseNs: Int64 = 50_000_000
    /// How long the start and the end wait for a service manager that does not read its messages, s; then the message is
    /// dropped.
    static let managerWaitSeconds = 1
    /// Most sockets that a service manager may hand over; more are a fault of its configuration. There are three to take.
    static let maxHandedOverSockets: Int32 = 16
    /// How many times Redis may be reached or lost within `flapWindowNs` until single changes are no longer logged, but
    /// counted: an outage and its end, and the beginning of the next one. Then one line in so long a time says how many there
    /// were, and after so long without any, that it is stable.
    static let loggedChangesPerWindow = 3
    static let flapWindowNs: Int64 = 60_000_000_000
    /// Most bytes of the log in one write: a pipe that has any room has room for so many (`PIPE_BUF`), so the write
    /// does not wait for its reader. Lines without room are dropped, and their number is logged.
    package static let maxLogWriteBytes = 4_096
}
