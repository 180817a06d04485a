/// Every bound of the server, with its unit, its reason, and what happens when it is met.
package enum ServerBounds {
    /// Most connections at once; one more is told `BUSY` and closed. A gateway pools a few dozen. Fewer where the
    /// system permits fewer open files.
    package static let maxConnections = 10_000
    /// Files that are kept back from connections when the system permits fewer than those need: the event loop's own,
    /// the links to the store, the listener. Without them, a full house could not even refuse.
    package static let reservedFiles = 64
    /// Most work that a connection may have done in one turn of the event loop, in units of some microsecond: what a check
    /// costs. What is left goes on in a later turn, behind what others sent meanwhile; nobody is refused. Twice as much
    /// as gateways pipeline that do not want to wait for each other.
    package static let maxWorkPerTurn = 64
    /// Most work in one turn for all connections that have had their share of an earlier one, in the same units: so a turn
    /// takes a millisecond or less, however many there are.
    package static let maxContinuedWorkPerTurn = 384
    /// What many bytes of a reply count as, beside the request: one unit for so many.
    package static let replyBytesPerWork = 512
    /// What an error counts as beside the request: its sentence is put together.
    package static let workPerError = 2
    /// What `INFO` and `EXPLAIN` count as: they put some hundred lines together.
    package static let workPerReport = 32
    /// What `COUNTERS`, `POLICY` and `CLEAR` count as: a whole turn.
    package static let workPerListing = maxWorkPerTurn
    /// Most bytes that are read from a connection in one turn: some 200 checks. The rest stays in its socket.
    package static let maxReadBytes = 16_384
    /// When the event loop comes back from its sockets after more than this, ns, it slept: what it found came just then. A
    /// call that finds something at once takes a few microseconds.
    package static let sleepNs: Int64 = 25_000
    /// Bytes for everything that clients make the sidecar hold, unless `--memory` says otherwise: a million identities with
    /// short names, and room for a thousand clients that leave some 100 KiB unread each. When it is met, connections that
    /// hold most are closed, new ones are told `BUSY`, and new identities find the table full.
    package static let defaultMemoryBytes = 512 * 1_048_576
    /// Least that it can be set to: the tables and a connection with all that it may hold must fit in.
    package static let minMemoryBytes = 16 * 1_048_576
    /// Most that it can be set to.
    package static let maxMemoryBytes = 1 << 40
    /// How many quarters of it the engine's tables may take: the rest is the connections' at any time.
    static let tableQuarters = 3
    /// What a connection holds when it does nothing, bytes: its channel, its handler and small buffers, as measured.
    static let bytesPerConnection = 8_192
    /// What a piece of output takes that the socket would not have, beside its bytes.
    static let bytesPerUnreadPiece = 128
    /// When so many bytes may lie unread, it is looked whether they do: what was written may have been read at once.
    static let unverifiedBytes = 32_768
    /// Buffers of a connection that are larger than this are let go when they are empty, bytes.
    static let keptBufferBytes = 16_384
    /// Into how many parts the connections are divided that are looked at one after the other.
    static let sweepParts = 10
    /// How often connections are looked at for frames that never end and answers that nobody reads, ns.
    package static let sweepIntervalNs: Int64 = 1_000_000_000
    /// How long a drain may take before what is left is cut off, ns.
    package static let drainLimitNs: Int64 = 5_000_000_000
    /// Longest path of a Unix socket in bytes: what SwiftNIO takes on every system, four less than Linux has room for.
    package static let maxSocketPathBytes = 103
    /// How often what has changed is written to the state's file, ns: so much of what was admitted without the store may be
    /// lost with the process. Half as long as a person would notice; an fsync takes a disk some milliseconds.
    package static let stateIntervalNs: Int64 = 20_000_000
    /// How long nothing is written after that failed, ns.
    package static let stateRetryNs: Int64 = 1_000_000_000
    /// How long a batch waits at most until what must be known of it after a crash is on the disk, ns. A disk that takes
    /// longer counts as broken.
    package static let stateHoldLimitNs: Int64 = 500_000_000
    /// How long a process that ends waits until all is on the disk, ns.
    package static let stateCloseLimitNs: Int64 = 5_000_000_000
    /// Largest file of a state, bytes: some 500,000 counters. What does not fit is not kept, and that is reported;
    /// when half of it is used, tallies that were only seen are left out.
    package static let maxStateFileBytes = 67_108_864
    /// A state's file is written anew when it is larger than this, bytes, and twice as large as it was then.
    package static let minCompactedBytes = 1_048_576
    /// Most counters in one frame of a state's file that is written anew: so many are lost where one of its bits goes wrong,
    /// beside those behind them.
    package static let countersPerFrame = 1_024
    /// A buffer for writing a state's file is let go when it is larger than this, bytes.
    package static let stateBufferBytes = 1_048_576
    /// How many counters `COUNTERS` looks at before others' work comes in between: some 0.2 ms. One that it tells of is as much
    /// work as `countersPerReport` that it passes over.
    package static let countersLookedAtPerTurn = 1_024
    package static let countersPerReport = 8
    /// With more counters than this `COUNTERS` sorts them on another thread: a millisecond or so of work.
    package static let countersSortedHere = 256
    /// How often it is looked whether the socket's file is still there, ns: so long gateways may find none.
    package static let socketLookIntervalNs: Int64 = 1_000_000_000
    /// How many connections may wait to be accepted: a gateway that starts opens its pool at once. The system may allow
    /// fewer (`net.core.somaxconn`).
    package static let listenBacklog: Int32 = 1_024
    /// How long a start waits for the lock of the socket's folder, ns: another sidecar that starts holds it for
    /// milliseconds. Whoever holds it longer is in the way, and the start fails.
    package static let socketLockLimitNs: Int64 = 5_000_000_000
    /// How often that lock is tried meanwhile, ns.
    package static let socketLockPauseNs: Int64 = 50_000_000
    /// Most bytes of the log in one write: for so many a pipe has room when it says that it has any (`PIPE_BUF`), so that
    /// the write does not wait for its reader. What there is no room for is dropped, and how many lines that were is told.
    package static let maxLogWriteBytes = 4_096
}
