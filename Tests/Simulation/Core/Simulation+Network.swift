import SluicePolicy
import StoreModel

@testable import SluiceEngine

/// The network to the store, the store itself, and their faults.
extension Simulation {
    private func active(_ matches: (SimulationScenario.Fault) -> Bool) -> SimulationScenario.Episode? {
        scenario.episodes.first { nowNs >= $0.startNs && nowNs < $0.endNs && matches($0.fault) }
    }

    func isUnreachable(_ replica: Int) -> Bool {
        nowNs < replicas[replica].isCutOffUntilNs
            || active { if case .unreachable(let one) = $0 { one == nil || one == replica } else { false } } != nil
    }

    private func isFlaky(_ replica: Int) -> Bool {
        active { if case .flaky(let one) = $0 { one == nil || one == replica } else { false } } != nil
    }

    /// Until when the store hangs; nil if it does not.
    var hangsUntilNs: Int64? {
        active { if case .hanging = $0 { true } else { false } }?.endNs
    }

    mutating func delayNs(_ replica: Int) -> Int64 {
        var longest = scenario.usualDelayNs
        for episode in scenario.episodes where nowNs >= episode.startNs && nowNs < episode.endNs {
            if case .slow(let ns, let one) = episode.fault, one == nil || one == replica { longest = max(longest, ns) }
        }
        return Int64.random(in: 10_000...longest, using: &random)
    }

    // MARK: - Connections

    mutating func connect(_ replica: Int) {
        connections.append(Connection(replica: replica, id: replicas[replica].id))
        let connection = connections.count - 1
        replicas[replica].connection = connection
        let arrivesNs = nowNs + delayNs(replica)
        if isUnreachable(replica) {
            let failsNs = Bool.random(using: &random) ? arrivesNs : nowNs + Self.connectLimitNs
            events.push(.closed(connection: connection, reason: "unreachable"), atNs: failsNs)
        } else if let hangsUntilNs, hangsUntilNs > arrivesNs {
            if hangsUntilNs - nowNs > Self.connectLimitNs {
                events.push(.closed(connection: connection, reason: "too long"), atNs: nowNs + Self.connectLimitNs)
            } else {
                events.push(.opened(connection: connection), atNs: hangsUntilNs + 100_000)
            }
        } else {
            events.push(.opened(connection: connection), atNs: arrivesNs + 100_000)
        }
    }

    /// Neither side receives from it any more; part of what was in flight may still arrive, soon or late.
    mutating func breakOff(_ connection: Int) {
        connections[connection].isOpen = false
        guard connections[connection].isWhole else { return }
        connections[connection].isWhole = false
        connections[connection].survivors = Int.random(in: 0...connections[connection].onTheirWay, using: &random)
        connections[connection].lateNs = [0, 1_000_000, 300_000_000, 3_000_000_000].randomElement(using: &random) ?? 0
    }

    mutating func send(_ batch: Batch, from replica: Int) {
        guard let connection = replicas[replica].connection else { return }
        connections[connection].awaited.append(batch.sequence)
        put(batch, on: connection)
        if isFlaky(replica) && Int.random(in: 0..<20, using: &random) == 0 {
            let breaksNs = nowNs + Int64.random(in: 0...20_000_000, using: &random)
            events.push(.closed(connection: connection, reason: "reset"), atNs: breaksNs)
        }
    }

    /// Behind everything on its way to the store.
    mutating func put(_ batch: Batch, on connection: Int) {
        let atNs = max(nowNs + delayNs(connections[connection].replica), connections[connection].lastUpNs)
        connections[connection].lastUpNs = atNs
        connections[connection].onTheirWay += 1
        events.push(.arrive(connection: connection, batch: batch, isInside: false), atNs: atNs)
    }

    // MARK: - The store

    mutating func arrive(_ connection: Int, _ batch: Batch, isInside: Bool) throws {
        if !isInside {
            connections[connection].onTheirWay -= 1
            if !connections[connection].isWhole {
                guard connections[connection].survivors > 0 else { return }
                connections[connection].survivors -= 1
                let lateNs = nowNs + connections[connection].lateNs
                events.push(.arrive(connection: connection, batch: batch, isInside: true), atNs: lateNs)
                return
            }
        }
        if let hangsUntilNs {
            events.push(.arrive(connection: connection, batch: batch, isInside: true), atNs: hangsUntilNs)
            return
        }
        let replica = connections[connection].replica
        if isFlaky(replica), !connections[connection].broughtAlong.contains(batch.sequence),
            Int.random(in: 0..<6, using: &random) == 0
        {
            events.push(.noScript(connection: connection, batch: batch), atNs: nowNs + delayNs(replica))
            return
        }
        // It refuses one batch of several that are in flight, and the connection breaks before any answer is sent.
        if isFlaky(replica), connections[connection].isWhole, connections[connection].onTheirWay > 0,
            random.once(in: 2)
        {
            coverage.add(.refusedOne)
            let breaksNs = connections[connection].lastUpNs + Int64.random(in: 1...2_000_000, using: &random)
            events.push(.closed(connection: connection, reason: "reset"), atNs: breaksNs)
            return
        }
        if let earlier = connections[connection].heldBack {
            connections[connection].heldBack = nil
            let later = try execute(batch, connection)
            answer(connection, earlier.sequence, try execute(earlier, connection))
            answer(connection, batch.sequence, later)
        } else if isFlaky(replica), connections[connection].isWhole, connections[connection].onTheirWay > 0,
            Int.random(in: 0..<4, using: &random) == 0
        {
            connections[connection].heldBack = batch
        } else {
            answer(connection, batch.sequence, try execute(batch, connection))
        }
    }

    private mutating func execute(_ batch: Batch, _ connection: Int) throws -> Result<BatchReply, BatchFailure> {
        setClock()
        store.rejection = active { if case .refusing = $0 { true } else { false } } == nil ? nil : "LOADING"
        if active({ if case .forgetful = $0 { true } else { false } }) != nil,
            Int.random(in: 0..<3, using: &random) == 0
        {
            store.forgetMarker(of: connections[connection].id)
        }
        if scenario.has({ if case .failover = $0 { true } else { false } }) { copyStore() }
        let result = store.run(batch, replica: connections[connection].id)
        history.note(batch, result, store, atNs: nowNs)
        tellChanges()
        if scenario.isMixed {
            for operation in batch.operations {
                if case .remember = operation { coverage.add(.sentAnswer) }
                if case .forget = operation { coverage.add(.freedID) }
            }
            if case .success(let reply) = result {
                try ledger.add(batch, reply, nowMs: max(store.clockMs, batch.minTimeMs))
                if !scenario.stepsClock {
                    let added = try logs.add(batch, reply, isOnce: !scenario.forgets)
                    coverage.add(.wroteBackLog, Int64(added))
                }
            }
            return result
        }
        // Charges pass whatever the usage is. Here every charge has one key, and those of bills have no other.
        for entry in batch.entries where entry.operation >= 0 && entry.chargeCount > 0 {
            for index in entry.firstCharge..<entry.firstCharge + entry.chargeCount {
                settledKeys[Array(batch.key(index))] = true
            }
        }
        for (index, charge) in batch.charges.enumerated() {
            // A write-back is added whatever the usage is.
            let key = Array(batch.key(index))
            if charge.isUnlimited { settledKeys[key] = true }
            if settledKeys[key] != nil { continue }
            let usage = store.usage(of: key)
            let most = max(highestMaxima[key] ?? 0, charge.quota.max)
            highestMaxima[key] = most
            guard usage <= most else {
                throw SimulationFailure(description: "the store holds \(usage) of \(most)")
            }
        }
        return result
    }

    private mutating func setClock() { store.clockMs = Self.startMs + nowNs / 1_000_000 + storeStepMs }

    /// Replies reach the engine in the order of sending.
    private mutating func answer(_ connection: Int, _ sequence: Int64, _ result: Result<BatchReply, BatchFailure>) {
        connections[connection].ready[sequence] = result
        while let first = connections[connection].awaited.first,
            let result = connections[connection].ready.removeValue(forKey: first)
        {
            connections[connection].awaited.removeFirst()
            answerNext(connection, first, result)
        }
    }

    private mutating func answerNext(_ connection: Int, _ sequence: Int64, _ result: Result<BatchReply, BatchFailure>) {
        if isVerbose { print("    answers \(result)") }
        guard connections[connection].isWhole else { return }
        let replica = connections[connection].replica
        let atNs = max(nowNs + delayNs(replica), connections[connection].lastDownNs)
        connections[connection].lastDownNs = atNs
        var result = result
        if isFlaky(replica), Int.random(in: 0..<50, using: &random) == 0 { result = .failure(.unknown("garbage")) }
        events.push(.answer(connection: connection, sequence: sequence, result: result), atNs: atNs)
    }

    // MARK: - Faults

    mutating func begin(_ fault: SimulationScenario.Fault) throws {
        coverage.note(fault)
        switch fault {
        case .slow, .hanging, .refusing, .forgetful:
            break
        case .reload(let other):
            policy = other
            for index in replicas.indices { replicas[index].limiter.replacePolicies(PolicySet(single: other)) }
        case .rollingRestart:
            for index in replicas.indices {
                let fault: SimulationScenario.Fault =
                    scenario.keepsState ? .restart(replica: index) : .crash(replica: index)
                events.push(.fault(fault), atNs: nowNs + Int64(index) * 150_000_000)
            }
        case .failover(let ms):
            setClock()
            let copy = copies.last { nowNs - $0.atNs > 100_000_000 }?.store ?? ModelStore(clockMs: store.clockMs)
            noteForgotten()
            // A replica without an answer since the copy was made does not notice, and what it charges before the
            // others have restored is lost in their restores.
            if replicas.contains(where: {
                let reportedMs = copy.forgotSinceMs(of: $0.id)
                return reportedMs > 0
                    ? reportedMs == $0.limiter.ledger.forgotSinceMs
                    : copy.newestSequence(of: $0.id) >= $0.limiter.ledger.acknowledgedSequence
            }) {
                isUnnoticed = true
            }
            // What was settled since the copy may be settled again.
            settledForGood = []
            store = copy
            storeStepMs += ms
            ledger.forget()
            history.forget(atNs: nowNs)
            for replica in replicas {
                if let connection = replica.connection {
                    events.push(.closed(connection: connection, reason: "another server"), atNs: nowNs)
                }
                if let subscription = replica.subscription { breakSubscription(subscription) }
            }
        case .flaky(let one), .unreachable(let one):
            for (index, replica) in replicas.enumerated() where one == nil || one == index {
                guard let connection = replica.connection else { continue }
                let atNs = nowNs + Int64.random(in: 0...5_000_000, using: &random)
                events.push(.closed(connection: connection, reason: "reset"), atNs: atNs)
            }
            for (index, replica) in replicas.enumerated() where one == nil || one == index {
                if let subscription = replica.subscription { breakSubscription(subscription) }
            }
        case .flush:
            noteForgotten()
            if replicas.contains(where: { $0.limiter.ledger.acknowledgedSequence == 0 }) { isUnnoticed = true }
            store.flush()
            ledger.forget()
            history.forget(atNs: nowNs)
        case .clockStep(let ms):
            storeStepMs += ms
        case .clockAhead(let ms):
            // With a larger step, keys would expire before their windows come again.
            guard storeStepMs < 10_000 else { return }
            storeStepMs += ms
            let backNs = min(
                SimulationScenario.calmNs, nowNs + Int64.random(in: 20_000_000...1_500_000_000, using: &random))
            events.push(.fault(.clockStep(ms: -ms)), atNs: backNs)
        case .wallStep(let ms, let replica):
            replicas[replica].wallSkewMs += ms
        case .crash(let index):
            // A crash does the most damage to a write-back: many crashes happen just then.
            if replicas[index].disk?.process == 0, nowNs < SimulationScenario.calmNs, random.once(in: 2) {
                replicas[index].disk?.diesSettling = true
            } else {
                crash(index)
            }
        case .restart(let index):
            try stop(index)
            let turns = turns(of: index)
            // Local reservations are not kept.
            settledForGood = []
            start(index, id: replicas[index].id)
            oracle.restarted(index, turns: turns, newTurns: self.turns(of: index))
        }
    }

    mutating func noteForgotten() {
        setClock()
        let highestMs = replicas.map { $0.limiter.clock.highestStoreMs }.reduce(store.clockMs, max)
        // A clock that steps back may reach windows again that had ended; and one that stepped back before, after all
        // replicas that knew of it are gone, windows that had been charged.
        let slackMs: Int64 = scenario.stepsClock ? 60_000 : 0
        oracle.storeLostData(store.clockMs - slackMs...highestMs + slackMs)
    }

    /// Sometimes keeps a copy that another server may begin with.
    mutating func copyStore() {
        guard nowNs - (copies.last?.atNs ?? 0) > 300_000_000 else { return }
        copies.append(Copy(atNs: nowNs, store: store))
    }

    private mutating func crash(_ index: Int) {
        if let connection = replicas[index].connection { breakOff(connection) }
        loseBlocks(of: index, keepsCredits: false)
        let turns = turns(of: index)
        // The process's local reservations are gone; the store may have them as well.
        settledForGood = []
        openSettlings = openSettlings.filter { $0.value.replica != index }
        start(index, id: scenario.keepsState ? replicas[index].id : replicas[index].id + 1_000)
        oracle.crashed(index, turns: turns, newTurns: self.turns(of: index))
    }
}
