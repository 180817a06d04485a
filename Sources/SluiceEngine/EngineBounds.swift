/// Every bound of the engine, with its unit, its reason, and what happens when it is met.
package enum EngineBounds {
    /// Most checks that may wait for the store at once; one more is answered `BUSY`. At 100 bytes each this is
    /// 6.5 MB, and more than a store can answer within anybody's budget.
    package static let maxWaitingChecks = 65_536
    /// Most counters that one script call charges; what comes after goes into the next batch. At 2 us of Redis' CPU
    /// each, this keeps one script near a millisecond, so that other clients of that Redis are not held up.
    package static let maxChargesPerBatch = 512
    /// What a charge of another kind than a fixed window's, and whatever reserves, has an id or settles, counts as in
    /// that: it costs Redis that much more.
    package static let chargesOfUnusualWork = 8
    /// A log of so many units counts as one more of those: it is gone through whole, at some 0.3 us of Redis' CPU for each
    /// charge.
    static let logUnitsPerUnusualWork: Int64 = 32
    /// Most charges with times of their own that a log keeps, here and in the store: as many as the largest `max` has units.
    /// What is written back, or a `COMMIT` to more than was reserved, may come to more: then the two oldest become one.
    package static let maxLogEntries = 1_024
    /// In so many steps at most what was admitted locally by a log is written back: each is a charge of the batch. Of more,
    /// neighbours become one, at the time of the last of them, and are freed that much later.
    static let maxLogStepsWrittenBack = 16
    /// In one of so many batches the store is asked of every key that it charges whether it still has a time to live, so
    /// that one which lost it amid a window is repaired: one more command for a charge, less than 1 % of the store's time.
    static let batchesPerVerification: Int64 = 64
    /// Most batches that are on their way at once. While the store works on one, the next may already lie in its
    /// socket, so that it never waits for us; more would only make batches smaller.
    package static let maxBatchesInFlight = 2
    /// Most checks whose identities are looked up together: as many as a processor can wait for at once, or so.
    package static let maxIdentitiesPerRun = 16
    /// Most reasons for which the store is not used that are reported in one outage: a store that finds a new one at every
    /// attempt does not fill the log. The last one is kept in any case.
    package static let maxReportedReasons = 8
    /// How often a batch, or an entry whose window had ended, is sent again before it is answered locally.
    package static let maxResends = 3
    /// Most identities (grant, tool and session together) that are remembered. When the table is full, one that has
    /// nothing to lose is forgotten, or while the store counts the least recently used; if none of those looked at may go,
    /// the new check is answered `BUSY`.
    package static let maxPlans = 1_048_576
    /// No grant takes more of a table than one part in so many, in rows and in bytes: 65,536 identities, 4,096 reservations.
    /// At that its own rows make room, and nobody else's.
    package static let grantParts = 16
    /// The same of all keys of `CL.THROTTLE` together, which belong to no grant.
    package static let throttleParts = 4
    /// How often some rows are looked at to make room for one identity: with long names one may take the room of several.
    static let evictionRounds = 64
    /// Of the bytes of the table, one part in so many is kept back from rows, for what lies apart from them: long names.
    static let apartParts = 8
    /// A person is told again of a full table when it has not been met for so long, ns.
    package static let busyEpisodeNs: Int64 = 60_000_000_000
    /// Rulings that count nothing are remembered in so many places, by grant and tool: a check that finds another in its
    /// place asks the policies, which takes a microsecond. Up to 2 KiB each.
    package static let ruledPlaces = 1_024
    /// Most reservations that are made here while the store is away and not settled yet. One more is answered `BUSY`: none
    /// that was promised may be forgotten.
    package static let maxLocalReservations = 65_536
    /// When there are too many of them, those that have expired are looked for this often at most, ms.
    package static let fullReservationsPauseMs: Int64 = 100
    /// Most ends of reservations that are kept for the store while it is away; what they would give back then stays
    /// charged until it no longer counts.
    package static let maxUnsentSettlements = 131_072
    /// Most answers to checks with an id that are remembered here; with more, the oldest is forgotten.
    package static let maxIdempotencyKeys = 65_536
    /// Most calls that were cancelled and whose ids the store is still to free, while it is away; with more, an id stays
    /// taken for the rest of its ten minutes.
    package static let maxUnsentCancels = 65_536
    /// Most answers to checks with an id that one batch tells the store beside its own checks: some 0.2 ms of its time.
    package static let answersToldPerBatch = 64
    /// How long an answer to a check with an id is remembered, ns: ten minutes, as in the store.
    package static let idempotencyTTLNs: Int64 = 600_000_000_000
    /// How old the state may be by which a check is refused without asking the store, ns: what the contract allows.
    package static let denialTTLNs: Int64 = 1_000_000_000
    /// Changes of counters are kept apart by so many places; counters that share one drop each other's refusals, which
    /// costs a question to the store. 8 bytes each.
    package static let changeSlots = 16_384
    /// After so long without a word from where changes are told, a sign of life is asked for, ns.
    package static let listeningProbeNs: Int64 = 1_000_000_000
    /// How long that may take before nothing is remembered any more and it is given up, ns.
    package static let listeningSilenceNs: Int64 = 1_000_000_000
    /// How long it may take to begin to listen, ns: longer than a connection and its handshake may.
    package static let listeningOpenNs: Int64 = 5_000_000_000
    /// Longest pause before it is tried again, ns; the first is `firstBackoffNs`. It is only about speed.
    package static let maxChangeFeedBackoffNs: Int64 = 10_000_000_000
    /// Of the bytes that tables may take, one part of so many is kept back from identities: for reservations that are made
    /// here, ids of checks and settlements that are owed. They may take more where identities leave it.
    package static let besideParts = 8
    /// Of that part, no grant takes more than one in so many with its reservations, nor with its ids.
    static let besideGrantParts = 4
    /// Most batches that may be gathered before checks with an id or a reservation, and settlements, are answered `BUSY`:
    /// with the longest names they take 100 KiB each, and the store answers fewer within anybody's budget.
    package static let maxQueuedUnusual = 384
    /// How many plans are looked at for one to forget: bounded work for each new identity.
    package static let plansSweptPerInsertion = 16
    /// How many plans are looked at on each tick.
    package static let plansSweptPerTick = 2_048
    /// A plan that no check has used for so long is forgotten, ns.
    package static let planIdleNs: Int64 = 120_000_000_000
    /// Longest part of the budget that is kept back for the answer's own way, ns. A quarter of the budget if less.
    package static let maxReserveNs: Int64 = 5_000_000
    /// How long a connection may stay silent with an answer owed before it is closed, ns.
    package static let stallLimitNs: Int64 = 1_000_000_000
    /// First pause before the store is tried again, ns; doubles with each failure.
    package static let firstBackoffNs: Int64 = 50_000_000
    /// Longest pause before the store is tried again, ns: so long may shared counting take to resume.
    package static let maxBackoffNs: Int64 = 1_000_000_000
    /// How often a replica gives a sign of life in the store, ns: it shows that the store is still there, reads its clock,
    /// keeps this replica's marker alive, and tells who else lives.
    package static let heartbeatIntervalNs: Int64 = 1_000_000_000
    /// How long a sign of life counts, ns. A replica that is gone has its share of an outage for so long; and one that
    /// lives may miss many.
    package static let heartbeatTTLNs: Int64 = 30_000_000_000
    /// How long checks may be answered locally after the store forgot, because not all replicas have offered what they
    /// last saw, ns: what the contract allows.
    package static let maxRecoveryNs: Int64 = 2_000_000_000
    /// How often it is asked meanwhile who has, ns.
    package static let recoveryPollNs: Int64 = 50_000_000
    /// Most counters that one batch settles or offers beside those of its own checks: some 0.3 ms of Redis' time.
    package static let maxWriteBacksPerBatch = 128
    /// Most counters that are looked at, for each batch, for some to offer.
    package static let countersScannedForRestore = 4_096
    /// Most that one batch adds to a counter, in units of cost; the rest is added next. As the largest cost of a check.
    package static let maxIncrement: Int64 = 1_000_000_000_000
    /// Most counters that are recorded each time that records are taken: a millisecond or two of work, while checks wait.
    package static let countersRecordedAtOnce = 4_096
    /// How many batches may go out before it is recorded how far the sequence got.
    package static let sequencesPerRecord: Int64 = 1_000_000
    /// How far a replica that is started again goes beyond the last sequence that was recorded: more than went out after
    /// that. Two million restarts stay below 2^53.
    package static let sequencesSkippedAtRestart: Int64 = 1 << 32
    /// The latest time that is believed, whoever tells it, ms since the epoch: the end of the year 9999. A store with a later
    /// one is not counted by; a record with one is passed over.
    package static let latestMs: Int64 = 253_402_300_799_999
    /// The highest sequence that is taken from outside: half of what is exact in a script, so that more can follow. A marker
    /// with a higher one than was sent counts as forgotten; a record with one is passed over.
    package static let maxSequence: Int64 = 1 << 52
    /// How far the store's clock may step back before that is reported, ms: its keys outlive their window by as much. A token
    /// bucket with a time that is further ahead leaks on from now; with another it stands still until that time.
    package static let clockStepMs: Int64 = 60_000
    /// How long the store's clock must be behind what it told before, without a break, until it is followed, ns: longer than an
    /// answer may be on its way, so that smaller steps are waited for. Until then time stands still. What is over-admitted by
    /// it: of each window that was open or lay between the two times once more its maximum.
    package static let storeFollowedAfterNs: Int64 = 3_000_000_000
    /// How far the store's time that an earlier process kept may be ahead of this machine's clock, ms: ten minutes, more than
    /// clocks are apart that anybody looks after. One further ahead is dropped, and windows are cut by this machine's clock
    /// until the store tells its time.
    package static let maxRestoredAheadMs: Int64 = 600_000
    /// How many answers in a row may tell that nothing ran before the store is left alone for a pause of the breaker's: as many
    /// as one cause brings about (those in flight, and their resends), and some more.
    package static let maxUnrunAnswers = 8
    /// How often a person is told of keys that are at fault, and of a store that forgot, in the long run: the pause, ns. What
    /// comes in between is counted in the statistics alone.
    package static let noticePauseNs: Int64 = 1_000_000_000
    /// How many of those may come at once.
    package static let noticesAtOnce: Int64 = 8
    /// Most other replicas that are kept in mind; a list of more was not written by replicas. More are passed over.
    package static let maxReplicas = 1_024
    /// Most notices that wait for the shell to log them; more are dropped, since the newest state is in the status.
    package static let maxNotices = 64
    /// How often the engine wants to look at its tables, ns.
    package static let sweepIntervalNs: Int64 = 1_000_000_000
}
