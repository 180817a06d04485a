/// Counters that the store may have lost one by one: it evicted them, or another client deleted them.
///
/// Their usage came back lower than this replica had seen it, and no notification of a settlement or refund explains
/// that. One that does may still be on its way, so the change feed is probed: it delivers what was published before the
/// answer ahead of the answer to the probe. If there was none, the counter is restored.
struct LossWatch {
    struct Suspect {
        let counter: CounterID
        let windowStartMs: Int64
        /// As in the counter, when it was last believed.
        let seenAt: SentTime
        /// The usage that it had.
        let known: Int64
        /// What the store reports.
        var usage: Usage
        let cutMs: Int64
        /// What the store charged of this replica's checks since then.
        var charged: Int64 = 0
        /// The answer to which probe decides.
        fileprivate(set) var probe: Int64?
        fileprivate let dueNs: Int64
    }

    /// How long a notification may take from another server of the cluster, ns; 0: there is one server.
    private let lagNs: Int64
    private(set) var suspects: [Suspect] = []
    /// Probes of the present feed.
    private var asked: Int64 = 0
    private var answered: Int64 = 0

    init(lagNs: Int64) { self.lagNs = lagNs }

    var isEmpty: Bool { suspects.isEmpty }
    var isFull: Bool { suspects.count >= EngineBounds.maxLossSuspects }

    func index(of counter: CounterID) -> Int? { suspects.firstIndex { $0.counter == counter } }

    mutating func add(
        _ counter: CounterID, windowStartMs: Int64, seenAt: SentTime, known: Int64, _ usage: Usage, cutMs: Int64,
        charged: Int64, now: ClockReading
    ) {
        suspects.append(
            Suspect(
                counter: counter, windowStartMs: windowStartMs, seenAt: seenAt, known: known, usage: usage,
                cutMs: cutMs, charged: charged, dueNs: now.monotonicNs + lagNs))
    }

    /// It was reported again.
    mutating func update(_ index: Int, _ usage: Usage, charged: Int64) {
        suspects[index].usage = usage
        suspects[index].charged = WindowUsage.sum(suspects[index].charged, charged)
    }

    // MARK: - Probes

    /// When the next probe for them is due, ns; nil: none is.
    var nextProbeNs: Int64? {
        guard !suspects.isEmpty, asked == answered else { return nil }
        return suspects.lazy.filter { $0.probe == nil }.map(\.dueNs).min()
    }

    /// A probe is sent, for whatever reason.
    mutating func probes(now: ClockReading) {
        asked += 1
        for index in suspects.indices where suspects[index].probe == nil && suspects[index].dueNs <= now.monotonicNs {
            suspects[index].probe = asked
        }
    }

    /// The feed answered a probe.
    /// - Returns: those that it decides.
    mutating func answeredProbe() -> [Suspect] {
        answered = min(asked, answered + 1)
        guard !suspects.isEmpty else { return [] }
        let decided = suspects.filter { $0.probe.map { $0 <= answered } ?? false }
        suspects.removeAll { $0.probe.map { $0 <= answered } ?? false }
        return decided
    }

    /// The feed, or the store, is down, or lost everything.
    /// - Returns: those that cannot be decided.
    mutating func giveUp() -> [Suspect] {
        (asked, answered) = (0, 0)
        defer { suspects = [] }
        return suspects
    }
}
