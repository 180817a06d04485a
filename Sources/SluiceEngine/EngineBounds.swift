/// Every bound of the engine, with its unit, its reason, and what happens when it is reached.
package enum EngineBounds {
    /// Most checks that may wait for the store at once; one more is answered `BUSY`. At 100 bytes each this is 6.5 MB,
    /// and more than a store can answer within any budget.
    package static let maxWaitingChecks = 65_536
    /// Most rules that metrics count by name, from the first that decides. The rest is counted together, as `(other)`:
    /// a scrape of all has some 100 KiB.
    package static let maxCountedRules = 512
    /// Most counters that one script call charges; the rest goes into the next batch. At 2 us of Redis' CPU each, this
    /// keeps one script near a millisecond, so that other clients of that Redis are not held up.
    package static let maxChargesPerBatch = 512
    /// How many charges an entry counts as, if it is not a plain check of fixed windows: other algorithms,
    /// reservations, ids and settlements cost Redis that much more.
    package static let chargesOfUnusualWork = 8
    /// Every so many units of a log's maximum count as one more such entry: a log is read whole, at some 0.3 us of
    /// Redis' CPU for each charge.
    static let logUnitsPerUnusualWork: Int64 = 32
    /// Most charges with times of their own that a log keeps, here and in the store: as many as the largest `max` has
    /// units. A write-back, or a `COMMIT` to more than was reserved, may exceed it: then the two oldest are merged.
    package static let maxLogEntries = 1_024
    /// Most steps in which a log's local admissions are written back: each is a charge of the batch. Beyond that,
    /// neighbours are merged at the later time, and are freed that much later.
    static let maxLogStepsWrittenBack = 16
    /// In one of this many batches the store checks that every key it charges still has a time to live, and repairs
    /// one that lost it within a window: one more command per charge, less than 1 % of the store's time.
    static let batchesPerVerification: Int64 = 64
    /// Most batches in flight at once. While the store works on one, the next may already be in its socket, so that it
    /// never waits for us. More would only make batches smaller.
    package static let maxBatchesInFlight = 2
    /// The same for one partition of a cluster: a master that is not ready for this partition has batches of others to work
    /// on meanwhile, and what is gathered behind the one in flight makes one script run of it.
    package static let maxPartitionBatchesInFlight = 1
    /// One part in this many of a master's partitions waits while the others have a batch in flight, so that their checks
    /// gather. With more of them waiting, a check behind a slow network would wait for several answers of others.
    static let masterPlaceParts = 2
    /// Fewest partitions of a master that may have a batch in flight at once: as `maxBatchesInFlight`.
    static let minMasterPlaces = 2
    /// A batch keeps other partitions waiting for one part in this many of the time that a check may wait for its store, at
    /// most: a check behind two that hang, one after the other, still has the better part of its own.
    static let masterPlaceTTLParts: Int64 = 5
    /// Most checks whose identities are looked up together: about as many memory accesses as a processor overlaps.
    package static let maxIdentitiesPerRun = 16
    /// Most reasons for an outage that are reported, so that a store with a new reason at every attempt does not fill
    /// the log. The last reason is kept in any case.
    package static let maxReportedReasons = 8
    /// How often a batch, or an entry whose window had ended, is sent again before it is answered locally.
    package static let maxResends = 3
    /// Most partitions of a Redis Cluster: each has tables, a batch and a heartbeat of its own, and a cluster of 256 masters
    /// still has one for each.
    package static let maxPartitions = 256
    /// Most checks, and most settlements, that wait for several partitions at once; one more is answered `BUSY`. At some
    /// 500 bytes each this is 8 MB.
    package static let maxCrossPartition = 16_384
    /// Most identities whose partitions are remembered; beyond it all are found again, which takes a microsecond each.
    package static let maxRoutes = 65_536
    /// The part of a check's budget that is kept for its home, if other partitions are asked before.
    static let homeBudgetParts: Int64 = 4
    /// Most identities (grant, tool and session together) in the table. When it is full, one with nothing to lose is
    /// evicted or, while the store counts, the least recently used. If none of those examined may go, the new check is
    /// answered `BUSY`.
    package static let maxPlans = 1_048_576
    /// A grant takes at most one part in this many of a table, in rows and in bytes: 65,536 identities, 4,096
    /// reservations. Beyond that its own rows are evicted, and no other grant's.
    package static let grantParts = 16
    /// The same for all keys of `CL.THROTTLE` together, which belong to no grant.
    package static let throttleParts = 4
    /// How many rounds of eviction make room for one identity: one with long names may need the room of several.
    static let evictionRounds = 64
    /// One part in this many of the table's bytes is kept free of rows, for data stored outside them: long names.
    static let boxedParts = 8
    /// A full table is reported again once it has not been hit for this long, ns.
    package static let busyEpisodeNs: Int64 = 60_000_000_000
    /// Places for rulings that count nothing, by grant and tool. A check whose place holds another ruling evaluates
    /// the policies, which takes a microsecond. Up to 2 KiB each.
    package static let ruledPlaces = 1_024
    /// Most unsettled reservations made here during an outage. One more is answered `BUSY`: a reservation that was
    /// promised must not be dropped.
    package static let maxLocalReservations = 65_536
    /// When there are too many, expired ones are searched for at most this often, ms.
    package static let fullReservationsPauseMs: Int64 = 100
    /// Most settlements kept for the store during an outage. With more, what they would give back stays charged until
    /// it expires.
    package static let maxUnsentSettlements = 131_072
    /// Most answers to checks with an id that are cached here. With more, the oldest is dropped.
    package static let maxIdempotencyKeys = 65_536
    /// Most ids of cancelled calls that are kept for the store to free, during an outage. With more, an id stays taken
    /// for the rest of its ten minutes.
    package static let maxUnsentCancels = 65_536
    /// Most cached answers that one batch sends to the store beside its own checks: some 0.2 ms of its time.
    package static let answersSentPerBatch = 64
    /// How long an answer to a check with an id is cached, ns: ten minutes, as in the store.
    package static let idempotencyTTLNs: Int64 = 600_000_000_000
    /// How long a reservation can still be settled after the last of what it charged has stopped to count, ms: a call
    /// may take longer than its window, and what it cost more is then charged to the open one. As long as ids live.
    package static let settleSlackMs: Int64 = 600_000
    /// The greatest age of the state behind a denial from the cache, ns: what the contract allows.
    package static let denialTTLNs: Int64 = 1_000_000_000
    /// Slots that record changes of counters. Counters that share a slot drop each other's cached denials, which costs
    /// a question to the store. 8 bytes each.
    package static let changeSlots = 16_384
    /// The change feed is probed after this much silence, ns.
    package static let listeningProbeNs: Int64 = 1_000_000_000
    /// How long a probe of the change feed may take before the denial cache is emptied and the feed closed, ns.
    package static let listeningSilenceNs: Int64 = 1_000_000_000
    /// How long opening the change feed may take, ns: longer than a connection and its handshake may.
    package static let listeningOpenNs: Int64 = 5_000_000_000
    /// Longest pause before the change feed is reopened, ns; the first is `firstBackoffNs`. It affects speed only.
    package static let maxChangeFeedBackoffNs: Int64 = 10_000_000_000
    /// One part in this many of the tables' bytes is reserved for local reservations, ids of checks and unsent
    /// settlements. They may take more if identities leave it free.
    package static let besideParts = 8
    /// A grant takes at most one part in this many of that, for its reservations and for its ids each.
    static let besideGrantParts = 4
    /// Most gathered batches before checks with an id or a reservation, and settlements, are answered `BUSY`: with the
    /// longest names they take 100 KiB each, and the store answers fewer within any budget.
    package static let maxQueuedUnusual = 384
    /// How many plans are examined to find one to evict: bounded work for each new identity.
    package static let plansSweptPerInsertion = 16
    /// How many plans, or counters of the journal, are examined on each sweep of the tables, at least.
    package static let plansSweptPerTick = 2_048
    /// After so many sweeps every plan of a large table was examined: with a million plans one takes two milliseconds.
    package static let sweepsPerTable = 128
    /// A plan that no check has used for this long is dropped, ns.
    package static let planIdleNs: Int64 = 120_000_000_000
    /// The most of the budget that is kept for delivering the answer, ns; a quarter of the budget if that is less.
    package static let maxReserveNs: Int64 = 5_000_000
    /// By how much deadlines may be out of order without being looked at one by one, ns: the bytes of checks that are taken
    /// in one turn were readable within so much.
    static let deadlineSlackNs: Int64 = 1_000_000
    /// How long a connection may stay silent with a reply outstanding before it is closed, ns.
    package static let stallLimitNs: Int64 = 1_000_000_000
    /// First pause before the store is tried again, ns; doubles with each failure.
    package static let firstBackoffNs: Int64 = 50_000_000
    /// Longest pause before the store is tried again, ns: shared counting may take this long to resume.
    package static let maxBackoffNs: Int64 = 1_000_000_000
    /// How often a replica sends a heartbeat to the store, ns. It shows that the store is available, reads its clock,
    /// keeps this replica's marker alive, and lists the live replicas.
    package static let heartbeatIntervalNs: Int64 = 1_000_000_000
    /// How long a heartbeat counts, ns. A replica that has stopped keeps its share of an outage for this long, and a
    /// live one may miss many heartbeats.
    package static let heartbeatTTLNs: Int64 = 30_000_000_000
    /// How long checks may be answered locally after a data loss, because not all replicas have restored what they
    /// last saw, ns: what the contract allows.
    package static let maxRecoveryNs: Int64 = 2_000_000_000
    /// Most counters that one call of a script clears: as many as fill a batch, so that checks are not held up. The client
    /// asks again for the rest.
    package static let maxCountersPerClear = maxChargesPerBatch / chargesOfUnusualWork
    /// What a counter that is being cleared holds at most beside its row, bytes: its names.
    static let bytesPerClearing = 512
    /// Most overrides at a time, in all, in a cluster in each partition: every replica reads their list whole when one
    /// changes. Another one is refused; the scripts have the same bound.
    package static let maxOverrides = 1_000
    /// The longest time for an override, ms: a week. What holds for longer belongs into the policy.
    package static let maxOverrideMs: Int64 = 7 * 86_400_000
    /// How often a replica meanwhile asks which others have restored, ns.
    package static let recoveryPollNs: Int64 = 50_000_000
    /// Most counters that one batch writes back or restores beside those of its own checks: some 0.3 ms of Redis'
    /// time.
    package static let maxWriteBacksPerBatch = 128
    /// Most counters that are examined for a restore, for each batch.
    package static let countersScannedForRestore = 4_096
    /// The most that one batch adds to a counter, in units of cost; later batches add the rest. As the largest cost of
    /// a check.
    package static let maxIncrement: Int64 = 1_000_000_000_000
    /// Most counters that are recorded each time that records are taken: a millisecond or two of work, during which
    /// checks wait.
    package static let countersRecordedAtOnce = 4_096
    /// How many batches are sent before the sequence reached is recorded.
    package static let sequencesPerRecord: Int64 = 1_000_000
    /// How far a restarted replica goes beyond the last recorded sequence: more than it sent after that record. Two
    /// million restarts stay below 2^53.
    package static let sequencesSkippedAtRestart: Int64 = 1 << 32
    /// The latest time that is accepted from any source, ms since the epoch: the end of the year 9999. A store with a
    /// later time is not used; a record with one is skipped.
    package static let latestMs: Int64 = 253_402_300_799_999
    /// The highest sequence that is accepted from outside: half of what a script counts exactly, so that more can
    /// follow. A marker above what was sent counts as a data loss; a record with one is skipped.
    package static let maxSequence: Int64 = 1 << 52
    /// How far the store's clock may step back before that is reported, ms: its keys outlive their window by this
    /// much. A token bucket whose time is further ahead leaks on from now; a smaller lead stops it until that time.
    package static let clockStepMs: Int64 = 60_000
    /// How long the store's clock must be behind its earlier time, without a break, before it is followed, ns. It
    /// exceeds the delay of any answer, so smaller steps are waited out; until then time stands still. Following may
    /// over-admit: one more maximum for each window that was open or lay between the two times.
    package static let storeFollowedAfterNs: Int64 = 3_000_000_000
    /// How far a store time saved by an earlier process may be ahead of this machine's clock, ms: ten minutes, more
    /// than well-kept clocks differ. A time further ahead is dropped, and this machine's clock cuts windows until the
    /// store reports its time.
    package static let maxRestoredAheadMs: Int64 = 600_000
    /// How many replies in a row may say that nothing ran before the breaker pauses: as many as one cause produces
    /// (those in flight, and their resends), and some more.
    package static let maxUnrunAnswers = 8
    /// What the partitions of a server notice within this time counts as one outage, or one data loss, ns: they connect
    /// again with pauses of their own, of a second at most.
    package static let episodeNs: Int64 = 2_000_000_000
    /// The long-run pause between notices of faulty keys, and of data losses, ns. What comes in between is only
    /// counted in the statistics.
    package static let noticePauseNs: Int64 = 1_000_000_000
    /// How many of those notices may come at once.
    package static let noticesAtOnce: Int64 = 8
    /// Most other replicas that are tracked. A longer list was not written by replicas, and the rest is ignored.
    package static let maxReplicas = 1_024
    /// Most notices that wait for the shell to log them. More are dropped, since the status has the newest state.
    package static let maxNotices = 64
    /// Most counters at a time that the store may have lost and that are not judged yet. What more come back lower are
    /// believed.
    package static let maxLossSuspects = 1_024
    /// How long a notification may take from one server of a cluster to another, ns: they pass it on at once.
    package static let clusterMessageNs: Int64 = 100_000_000
    /// Most counters with a lease; checks of more are counted exactly. At some 200 bytes each this is 50 MB.
    package static let maxLeases = 262_144
    /// Leases take at most one part in this many of the tables' bytes.
    static let leaseParts = 8
    /// Smallest block: below it a check may as well ask the store itself.
    package static let minLeaseUnits: Int64 = 4
    /// Largest block, in units of cost: what may be stranded however large a maximum is.
    package static let maxLeaseUnits: Int64 = 1_000_000
    /// Most blocks that one batch asks for, behind its checks: some 0.2 ms of Redis' time.
    package static let maxLeasesPerBatch = 128
    /// How often each lease is reviewed, ns: what of a block exceeds the use since the last but one review goes back, so one
    /// that is not used is given back after 1 s, and 1.6 s at most.
    package static let leaseReviewNs: Int64 = 500_000_000
    /// How often some leases are reviewed, ns, and how many at most: a millisecond or two, during which checks wait.
    package static let leaseReviewPauseNs: Int64 = 100_000_000
    package static let leasesReviewedAtOnce = 16_384
    /// How often the engine sweeps its tables, ns.
    package static let sweepIntervalNs: Int64 = 1_000_000_000
}
