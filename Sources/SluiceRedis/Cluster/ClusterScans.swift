internal import NIOCore
internal import SluiceEngine

/// The scans of all partitions: `RedisBounds.maxScans` at once, each over a connection of its own to the master of its
/// partition, and the others after them.
final class ClusterScans {
    typealias Completion = CounterScan.Completion

    private final class Waiting {
        let query: CounterQuery
        let partition: Int
        let completion: Completion
        let deadline: NIODeadline
        var limit: Scheduled<Void>?

        init(_ query: CounterQuery, partition: Int, deadline: NIODeadline, completion: @escaping Completion) {
            self.query = query
            self.partition = partition
            self.deadline = deadline
            self.completion = completion
        }
    }

    private unowned let cluster: RedisCluster
    private var waiting: [Waiting] = []
    private var running: [ObjectIdentifier: CounterScan] = [:]

    init(of cluster: RedisCluster) { self.cluster = cluster }

    /// The completion is called once, within `RedisTimeLimits.scan`, and not from inside this call.
    func add(_ query: CounterQuery, partition: Int, completion: @escaping Completion) {
        let limit = cluster.configuration.limits.scan
        guard waiting.count < RedisBounds.maxScans * cluster.partitionCount else {
            return cluster.eventLoop.assumeIsolated().execute {
                completion(.failure(.rejected("\(RedisBounds.maxScans) scans are running already: try again")))
            }
        }
        let scan = Waiting(query, partition: partition, deadline: .now() + limit, completion: completion)
        waiting.append(scan)
        scan.limit = cluster.eventLoop.assumeIsolated().scheduleTask(in: limit) { [weak self] in
            guard let self, let index = self.waiting.firstIndex(where: { $0 === scan }) else { return }
            self.waiting.remove(at: index)
            completion(.failure(.unknown(CounterScan.tookTooLong(limit))))
        }
        cluster.eventLoop.assumeIsolated().execute { [weak self] in self?.goOn() }
    }

    private func goOn() {
        while running.count < RedisBounds.maxScans, !waiting.isEmpty {
            let next = waiting.removeFirst()
            next.limit?.cancel()
            start(next)
        }
    }

    private func start(_ next: Waiting) {
        guard let master = cluster.master(ofPartition: next.partition) else {
            let slot = cluster.slot(ofPartition: next.partition)
            return next.completion(.failure(.rejected("no master of the cluster has the slot \(slot)")))
        }
        var limits = cluster.configuration.limits
        limits.scan = max(next.deadline - .now(), .nanoseconds(0))
        let scan = CounterScan(
            next.query, slot: cluster.slot(ofPartition: next.partition), target: cluster.target(master),
            handshake: cluster.handshake(isForCharging: false), limits: limits, eventLoop: cluster.eventLoop)
        running[ObjectIdentifier(scan)] = scan
        scan.start { [weak self] result in
            self?.running[ObjectIdentifier(scan)] = nil
            next.completion(result)
            self?.goOn()
        }
    }
}
