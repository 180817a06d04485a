import Histogram
import SluiceProtocol

/// The course of a run in steps of about a second.
struct Timeline: Sendable {
    /// The results between two samples.
    struct Point: Sendable {
        /// From the start of the measured part, ns; below 0 in the warm-up.
        var startNs: Int64
        var intervalNs: Int64
        /// The intended rate of an open loop, checks a second.
        var intendedRate: Double?
        /// By source, in the order of `ReplySource.allCases`.
        var decisions: [LoadStatistics.Decisions]
        var failures: Int64
        var p50Ns: UInt64
        var p99Ns: UInt64
        var maxNs: UInt64
        /// Counted from when checks really were sent; 0 in a closed loop.
        var p99SinceSentNs: UInt64

        init(startNs: Int64, intervalNs: Int64, intendedRate: Double?, statistics: borrowing LoadStatistics) {
            self.startNs = startNs
            self.intervalNs = intervalNs
            self.intendedRate = intendedRate
            decisions = []
            for source in ReplySource.allCases { decisions.append(statistics[source]) }
            failures = statistics.failureCount
            p50Ns = statistics.latency.valueAtPercentile(50)
            p99Ns = statistics.latency.valueAtPercentile(99)
            maxNs = statistics.latency.valueAtPercentile(100)
            p99SinceSentNs = statistics.latencySinceSent.valueAtPercentile(99)
        }

        var decisionCount: Int64 { decisions.reduce(0) { $0 + $1.allowed + $1.denied } }
        var perSecond: Double { intervalNs > 0 ? Double(decisionCount) * 1e9 / Double(intervalNs) : 0 }
    }

    /// A fault that was injected into the processes under load.
    struct Mark: Sendable, Equatable {
        /// From the start of the measured part, ns.
        var atNs: Int64
        var text: String
    }

    var points: [Point] = []
    var marks: [Mark] = []
    /// When the measured part began, ms since 1970: windows are given in such times.
    var startWallMs: Int64 = 0

    /// The same with times that count from `ns` of this one.
    func counted(fromNs ns: Int64) -> Timeline {
        var timeline = self
        for index in points.indices { timeline.points[index].startNs -= ns }
        for index in marks.indices { timeline.marks[index].atNs -= ns }
        return timeline
    }

    /// Adds a point. If there are too many, every other one is dropped so that the rest stays even.
    mutating func append(_ point: Point) {
        points.append(point)
        guard points.count > LoadBounds.maxTimelinePoints else { return }
        points = points.enumerated().filter { $0.offset.isMultiple(of: 2) }.map(\.element)
    }
}
