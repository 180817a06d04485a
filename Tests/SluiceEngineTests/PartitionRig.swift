import SluicePolicy
import StoreModel

@testable import SluiceEngine

/// Replicas with several partitions, and a model store for each partition.
struct PartitionRig {
    static let startMs = LimiterRig.startMs

    var replicas: [PartitionedLimiter]
    var stores: [ModelStore]
    /// Whether the server of each partition can be reached.
    var isUp: [Bool]
    var now = ClockReading(monotonicNs: 5_000_000_000, wallMs: Self.startMs)
    /// What was answered later, by ticket.
    var answers: [UInt64: Limiter.Completion.Answer] = [:]
    /// The partitions of the batches that were sent, in order.
    var sent: [Int] = []
    var notices: [Limiter.Notice] = []
    /// The master of each partition; nil: not known.
    private let masters: [String]?
    private let policies: PolicySet
    private var random = SeededRandom(seed: 99)
    private var lastTicket: UInt64 = 0

    init(
        _ policy: Policy, partitions: Int = 8, replicas count: Int = 1, keepsState: Bool = false,
        masters: [String]? = nil
    ) {
        self.masters = masters
        policies = PolicySet(single: policy)
        stores = (0..<partitions).map { _ in ModelStore(clockMs: Self.startMs) }
        isUp = Array(repeating: true, count: partitions)
        replicas = []
        for replica in 1...count {
            replicas.append(
                PartitionedLimiter(
                    configuration: Self.configuration(partitions, replica, of: count, keepsState), policies: policies,
                    now: now))
        }
        connect()
    }

    static func configuration(_ partitions: Int, _ replica: Int, of count: Int, _ keepsState: Bool)
        -> LimiterConfiguration
    {
        var configuration = LimiterConfiguration(
            keys: "sluice", budgetMs: 20, replicas: ReplicaView(own: UInt64(replica), assumed: count), usesStore: true,
            seed: UInt64(replica))
        configuration.partitionTags = PartitionTags(count: partitions)
        configuration.keepsState = keepsState
        return configuration
    }

    /// Waits until every partition that can be reached counts in its store.
    mutating func connect() {
        for _ in 0..<400 where !isSettled {
            exchange()
            pass(ms: 20)
        }
        precondition(isSettled)
    }

    private var isSettled: Bool {
        replicas.allSatisfy { replica in isUp.indices.allSatisfy { !isUp[$0] || replica[$0].isShared } }
    }

    mutating func pass(ms: Int64) {
        now.monotonicNs += ms * 1_000_000
        now.wallMs += ms
        for index in stores.indices { stores[index].clockMs += ms }
        for index in replicas.indices { replicas[index].tick(now: now) }
        exchange()
    }

    /// Answers what is sent until nothing more is; what goes to a server that cannot be reached gets no answer.
    mutating func exchange() {
        for _ in 0..<10_000 {
            var isQuiet = true
            for index in replicas.indices {
                while let next = replicas[index].nextCommand(now: now) {
                    isQuiet = false
                    perform(next, of: index)
                }
                var finished: [Limiter.Completion] = []
                replicas[index].takeCompletions(into: &finished)
                for completion in finished {
                    precondition(answers.updateValue(completion.answer, forKey: completion.ticket.rawValue) == nil)
                }
                notices += replicas[index].takeNotices()
            }
            if isQuiet { return }
        }
        preconditionFailure("it never stops sending")
    }

    private mutating func perform(_ next: PartitionedLimiter.PartitionCommand, of index: Int) {
        let partition = next.partition
        switch next.command {
        case .connect:
            if isUp[partition] {
                replicas[index].linkConnected(partition, server: masters?[partition], now: now)
            } else {
                replicas[index].linkClosed(partition, reason: "refused", now: now)
            }
        case .disconnect: break
        case .listening(let command):
            if command == .open { replicas[index].linkChangeFeed(partition, .opened, now: now) }
            if command == .probe { replicas[index].linkChangeFeed(partition, .alive, now: now) }
        case .send(let batch):
            sent.append(partition)
            guard isUp[partition] else { return }
            let result = stores[partition].run(batch, replica: UInt64(index + 1))
            replicas[index].linkAnswered(partition, sequence: batch.sequence, result, now: now)
        }
    }

    /// The partitions whose batches leave now, and their sequences; none is answered.
    mutating func departures() -> [(partition: Int, sequence: Int64)] {
        var departed: [(partition: Int, sequence: Int64)] = []
        while let next = replicas[0].nextCommand(now: now) {
            if case .send(let batch) = next.command { departed.append((next.partition, batch.sequence)) }
        }
        return departed
    }

    /// The server of a partition is gone, and every replica knows.
    mutating func lose(_ partition: Int) {
        isUp[partition] = false
        for index in replicas.indices { replicas[index].linkClosed(partition, reason: "reset", now: now) }
        exchange()
    }

    enum Asked: Equatable {
        case decision(Decision)
        case busy(Busy)
        case mustReserve
        case otherArguments
    }

    mutating func ask(_ question: CheckQuestion, of replica: Int = 0) -> Asked {
        var options: CheckOptions?
        if !question.isPeek, question.reserves || question.id != nil {
            options = CheckOptions(
                reservation: question.reserves ? ReservationID(using: &random) : nil,
                id: question.id.map { Array($0.utf8) }, argumentsHash: question.argumentsHash)
        }
        lastTicket += 1
        let outcome = replicas[replica].check(
            question.identity(replicas[replica].counted), cost: question.cost, isPeek: question.isPeek,
            wantsTrace: question.wantsTrace, extras: options, ticket: Ticket(rawValue: lastTicket), now: now)
        switch outcome {
        case .answered(let decision):
            exchange()
            return .decision(decision)
        case .overloaded(let cause): return .busy(cause)
        case .mustReserve: return .mustReserve
        case .otherArguments: return .otherArguments
        case .waiting: break
        }
        exchange()
        for _ in 0..<30 where answers[lastTicket] == nil { pass(ms: 1) }
        switch answers[lastTicket] {
        case .decision(let decision): return .decision(decision)
        case .overloaded(let cause): return .busy(cause)
        case .otherArguments: return .otherArguments
        case let other: preconditionFailure("no answer: \(String(describing: other))")
        }
    }

    mutating func decide(_ question: CheckQuestion, of replica: Int = 0) -> Decision {
        guard case .decision(let decision) = ask(question, of: replica) else { preconditionFailure("\(question)") }
        return decision
    }

    /// Delivers what the stores have published.
    mutating func hearChanges() {
        for partition in stores.indices {
            for key in stores[partition].takePublished() {
                for index in replicas.indices { replicas[index].linkChangeFeed(partition, .changed(key), now: now) }
            }
        }
        exchange()
    }

    /// nil if the partition is not counted in its store.
    mutating func override(_ change: OverrideChange, of replica: Int = 0) -> OverrideOutcome? {
        lastTicket += 1
        guard case .waiting = replicas[replica].override(change, ticket: Ticket(rawValue: lastTicket), now: now) else {
            return nil
        }
        exchange()
        guard case .overridden(let outcome)? = answers[lastTicket] else { preconditionFailure("no answer") }
        return outcome
    }

    /// The outcomes of a clear; nil if the partition is not counted in its store.
    mutating func clear(_ keys: [CounterKey], _ grant: String, of replica: Int = 0) -> [CounterClearing.Outcome]? {
        lastTicket += 1
        let outcome = replicas[replica].clear(
            keys, ofGrant: grant, ticket: Ticket(rawValue: lastTicket), now: now)
        guard case .waiting = outcome else { return nil }
        exchange()
        guard case .cleared(let counters)? = answers[lastTicket] else { preconditionFailure("no answer") }
        return counters.compactMap(\.outcome)
    }

    mutating func settle(
        _ grant: String, _ reservation: String?, _ settlement: Batch.Settlement, of replica: Int = 0
    ) -> Limiter.SettleOutcome {
        lastTicket += 1
        let outcome = replicas[replica].settle(
            grant: Array(grant.utf8), reservation: Array((reservation ?? "").utf8), settlement,
            ticket: Ticket(rawValue: lastTicket), now: now)
        exchange()
        guard case .waiting = outcome else { return outcome }
        switch answers[lastTicket] {
        case .settled(let done): return .answered(done)
        case .notSettled(let fault): return .notSettled(fault)
        case .storeUnavailable: return .storeUnavailable
        case .overloaded: return .overloaded
        case let other: preconditionFailure("no answer: \(String(describing: other))")
        }
    }

    func home(_ grant: String) -> Int { replicas[0].map.partition(ofOwner: grant.utf8) }
    var global: Int { replicas[0].map.partition(ofOwner: "global=".utf8) }

    /// What the stores hold of a counter, in the window that is open now.
    func used(_ limit: Limit, grant: String? = nil) -> Int64 {
        stores[grant.map { home($0) } ?? global].usage(of: key(limit, grant: grant))
    }

    /// The key of that counter.
    func key(_ limit: Limit, grant: String? = nil) -> [UInt8] {
        let partition = grant.map { home($0) } ?? global
        let keys = KeySpace(prefix: "sluice", tag: PartitionTags(count: stores.count)[partition])
        let base = CounterKey.baseKey(
            in: keys, grant: grant.map { Array($0.utf8) }, subject: grant == nil ? .global : .grant,
            container: limit.container, counter: limit.counter, algorithm: limit.algorithm, window: limit.window)
        let startMs = limit.window.startMs(at: stores[partition].clockMs)
        return CounterKey.key(base, window: limit.window, startMs: startMs)
    }

    /// A grant whose home is another partition than that of global limits.
    var foreignGrant: String {
        (0...).lazy.map { "g\($0)" }.first { home($0) != global } ?? ""
    }

    /// Replaces a replica by one that goes on from its records.
    mutating func restart(_ replica: Int) -> Limiter.Restoration {
        var records: [StateRecord] = []
        while replicas[replica].hasChanges { replicas[replica].takeRecords(into: &records, now: now) }
        var bytes: [UInt8] = []
        for record in records { record.append(to: &bytes) }
        replicas[replica] = PartitionedLimiter(
            configuration: Self.configuration(stores.count, replica + 1, of: replicas.count, true), policies: policies,
            now: now)
        return replicas[replica].restore(StateRecord.all(in: bytes[...]) ?? [], now: now)
    }
}
