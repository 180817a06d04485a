import SluiceDecisionLog
import SluiceProtocol

/// What `top` shows: figures of the sidecar, and the names in its decisions. A value that takes what arrives; bounded.
struct TopData: Sendable {
    /// The rates between two readings of `INFO`, a second.
    struct Rates: Sendable, Equatable {
        var calls = 0.0
        var denied = 0.0
        /// By the answer's source; none that is zero.
        var sources: [(name: String, rate: Double)] = []
        /// Checks in a batch, on average; nil if no batch was sent.
        var checksInBatch: Double?
        var batches = 0.0

        static func == (one: Rates, other: Rates) -> Bool {
            (one.calls, one.denied, one.batches) == (other.calls, other.denied, other.batches)
                && one.checksInBatch == other.checksInBatch
                && one.sources.elementsEqual(other.sources) { $0.name == $1.name && $0.rate == $1.rate }
        }
    }

    /// Names that are kept of grants, and of rules.
    static let maxGrants = 1_024
    static let maxRules = 256

    private(set) var status: SidecarStatus?
    private(set) var rates = Rates()
    private(set) var grants = TopSketch(capacity: maxGrants)
    private(set) var rules = TopSketch(capacity: maxRules)
    /// The counters that are read, those with the least left first.
    private(set) var limits: [CounterRow] = []
    /// Why something is missing, by what it is.
    private(set) var troubles: [String: String] = [:]
    private var decisions = Stream()
    private var denials = Stream()
    private var foldedMs: Int64?

    /// One of the two streams, in the current interval.
    private struct Stream: Sendable {
        var taken = 0.0
        var leftOut = 0.0

        /// How many decisions each one that was taken stands for.
        var factor: Double { taken == 0 ? 1 : (taken + leftOut) / taken }
    }

    /// Whether grants are of a sample of the decisions.
    private(set) var isSampled = false

    // MARK: - What arrives

    mutating func take(_ status: SidecarStatus, nowMs: Int64) {
        if let earlier = self.status { rates = Self.rates(from: earlier, to: status) ?? rates }
        self.status = status
        fold(nowMs: nowMs)
    }

    /// A line of the stream of all decisions.
    mutating func takeDecision(_ line: String) {
        Self.read(line, &decisions) { record, bytes in
            let isDenied = record.verdict != .decided(.allow)
            grants.count(
                bytes.text(record.grant), isDenied: isDenied, note: isDenied ? Self.rule(record, bytes) : "")
        }
    }

    /// A line of the stream of denials.
    mutating func takeDenial(_ line: String) {
        Self.read(line, &denials) { record, bytes in
            let grant = bytes.text(record.grant)
            rules.count(Self.rule(record, bytes), isDenied: true, note: grant, other: grant)
        }
    }

    mutating func take(_ counters: CountersReport) { limits = counters.rows }

    /// - Parameter trouble: nil: there is none any more.
    mutating func note(_ trouble: String?, of what: String) { troubles[what] = trouble }

    private static func rule(_ record: DecisionLogRecord, _ bytes: [UInt8]) -> String {
        record.verdict == .busy ? "(busy)" : bytes.text(record.rule)
    }

    private static func read(_ line: String, _ stream: inout Stream, _ take: (DecisionLogRecord, [UInt8]) -> Void) {
        var bytes = Array(line.utf8)
        var record = DecisionLogRecord()
        switch record.read(&bytes, 0..<bytes.count) {
        case .decision:
            stream.taken += 1
            take(record, bytes)
        case .dropped(let count): stream.leftOut += Double(count)
        case .settlement, .operation, .sample, .malformed: break
        }
    }

    /// Ends the interval of the streams.
    private mutating func fold(nowMs: Int64) {
        let seconds = Double(nowMs - (foldedMs ?? nowMs)) / 1000
        defer { foldedMs = nowMs }
        guard seconds > 0 else { return }
        grants.fold(factor: decisions.factor, seconds: seconds)
        rules.fold(factor: denials.factor, seconds: seconds)
        isSampled = decisions.leftOut > 0
        (decisions, denials) = (Stream(), Stream())
    }

    /// nil if it was started again in between.
    static func rates(from earlier: SidecarStatus, to later: SidecarStatus) -> Rates? {
        guard let begin = earlier.integer("uptime_ms"), let end = later.integer("uptime_ms"), end > begin else {
            return nil
        }
        func rate(_ count: Int64) -> Double { Double(max(0, count)) * 1000 / Double(end - begin) }
        func difference(_ field: String) -> Int64 { (later.integer(field) ?? 0) - (earlier.integer(field) ?? 0) }
        var rates = Rates()
        var sources: [String] = []
        var counts: [String: Int64] = [:]
        for (answers, sign) in [(later.answers, Int64(1)), (earlier.answers, -1)] {
            for answer in answers {
                if counts[answer.source] == nil { sources.append(answer.source) }
                counts[answer.source, default: 0] += sign * answer.count
                rates.calls += Double(sign * answer.count)
                if answer.verdict != "allow" { rates.denied += Double(sign * answer.count) }
            }
        }
        rates.calls = rate(Int64(rates.calls))
        rates.denied = rate(Int64(rates.denied))
        rates.sources = sources.compactMap { name in
            let count = counts[name] ?? 0
            return count > 0 ? (name, rate(count)) : nil
        }
        let batches = difference("batches")
        rates.batches = rate(batches)
        if batches > 0 {
            rates.checksInBatch = Double(difference("coalesced_checks")) / Double(batches)
        }
        return rates
    }
}
