import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// The change feeds of a simulation's replicas, and what a cached denial must be based on.
extension Simulation {
    /// A connection on which the store notifies of changes.
    struct Subscription {
        var replica: Int
        /// The replica receives from it, and the store knows it.
        var isOpen = true
        /// What is sent on it arrives. If not, neither side need notice.
        var isWhole = true
        var isSubscribed = false
        var lastDownNs: Int64 = 0
    }

    enum Listening {
        case arrives(subscription: Int, isProbe: Bool)
        /// What the store reported or did at `sinceNs`.
        case heard(subscription: Int, ChangeFeedEvent, sinceNs: Int64)
    }

    // MARK: - The connection

    mutating func listen(_ replica: Int, _ command: ChangeFeedCommand, of subscription: Int? = nil) {
        switch command {
        case .open:
            subscriptions.append(Subscription(replica: replica))
            let subscription = subscriptions.count - 1
            replicas[replica].subscription = subscription
            if isUnreachable(replica) {
                say(.closed(reason: "unreachable"), on: subscription)
            } else {
                events.push(
                    .listening(.arrives(subscription: subscription, isProbe: false)), atNs: nowNs + delayNs(replica))
            }
        case .probe:
            guard let subscription = replicas[replica].subscription else { return }
            events.push(
                .listening(.arrives(subscription: subscription, isProbe: true)), atNs: nowNs + delayNs(replica))
        case .close:
            if let subscription = subscription ?? replicas[replica].subscription {
                subscriptions[subscription].isOpen = false
            }
            replicas[replica].subscription = nil
        }
    }

    /// The replica that is subscribed there.
    func replica(of event: Listening) -> Int {
        switch event {
        case .arrives(let subscription, _), .heard(let subscription, _, _): subscriptions[subscription].replica
        }
    }

    /// Returns the replica that received something.
    mutating func handle(_ event: Listening) -> Int? {
        switch event {
        case .arrives(let subscription, let isProbe):
            guard subscriptions[subscription].isOpen, subscriptions[subscription].isWhole else { return nil }
            if let hangsUntilNs {
                events.push(.listening(event), atNs: hangsUntilNs)
                return nil
            }
            subscriptions[subscription].isSubscribed = true
            say(isProbe ? .alive : .opened, on: subscription)
            return nil
        case .heard(let subscription, let event, let sinceNs):
            guard subscriptions[subscription].isOpen else { return nil }
            let replica = subscriptions[subscription].replica
            switch event {
            case .opened: history.hears(replica, sinceNs: sinceNs)
            case .changed(let tag): history.hears(replica, of: tag, sinceNs: sinceNs)
            case .alive: break
            case .closed:
                subscriptions[subscription].isOpen = false
                replicas[replica].subscription = nil
            }
            replicas[replica].limiter.linkChangeFeed(event, now: moment(replica))
            return replica
        }
    }

    private mutating func say(_ event: ChangeFeedEvent, on subscription: Int) {
        let atNs = max(
            nowNs + delayNs(subscriptions[subscription].replica), subscriptions[subscription].lastDownNs)
        subscriptions[subscription].lastDownNs = atNs
        events.push(.listening(.heard(subscription: subscription, event, sinceNs: nowNs)), atNs: atNs)
    }

    /// The store notifies all subscribers.
    mutating func tellChanges() {
        for tag in store.takePublished() {
            history.publishes(tag, atNs: nowNs)
            for index in subscriptions.indices {
                guard subscriptions[index].isOpen, subscriptions[index].isWhole, subscriptions[index].isSubscribed
                else { continue }
                say(.changed(tag), on: index)
            }
        }
    }

    /// The connection breaks; the replica is notified, or left to find out.
    mutating func breakSubscription(_ subscription: Int) {
        subscriptions[subscription].isWhole = false
        if random.once(in: 2) { say(.closed(reason: "reset"), on: subscription) }
    }

    // MARK: - What is checked

    /// The binding limit was full in some state of the store that is at most a second old, and no older than the last
    /// change the replica received.
    func judgeRemembered(_ question: SimulationOracle.Question, _ decision: Decision) throws {
        let limiter = replicas[question.replica].limiter
        guard limiter.asksStore, limiter.hearsChanges else {
            throw SimulationFailure(description: "a cached denial while the feed is down: \(decision)")
        }
        guard let index = question.limits.firstIndex(where: { $0.rule == decision.rule }) else {
            throw SimulationFailure(description: "no binding limit: \(decision)")
        }
        let limit = question.limits[index]
        let identity = Identity.Parts(
            grant: Array(question.grant.utf8), tool: "t", approved: false,
            session: question.session.map { Array($0.utf8) })
        let baseKey =
            question.mixed?.group.baseKeys[index]
            ?? CounterKey.baseKey(in: "sluice", limit: limit, identity: identity)
        let nowMs = limiter.clock.nowMs(moment(question.replica))
        let open = Counter.bounds(of: limit.window, limit.algorithm, at: nowMs)
        let quota = Quota(limit).at(open)
        // A replica's clock may run a little slow.
        let tag = Array(baseKey.prefix { $0 != UInt8(ascii: "}") }) + [125]
        let sinceNs = max(
            nowNs - EngineBounds.denialTTLNs - 1_000_000, history.heardNs(question.replica, tag: tag))
        func most(_ startMs: Int64) -> Int64 {
            let key =
                quota.algorithm.hasWindows ? CounterKey.key(baseKey, window: limit.window, startMs: startMs) : baseKey
            return history.most(of: key, quota, sinceNs: sinceNs, nowMs: nowMs)
        }
        var usage = Usage(used: most(open.startMs))
        if quota.algorithm == .slidingWindow {
            usage.previous = most(max(0, limit.window.bounds(atMs: max(0, open.startMs - 1)).startMs))
        }
        guard !limit.isSlots, limit.mode == .enforce, quota.left(usage, nowMs: nowMs) < question.units(limit) else {
            throw SimulationFailure(
                description: "refused without a reason of this second: \(question), \(decision), \(usage)")
        }
        // What was given back, and taken by others, before the notification arrived is no fault.
        guard history.isHeard(question.replica, tag: tag) else { return }
        try judgeWait(decision, quota, cost: question.units(limit), baseKey: baseKey, window: limit.window)
    }

    /// A client that waits the reported time is not early by what the store holds now, from any replica. Write-backs
    /// are not notified.
    private func judgeWait(
        _ decision: Decision, _ quota: Quota, cost: Int64, baseKey: [UInt8], window: Window
    ) throws {
        guard !scenario.stepsClock else { return }
        let storeMs = Self.startMs + nowNs / 1_000_000
        let open = Counter.bounds(of: window, quota.algorithm, at: storeMs)
        // By the store's clock the window is over already, and no client is kept waiting.
        guard open.startMs == quota.windowStartMs else { return }
        func key(_ startMs: Int64) -> [UInt8] {
            quota.algorithm.hasWindows ? CounterKey.key(baseKey, window: window, startMs: startMs) : baseKey
        }
        var keys = [key(open.startMs)]
        if quota.algorithm == .slidingWindow { keys.append(key(window.bounds(atMs: max(0, open.startMs - 1)).startMs)) }
        guard keys.allSatisfy({ !history.wasAdded($0) }) else { return }
        let used = keys.map { history.most(of: $0, quota, sinceNs: nowNs, nowMs: storeMs) }
        var usage = Usage(used: used[0])
        if used.count > 1 { usage.previous = used[1] }
        guard quota.left(usage, nowMs: storeMs) < cost else { return }
        // A log that lost its charges was filled with later ones, which no replica could know of.
        if quota.algorithm == .slidingLog && nowNs - history.forgotNs < 2 * EngineBounds.denialTTLNs { return }
        if quota.algorithm == .slidingLog, case .log(let log)? = store.value(of: baseKey) {
            let missing = usage.used + cost - quota.max
            usage.firstExpiryMs = log.freeMs(missing, nowMs: storeMs, lengthMs: quota.lengthMs) ?? 0
        }
        // Both clocks drift a little from answer to answer.
        let wait = quota.retryAfterMs(cost: cost, usage, nowMs: storeMs)
        guard decision.retryAfterMs < 0 ? wait < 0 : decision.retryAfterMs + 1 >= wait else {
            throw SimulationFailure(
                description: "asked to wait \(decision.retryAfterMs) ms of \(wait): \(quota), \(decision), \(usage)")
        }
    }
}

/// What the store of a simulation held lately, and which changes replicas have received.
struct StoreHistory {
    private var states = ByteTable<[(atNs: Int64, value: ModelStore.Value?)]>()
    /// By replica: since when its feed is open, and the time of the last change it received for each tag.
    private var openedNs: [Int: Int64] = [:]
    private var changedNs: [Int: [[UInt8]: Int64]] = [:]
    /// Counters with write-backs or restores.
    private var added = ByteTable<Bool>()
    /// When the store last lost its data.
    private(set) var forgotNs = Int64.min / 2
    /// When a change of each tag was last published.
    private var publishedNs: [[UInt8]: Int64] = [:]

    /// The store ran a batch.
    mutating func note(
        _ batch: Batch, _ result: Result<BatchReply, BatchFailure>, _ store: ModelStore, atNs: Int64
    ) {
        guard case .success(let reply) = result, reply.status == .ran else { return }
        var firstKey = 0
        var hasSettled = false
        for entry in batch.entries {
            let keys = ModelStore.EntryKeys(of: entry, in: batch, from: &firstKey)
            hasSettled = hasSettled || entry.chargeCount == 0
            for (index, charge) in keys.charges.enumerated() {
                if batch.charges[entry.firstCharge + index].isUnlimited { added[charge[0]] = true }
                note(charge[0], store, atNs: atNs)
            }
        }
        if hasSettled { for key in states.keys { note(key, store, atNs: atNs) } }
    }

    private mutating func note(_ key: [UInt8], _ store: ModelStore, atNs: Int64) {
        let value = store.value(of: key)
        if let last = states[key]?.last, last.value == value { return }
        states[key, default: []].append((atNs, value))
    }

    mutating func forget(atNs: Int64) {
        forgotNs = atNs
        for key in states.keys { states[key]?.append((atNs, nil)) }
    }

    mutating func hears(_ replica: Int, sinceNs: Int64) { openedNs[replica] = sinceNs }

    mutating func hears(_ replica: Int, of tag: [UInt8], sinceNs: Int64) {
        changedNs[replica, default: [:]][tag] = sinceNs
    }

    mutating func publishes(_ tag: [UInt8], atNs: Int64) { publishedNs[tag] = atNs }

    func wasAdded(_ key: [UInt8]) -> Bool { added[key] != nil }

    /// Whether a replica has received every published change of a tag.
    func isHeard(_ replica: Int, tag: [UInt8]) -> Bool { heardNs(replica, tag: tag) >= publishedNs[tag] ?? 0 }

    func heardNs(_ replica: Int, tag: [UInt8]) -> Int64 {
        max(openedNs[replica] ?? .max, changedNs[replica]?[tag] ?? 0)
    }

    /// The most that a key held at any time since then, by its state at `nowMs`.
    func most(of key: [UInt8], _ quota: Quota, sinceNs: Int64, nowMs: Int64) -> Int64 {
        var most: Int64 = 0
        for state in (states[key] ?? []).reversed() {
            switch state.value {
            case .integer(let usage): most = max(most, usage)
            case .bucket(let level, let lastMs, _):
                most = max(most, quota.drained(level, sinceMs: lastMs, nowMs: nowMs))
            case .log(let log): most = max(most, log.used(nowMs: nowMs, lengthMs: quota.lengthMs))
            case .slots, .record, .idempotency, .text, .foreign, nil: break
            }
            // The oldest state began before that time.
            if state.atNs <= sinceNs { break }
        }
        return most
    }
}
