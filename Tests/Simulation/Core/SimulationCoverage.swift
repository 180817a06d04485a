@testable import SluiceEngine

/// How often each fault and each transition occurred: one that never does is not tested.
struct SimulationCoverage: Sendable {
    enum Event: String, CaseIterable, Sendable {
        case slow = "fault: a slow network"
        case flaky = "fault: resets, reordering, garbage"
        case noScript = "fault: the store has lost its scripts"
        case refusedOne = "fault: the store refuses one batch of several, and answers are lost"
        case unreachable = "fault: no replica reaches the store"
        case partition = "fault: one replica is cut off"
        case hanging = "fault: the store hangs"
        case refusing = "fault: the store refuses"
        case flush = "fault: the store loses its data"
        case forgetful = "fault: the store loses markers"
        case failover = "fault: an older copy of the store takes over"
        case clockStep = "fault: the store's clock steps"
        case clockAhead = "fault: the store's clock runs ahead and comes back"
        case wallStep = "fault: a replica's clock steps"
        case crash = "fault: a replica dies, and the next has no state"
        case rollingRestart = "fault: all replicas are restarted"
        case restart = "fault: a replica restarts from its state folder"
        case reload = "fault: policies are reloaded"
        case ran = "answer: it ran"
        case forgot = "answer: a data loss"
        case outOfOrder = "answer: a later batch had run, or the one before had not"
        case refused = "answer: refused"
        case garbage = "answer: garbage"
        case lost = "an outage begins"
        case reached = "an outage ends"
        case turnedOutToHaveRun = "an unanswered batch turns out to have run"
        case turnedOutLost = "an unanswered batch turns out not to have run"
        case recoveryBegan = "a recovery begins"
        case recoveryEnded = "a recovery ends: all have written back"
        case recoveryTimedOut = "a recovery ends: its time is up"
        case journalled = "something is to be written back"
        case settled = "something was written back"
        case timedOut = "a check's budget ran out"
        case resent = "a batch is sent again"
        case coalesced = "checks share an entry"
        case shared = "a check is decided by the store"
        case local = "a check is decided locally"
        case leased = "a check is answered from a block"
        case granted = "the store grants a block"
        case lostBlock = "a block stays charged, because its answer never came"
        case strandedBlock = "a block stays charged, because its process died"
        case creditedBlock = "a block is given back without the store"
        case remembered = "a check is denied from the cache"
        case unheard = "the change feed is down"
        case heard = "the change feed is up again"
        case clockFollowed = "a store whose clock stayed behind is followed"
        case countedInTime = "a check is counted by a clock that had stepped"
        case newReplica = "a heartbeat of a new replica"
        case summed = "a window's sum is compared"
        case sentAnswer = "an answer under an id is sent to the store"
        case wroteBackLog = "what a log admitted locally is written back"
        case freedID = "a freed id is sent to the store"
        case judgedIDs = "what the store knows of an id is compared"
        case evicted = "a row that the store knows is evicted"
        case busy = "a full table has no room"
        case chargedBeyond = "a cost is charged beyond the maximum"
        case chargedLocally = "a cost is charged locally"
        case refundedLocally = "a cost is given back locally"
        case cleared = "an operator clears a counter"
        case clearRefused = "a clear is refused, because counting is not shared"
        case overridden = "an operator overrides a maximum, or ends that"
        case overrideRefused = "an override is refused, because counting is not shared"
        case judgedOverride = "a check is decided by an override that its replica must know"
        case judgedNoOverride = "a check is decided by the policy where an override would show"
        case judgedClear = "what replicas know of a cleared counter is compared"
        case looked = "a check that costs 0 is answered"
        case repeatedElsewhere = "a charge under an id is sent again from another replica"
        case repeatedLate = "the same, after outages"
        case committedAbove = "a reservation is committed to more"
        case committedLocally = "a local reservation is committed to more"
        case summedAfterLoss = "what was charged is compared after a data loss"
        case summedAccounts = "what was charged and given back is compared"
        case dropped = "fault: the store drops a counter"
        case lostCounter = "a replica notices that a counter is gone"
        case restoredDrop = "a dropped counter is compared with what a replica knew of it"
        case countedCall = "a limit counts a call of a higher cost as 1"
        case summedMixed = "a window's sum is compared, beside reservations"
    }

    private(set) var counts: [Event: Int64] = [:]

    mutating func add(_ event: Event, _ count: Int64 = 1) { if count > 0 { counts[event, default: 0] += count } }

    mutating func add(_ other: SimulationCoverage) { counts.merge(other.counts, uniquingKeysWith: +) }

    var missing: [Event] { Event.allCases.filter { counts[$0] == nil } }

    // MARK: - What is observed

    mutating func note(_ fault: SimulationScenario.Fault) {
        switch fault {
        case .slow: add(.slow)
        case .flaky: add(.flaky)
        case .unreachable(nil): add(.unreachable)
        case .unreachable: add(.partition)
        case .hanging: add(.hanging)
        case .refusing: add(.refusing)
        case .flush: add(.flush)
        case .forgetful: add(.forgetful)
        case .failover: add(.failover)
        case .clockStep: add(.clockStep)
        case .clockAhead: add(.clockAhead)
        case .wallStep: add(.wallStep)
        case .crash: add(.crash)
        case .rollingRestart: add(.rollingRestart)
        case .restart: add(.restart)
        case .reload: add(.reload)
        }
    }

    /// The store's reply, before the limiter has received it.
    mutating func note(_ result: Result<BatchReply, BatchFailure>, to replica: Simulation.Replica) {
        switch result {
        case .success(let reply):
            switch reply.status {
            case .ran: add(.ran)
            case .forgot: add(.forgot)
            case .outOfOrder: add(.outOfOrder)
            }
            guard reply.status != .forgot else { return }
            for batch in replica.limiter.ledger.unconfirmed {
                add(batch.sequence <= reply.previousSequence ? .turnedOutToHaveRun : .turnedOutLost)
            }
        case .failure(.rejected): add(.refused)
        case .failure(.unknown): add(.garbage)
        }
    }

    struct Look {
        var isRecovering: Bool
        var hearsChanges: Bool
        var journal: Int
        var replicas: Int64
    }

    /// Field by field: a limiter passed as an argument is copied.
    func look(at replica: Simulation.Replica) -> Look {
        Look(
            isRecovering: replica.limiter.reconciler.recovery != nil,
            hearsChanges: replica.limiter.denials.changeFeed.isListening,
            journal: replica.limiter.reconciler.journal.count, replicas: replica.limiter.membership.view.count)
    }

    /// - Parameter isTick: nothing but time passed in between.
    mutating func note(changesFrom before: Look, to replica: Simulation.Replica, isTick: Bool) {
        let after = look(at: replica)
        if !before.isRecovering && after.isRecovering { add(.recoveryBegan) }
        if before.isRecovering && !after.isRecovering { add(isTick ? .recoveryTimedOut : .recoveryEnded) }
        if !before.hearsChanges && after.hearsChanges { add(.heard) }
        if before.hearsChanges && !after.hearsChanges { add(.unheard) }
        if before.journal == 0 && after.journal > 0 { add(.journalled) }
        if after.replicas > before.replicas { add(.newReplica) }
    }

    mutating func note(_ notice: Limiter.Notice) {
        switch notice {
        case .storeReached: add(.reached)
        case .storeLost: add(.lost)
        case .storeClockFollowed: add(.clockFollowed)
        case .storeLostCounters: add(.lostCounter)
        case .storeStillUnavailable, .storeLostData, .storeClockBehind, .keyFault, .changeFeedDown, .changeFeedUp,
            .busy, .evicting, .overrides:
            break
        }
    }

    mutating func note(_ statistics: borrowing Statistics) {
        add(.settled, statistics.settled)
        add(.timedOut, statistics.timedOut)
        add(.resent, statistics.resends)
        add(.coalesced, statistics.coalesced)
        add(.shared, statistics.answers(.shared))
        add(.local, statistics.answers(.local))
        add(.remembered, statistics.answers(.cache))
        add(.leased, statistics.answers(.lease))
        add(.granted, statistics.leases)
        add(.lostBlock, statistics.lostLeaseUnits)
    }
}
