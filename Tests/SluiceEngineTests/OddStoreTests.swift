import StoreModel
import SluicePolicy
import Support
import Testing

@testable import SluiceEngine

/// A store that answers, and yet decides nothing: what it is asked again is bounded, and so are the notices.
@Suite struct OddStoreTests {
    private let ten = limit(max: 10)

    /// Ten seconds of virtual time in steps of 10 ms, with a check at each.
    /// - Returns: how many batches were sent, and the notices.
    private func play(
        _ rig: inout LimiterRig, before: (inout LimiterRig) -> Void
    ) -> (batches: Int, notices: [Limiter.Notice]) {
        var batches = 0
        var notices: [Limiter.Notice] = []
        for _ in 0..<1_000 {
            rig.pass(ms: 10)
            rig.tick()
            _ = rig.ask()
            for _ in 0..<64 {
                let commands = rig.commands()
                if commands == [.connect] { rig.limiter.linkConnected(now: rig.now) }
                if commands.isEmpty { break }
                for case .send(let batch) in commands {
                    batches += 1
                    before(&rig)
                    rig.answer(batch, rig.run(batch))
                }
            }
            notices += rig.limiter.takeNotices()
        }
        return (batches, notices)
    }

    /// Another client writes to this replica's marker, again and again.
    @Test(arguments: ["4503599627370496", "junk", "9223372036854775807"])
    func aMarkerThatIsNeverWhatWasWritten(text: String) {
        var rig = LimiterRig(policy(ten))
        _ = rig.decide()
        // A settlement that must be sent, whatever the answers are.
        rig.limiter.sendSettlement(ByteString(bytes: Array("sluice:2:{g}:!r:0".utf8)), .cancel)
        let (batches, notices) = play(&rig) { $0.store.setMarker(of: LimiterRig.replica, text: text) }
        #expect(batches < 100, "\(batches)")
        #expect(notices.count < 40, "\(notices)")
        rig.connectAgain()
        rig.pass(ms: 60_000)
        rig.connectAgain()
        #expect(rig.decide().source == .shared)
    }

    /// The same from time to time: batches that run in between do not restore full speed.
    @Test func aMarkerThatIsSometimesNot() {
        var rig = LimiterRig(policy(ten))
        _ = rig.decide()
        var count = 0
        let (batches, notices) = play(&rig) { rig in
            count += 1
            if count % 12 != 0 { rig.store.setMarker(of: LimiterRig.replica, text: "junk") }
        }
        #expect(batches < 400, "\(batches)")
        #expect(notices.count < 60, "\(notices.count)")
    }

    /// A restore that fails is not repeated without end.
    @Test func aRestoreThatAlwaysFails() {
        var rig = LimiterRig(policy(ten))
        #expect(rig.decide().allowed)
        rig.store.flush()
        rig.store.set(key(ten), .foreign)
        rig.pass(ms: 1_000)
        rig.tick()
        rig.exchange()
        #expect(rig.limiter.statistics.dataLosses == 1)
        #expect(rig.decide().source == .local && rig.limiter.isShared)
    }

    /// Repeated settlements of what is no reservation do not fill the log.
    @Test func faultsThatClientsBringAbout() {
        var rig = LimiterRig(policy(ten))
        let id = String(repeating: "a", count: 32)
        rig.store.set(Array("sluice:2:{g}:!r:\(id)".utf8), .foreign)
        var notices: [Limiter.Notice] = []
        for _ in 0..<1_000 {
            rig.pass(ms: 1)
            #expect(rig.settleToTheEnd(id, .cancel) == .notSettled(.storeFault))
            notices += rig.limiter.takeNotices()
        }
        #expect((1...9).contains(notices.count) && rig.limiter.statistics.faults == 1_000, "\(notices.count)")
    }

    /// A wrong member in the list of replicas is ignored, and reported once.
    @Test func aListOfReplicasWithOthersInIt() {
        var rig = LimiterRig(policy(ten), replicas: 2)
        rig.store.addHeartbeat("00000000000000ff", score: Double(rig.store.clockMs))
        for _ in 0..<3 {
            rig.store.addHeartbeat("no replica", score: Double(rig.store.clockMs + 1_000))
            rig.pass(ms: 1_000)
            rig.tick()
            rig.exchange()
        }
        #expect(rig.limiter.isShared && rig.limiter.replicaCount == 2)
        #expect(rig.limiter.membership.others.sorted() == [0xff])
        let notices = rig.limiter.takeNotices()
        #expect(notices.count == 1, "\(notices)")
        guard case .keyFault(let reason)? = notices.first else { return #expect(notices.isEmpty) }
        #expect(reason.contains("sluice:2:replicas"))
    }

    /// However many replicas a list names, only a bounded number is kept.
    @Test func aListOfVeryManyReplicas() {
        var rig = LimiterRig(policy(ten))
        for round in 0..<5 {
            let replicas = (0..<1_000).map { UInt64(round * 1_000 + $0 + 100) }
            rig.limiter.membership.update(replicas, now: rig.now)
        }
        #expect(Array(rig.limiter.membership.others).count == EngineBounds.maxReplicas)
    }
}

/// Records with numbers that no engine wrote.
@Suite struct OddStateTests {
    private static let oddNumbers: [Int64] = [
        0, 1, -1, -2, 1 << 31, (1 << 52) + 1, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, 1 << 61, 1 << 62, -(1 << 62), .max,
        .min, .max - 1,
    ]

    private static let limits = [
        limit("window", max: 6), limit("slide", max: 6, algorithm: .slidingWindow),
        limit("drops", max: 6, algorithm: .tokenBucket, burst: 5), limit("log", max: 6, algorithm: .slidingLog),
    ]

    /// A replica that has seen, admitted and lost some of everything, and its records.
    private static func history() throws -> [StateRecord] {
        var rig = LimiterRig(policy(limits), replicas: 2, keepsState: true)
        for _ in 0..<2 { _ = rig.decide() }
        rig.record()
        _ = rig.wait()
        _ = rig.sent()
        rig.close()
        _ = rig.decide()
        // A batch of write-backs without an answer.
        rig.tick()
        while rig.commands() != [.connect] {
            rig.pass(ms: 20)
            rig.tick()
        }
        rig.limiter.linkConnected(now: rig.now)
        for batch in rig.sent() { rig.answer(batch, rig.run(batch)) }
        _ = rig.sent()
        rig.record()
        rig.close()
        _ = rig.decide()
        rig.record()
        return rig.records
    }

    @Test func thereIsSomethingToSpoil() throws {
        let records = try Self.history()
        var found: Set<String> = []
        for record in records {
            #expect(record.isPlausible, "\(record)")
            switch record {
            case .replica: found.insert("replica")
            case .counter(let state):
                switch state.usage {
                case .window: found.insert("window")
                case .bucket: found.insert("bucket")
                case .log: found.insert("log")
                }
            case .flight(let state): if !state.writeBacks.isEmpty { found.insert("flight") }
            }
        }
        #expect(found == ["replica", "window", "bucket", "log", "flight"])
    }

    @Test(arguments: oddNumbers) func nothingTraps(_ odd: Int64) throws {
        let records = try Self.history()
        var tried = 0
        // The last record of each subject: the others do not count. An amount near the maximum takes long to write
        // back.
        var last: [StateRecord.Subject: Int] = [:]
        for (index, record) in records.enumerated() { last[record.subject] = index }
        for index in last.values.sorted() {
            for field in 0..<records[index].numberCount {
                for isAdded in odd.magnitude > 1 << 40 ? [false] : [false, true] {
                    var spoilt = records
                    spoilt[index].setNumber(field, odd, isAdded: isAdded)
                    tried += 1
                    play(spoilt, "\(spoilt[index])")
                }
            }
        }
        #expect(tried >= 30)
    }

    /// A process starts with these records, with and without the store.
    private func play(_ records: [StateRecord], _ what: String) {
        var rig = LimiterRig(policy(Self.limits), replicas: 2, connected: false, keepsState: true)
        rig.records = records
        rig.restart(recording: false)
        rig.records = []
        for _ in 0..<2 { _ = rig.decide() }
        rig.connect()
        for _ in 0..<2 {
            _ = rig.decide()
            rig.pass(ms: 30_000)
            rig.tick()
            rig.exchange()
            rig.connect()
        }
        let decision = rig.decide()
        expectQuickly(decision.source == .shared || decision.source == .cache, "\(decision) after \(what)")
        _ = rig.limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now)
        rig.lose()
        for _ in 0..<2 {
            _ = rig.decide()
            rig.pass(ms: 61_000)
            rig.tick()
        }
        rig.record()
        expectQuickly(rig.records.allSatisfy(\.isPlausible), "\(what) leaves \(rig.records.filter { !$0.isPlausible })")
    }

    /// An implausible record does not affect the others, and the record before it of the same subject counts.
    @Test func whatCannotBeIsPassedOver() throws {
        let records = try Self.history()
        var spoilt: [StateRecord] = []
        for record in records {
            spoilt.append(record)
            var bad = record
            bad.setNumber(0, .max, isAdded: false)
            spoilt.append(bad)
        }
        var good = LimiterRig(policy(Self.limits), replicas: 2, connected: false, keepsState: true)
        good.records = records
        good.restart(recording: false)
        var rig = LimiterRig(policy(Self.limits), replicas: 2, connected: false, keepsState: true)
        rig.records = spoilt
        rig.restart(recording: false)
        #expect(rig.restoration.implausible == records.count && good.restoration.implausible == 0)
        #expect(rig.restoration.counters == good.restoration.counters && good.restoration.counters > 0)
        #expect(rig.restoration.unsettled == good.restoration.unsettled)
        #expect(rig.limiter.ledger.lastSequence == good.limiter.ledger.lastSequence)
    }
}

extension StateRecord {
    fileprivate var numberCount: Int {
        switch self {
        case .replica: 4
        case .counter(let state):
            switch state.usage {
            case .window(let window): 2 + (window.share == nil ? 4 : 8)
            case .bucket: 2 + 11
            case .log(let log): 2 + 2 * (log.shared.count + log.own.count)
            }
        case .flight(let state): 1 + 2 * (state.writeBacks.count + state.unconfirmed.count)
        }
    }

    /// Replaces its number at `index`, or adds to it.
    fileprivate mutating func setNumber(_ index: Int, _ odd: Int64, isAdded: Bool) {
        func change(_ number: inout Int64) { number = isAdded ? number &+ odd : odd }
        switch self {
        case .replica(var state):
            let fields: [WritableKeyPath<ReplicaState, Int64>] = [
                \.lastSequence, \.acknowledgedSequence, \.highestStoreMs, \.aheadMs,
            ]
            change(&state[keyPath: fields[index]])
            self = .replica(state)
        case .counter(var state):
            if index == 0 { change(&state.startMs) }
            if index == 1 { change(&state.countsUntilMs) }
            switch state.usage {
            case .window(var window) where index >= 2:
                let fields: [WritableKeyPath<CounterState.WindowState, Int64>] = [
                    \.sharedUsed, \.sharedPrevious, \.own, \.ownPrevious,
                ]
                let shares: [WritableKeyPath<CounterState.ShareState, Int64>] = [
                    \.base, \.taken, \.previousBase, \.previousTaken,
                ]
                if index < 6 {
                    change(&window[keyPath: fields[index - 2]])
                } else if var share = window.share {
                    change(&share[keyPath: shares[index - 6]])
                    window.share = share
                }
                state.usage = .window(window)
            case .bucket(var bucket) where index >= 2:
                let fields: [WritableKeyPath<CounterState.BucketState, Int64>] = [
                    \.sharedLevel, \.sharedMs, \.localLevel, \.ownLevel, \.confirmedLevel, \.localMs, \.replicaCount,
                    \.localCapacity, \.max, \.burst, \.lengthMs,
                ]
                change(&bucket[keyPath: fields[index - 2]])
                state.usage = .bucket(bucket)
            case .log(var log) where index >= 2:
                let step = (index - 2) / 2
                let field: WritableKeyPath<UsageLog.Step, Int64> = index % 2 == 0 ? \.ms : \.units
                if step < log.shared.count {
                    change(&log.shared[step][keyPath: field])
                } else {
                    change(&log.own[step - log.shared.count][keyPath: field])
                }
                state.usage = .log(log)
            case .window, .bucket, .log: break
            }
            self = .counter(state)
        case .flight(var state):
            if index == 0 {
                change(&state.sequence)
            } else {
                let item = (index - 1) / 2
                let field: WritableKeyPath<FlightState.Item, Int64> = index % 2 == 1 ? \.amount : \.windowMs
                if item < state.writeBacks.count {
                    change(&state.writeBacks[item][keyPath: field])
                } else {
                    change(&state.unconfirmed[item - state.writeBacks.count][keyPath: field])
                }
            }
            self = .flight(state)
        }
    }
}
