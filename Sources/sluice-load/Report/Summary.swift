import Histogram
import SluiceTerminal

/// The measurements and findings of a run.
struct Summary: Sendable {
    var settings: LoadSettings
    /// How long checks were sent, without the warm-up, ns.
    var elapsedNs: Int64
    /// The driver's own processor time meanwhile, user and system, ns.
    var processorNs: Int64
    /// The processor time of its busiest sending thread meanwhile, ns.
    var busiestThreadNs: Int64 = 0
    /// The processor time of each process of the run's `ProcessMeter` meanwhile.
    var processesNs: [Int64] = []
    /// Decisions that were read meanwhile.
    var decidedWhileSending: Int64
    /// All results, the last answers included.
    var statistics: LoadStatistics
    /// nil without an oracle.
    var oracle: OracleReport?
    /// The course of the run; empty if it was not sampled.
    var timeline = Timeline()
    /// The checks that were sent, with times from the start of the warm-up; empty unless recording was requested.
    var recorded: [Trace.Entry] = []
    /// The steps of a search for a rate; nil if there was none.
    var search: RateSearch?
    /// Whether it was interrupted.
    var isInterrupted = false

    /// Whether every promise was kept, and a rate was found if one was searched.
    var isKept: Bool { (oracle?.isKept ?? true) && (search.map { $0.kept != nil } ?? true) }

    /// Why the oracle had nothing to judge; nil if it had, or if there was no oracle.
    var nothingJudged: String? {
        guard let oracle, oracle.windows == 0, oracle.isKept else { return nil }
        if !oracle.unjudgedRules.isEmpty { return "every limit that counted is only measured" }
        if oracle.untracedAnswers > 0 { return "no answer had a trace" }
        if oracle.lateAnswers + oracle.unjudgedAnswers > 0 { return "no answer could be distinguished" }
        let tools = settings.kinds.map(\.tool).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        let named = tools.prefix(3).map(\.quotedForPeople).joined(separator: ", ")
        return "no limit counted anything; does the policy limit \(named)\(tools.count > 3 ? " ..." : "") (--tool)?"
    }

    var checksPerSecond: Double { Double(decidedWhileSending) * 1e9 / Double(elapsedNs) }

    var processorNsPerCheck: Double {
        decidedWhileSending > 0 ? Double(processorNs) / Double(decidedWhileSending) : 0
    }

    /// For how much of the time the busiest of the driver's threads was working; 1 is all of it. The mean would hide a
    /// thread that delays the others' checks.
    var busyShare: Double { Double(busiestThreadNs) / Double(elapsedNs) }

    /// Why the driver itself may have limited what was measured; empty if it did not.
    var bottlenecks: [String] {
        var reasons: [String] = []
        if busyShare >= Self.busyShareLimit {
            reasons.append("a thread of its was busy nearly all the time, add --threads")
        }
        if statistics.lateness.valueAtPercentile(99) >= Self.latenessLimitNs {
            reasons.append("its sends were late, lower --rate or add --threads or --connections")
        }
        return reasons
    }

    /// Above this share an event loop has queues of its own.
    private static let busyShareLimit = 0.85
    /// One percent of the checks was sent later than this: more than a timer and a scheduler take.
    private static let latenessLimitNs: UInt64 = 2_000_000

    /// The percentiles in reports, and their names.
    static let percentiles: [(name: String, value: Double)] = [
        ("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("max", 100),
    ]

    /// The description of one broken promise.
    func describe(_ found: OracleReport.Break) -> String {
        "\(found.promise.rawValue): \(describeFacts(found))"
    }

    /// Its place, and the observation.
    func describeFacts(_ found: OracleReport.Break) -> String {
        "\(settings.subjectName(found.subject)), \(found.rule), window from "
            + "\(Format.date(ms: found.windowStartMs)): \(found.facts)"
    }
}

extension String {
    fileprivate var quotedForPeople: String { "\"\(TerminalText.visible(self))\"" }
}
