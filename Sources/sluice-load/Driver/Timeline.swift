import Histogram
import SluiceProtocol

/// How a run went, about a second at a time.
package struct Timeline: Sendable {
    /// What was seen between two samples.
    package struct Point: Sendable {
        /// From the beginning of the measured part, ns; below 0 in the warm-up.
        package var startNs: Int64
        package var intervalNs: Int64
        /// What an open loop meant to send, checks a second.
        package var intendedRate: Double?
        /// By source, in the order of `ReplySource.allCases`.
        package var decisions: [LoadStatistics.Decisions]
        package var failures: Int64
        package var p50Ns: UInt64
        package var p99Ns: UInt64
        package var maxNs: UInt64
        /// From when checks really were sent; 0 in a closed loop.
        package var p99SinceSentNs: UInt64

        package init(startNs: Int64, intervalNs: Int64, intendedRate: Double?, tally: borrowing LoadStatistics) {
            self.startNs = startNs
            self.intervalNs = intervalNs
            self.intendedRate = intendedRate
            decisions = []
            for source in ReplySource.allCases { decisions.append(tally[source]) }
            failures = tally.failureCount
            p50Ns = tally.latency.valueAtPercentile(50)
            p99Ns = tally.latency.valueAtPercentile(99)
            maxNs = tally.latency.valueAtPercentile(100)
            p99SinceSentNs = tally.latencySinceSent.valueAtPercentile(99)
        }

        package var decisionCount: Int64 { decisions.reduce(0) { $0 + $1.allowed + $1.denied } }
        package var perSecond: Double { intervalNs > 0 ? Double(decisionCount) * 1e9 / Double(intervalNs) : 0 }
    }

    /// Something that was done to the processes under load.
    package struct Mark: Sendable, Equatable {
        /// From the beginning of the measured part, ns.
        package var atNs: Int64
        package var text: String

        package init(atNs: Int64, text: String) {
            self.atNs = atNs
            self.text = text
        }
    }

    package var points: [Point] = []
    package var marks: [Mark] = []
    /// When the measured part began, ms since 1970: windows are told by such times.
    package var startWallMs: Int64 = 0

    package init() {}

    /// With times that count from `ns` of this one.
    func counted(fromNs ns: Int64) -> Timeline {
        var timeline = self
        for index in points.indices { timeline.points[index].startNs -= ns }
        for index in marks.indices { timeline.marks[index].atNs -= ns }
        return timeline
    }

    /// Adds a point; where there are too many, neighbours give way so that what is kept stays even.
    mutating func append(_ point: Point) {
        points.append(point)
        guard points.count > LoadBounds.maxTimelinePoints else { return }
        points = points.enumerated().filter { $0.offset.isMultiple(of: 2) }.map(\.element)
    }
}
