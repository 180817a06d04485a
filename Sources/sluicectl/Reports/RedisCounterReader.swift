import Logging
import NIOCore
import SluiceEngine
import SluicePolicy
import SluiceRedis

/// Which counters are wanted, and how many.
struct CounterSelection: Sendable {
    var grant: String?
    var tool: String?
    var isAtLimit: Bool
    var order: CountersReading.Order?
    var limit: Int
}

/// Reads page after page. On one event loop; it lives until the promise is kept.
final class RedisCounterReader {
    private let link: RedisLink
    private let limiter: Limiter
    private let wanted: CounterSelection
    private let promise: EventLoopPromise<CountersReport>
    private var query: CounterQuery
    private var found: CounterInspection?

    /// Counters of one page: as many as a sidecar reads at a time.
    private static let pageRows = 1_024

    init(
        _ configuration: RedisLink.Configuration, _ policies: PolicySet, _ wanted: CounterSelection,
        _ promise: EventLoopPromise<CountersReport>, _ loop: any EventLoop
    ) {
        link = RedisLink(
            configuration, eventLoop: loop, logger: Logger(label: "sluicectl") { _ in SwiftLogNoOpLogHandler() })
        let now = ClockReading(monotonicNs: 1, wallMs: 1)
        limiter = Limiter(
            configuration: LimiterConfiguration(
                keys: KeySpace(prefix: configuration.keyPrefix), budgetMs: 20,
                replicas: ReplicaView(own: 1, assumed: 1), usesStore: true, seed: 1),
            policies: policies, now: now)
        self.wanted = wanted
        self.promise = promise
        query = limiter.counterQuery(grant: wanted.grant, tool: wanted.tool, limit: Self.pageRows)
        query.isAtLimit = wanted.isAtLimit
        query.order = wanted.order.map { CounterOrder($0) }
    }

    func readOn() {
        link.scan(query) { [self] result in
            switch result {
            case .failure(let failure): promise.fail(failure)
            case .success(let stored): take(stored)
            }
        }
    }

    private func take(_ stored: StoredCounters) {
        // One more than wanted shows whether there are more.
        var page = CounterInspection(query, stored: stored, limit: wanted.limit + (wanted.order == nil ? 1 : 0))
        while !page.look(at: limiter, atMost: .max, now: ClockReading(monotonicNs: 1, wallMs: stored.timeMs)) {}
        if found == nil { found = page } else { found?.add(page) }
        guard let next = stored.next, next != query.place, found?.isFull != true else {
            return finish(isComplete: stored.next == nil || found?.isFull == true)
        }
        query.place = next
        readOn()
    }

    private func finish(isComplete: Bool) {
        guard let found else { return promise.succeed(CountersReport(rows: [])) }
        let isTruncated = found.hasDropped || found.count > wanted.limit || !isComplete
        promise.succeed(
            CountersReport(
                rows: found.sorted(first: wanted.limit).map { CounterRow($0) }, isTruncated: isTruncated,
                isComplete: isComplete))
    }
}

extension CounterOrder {
    fileprivate init(_ order: CountersReading.Order) {
        self =
            switch order {
            case .used: .used
            case .remaining: .remaining
            case .grant: .grant
            }
    }
}
