/// What the oracle found.
package struct OracleReport: Sendable, Equatable {
    /// One promise that one window broke.
    package struct Break: Sendable, Equatable {
        package enum Promise: String, Sendable, CaseIterable {
            /// Shared answers admitted more than the maximum.
            case neverOver = "never over"
            /// Two admitted answers report the same units of the tally.
            case everyChargeCounts = "every charge counts"
            /// The store's counter is not what was admitted: something was charged twice, or not at all.
            case chargedOnce = "charged once"
            /// A check was refused although it fitted.
            case neverNeedlesslyUnder = "never needlessly under"
            /// A window was refusing checks before its maximum was admitted.
            case fullMeansFull = "full means full"
            /// A sidecar admitted more than its share while Redis was away.
            case localWithinShare = "local within its share"
            /// All sidecars together admitted more than the maximum and what they could not see of each other.
            case totalWithinBound = "total within its bound"
            /// A sidecar was back at Redis without adding what it had admitted locally.
            case settledUp = "settled up"
        }

        package var promise: Promise
        /// The identity that is counted; see `LoadSettings.subjectName`.
        package var subject: Int
        package var rule: String
        package var windowStartMs: Int64
        /// What was seen and what was promised, as one sentence's end.
        package var facts: String

        package init(promise: Promise, subject: Int, rule: String, windowStartMs: Int64, facts: String) {
            self.promise = promise
            self.subject = subject
            self.rule = rule
            self.windowStartMs = windowStartMs
            self.facts = facts
        }
    }

    /// What one rule admitted in one window, over all identities.
    package struct WindowTotal: Sendable, Equatable {
        package var rule: String
        package var startMs: Int64
        package var identities: Int64 = 0
        /// The sum of the identities' maxima.
        package var limit: Int64 = 0
        /// Costs admitted by `shared`, `lease` and `cache`, and by `local`.
        package var shared: Int64 = 0
        package var local: Int64 = 0
        /// The highest share of its maximum that one identity was admitted.
        package var fullestShare = 0.0
        /// Whether the window of some identity broke a promise.
        package var isBroken = false

        package init(rule: String, startMs: Int64) {
            self.rule = rule
            self.startMs = startMs
        }
    }

    /// The store's counters at the end against what was admitted.
    package struct Counters: Sendable, Equatable {
        package var origin: StoredUsages.Origin
        /// Whether there were more than were read.
        package var isTruncated: Bool
        /// Windows whose counter is what was admitted, and those where it is not.
        package var agreeing: Int64 = 0
        package var differing: Int64 = 0
        /// Windows in which checks were answered locally, and the counter is not what was admitted in all.
        package var notSettled: Int64 = 0
        /// Windows that cannot be compared: answers were lost, or others may have charged them before the run.
        package var unknown: Int64 = 0
        /// The first that were not settled.
        package var firstNotSettled: [Break] = []

        package init(origin: StoredUsages.Origin, isTruncated: Bool = false) {
            self.origin = origin
            self.isTruncated = isTruncated
        }
    }

    /// Decisions that were looked at.
    package var answers: Int64 = 0
    /// Windows that were looked at, over all identities and rules.
    package var windows: Int64 = 0
    /// Windows that lie in the run from start to end, refused somebody, and whose admissions were all seen.
    package var fullWindows: Int64 = 0
    /// Those of them in which exactly the maximum was admitted (no further check fitted).
    package var exactWindows: Int64 = 0
    /// Windows with settlements whose tallies were judged.
    package var reservedWindows: Int64 = 0
    /// Windows in which somebody was admitted locally.
    package var localWindows: Int64 = 0
    /// Those of them in which a sidecar was back at the store, and what it had admitted locally was not in the tally.
    package var unsettledWindows: Int64 = 0
    /// Answers for windows that had been judged already; they are not judged.
    package var lateAnswers: Int64 = 0
    /// Answers whose charge could not be told apart from others', or whose rule was one too many.
    package var unjudgedAnswers: Int64 = 0
    /// Decisions without a trace where there should be one.
    package var untracedAnswers: Int64 = 0
    /// Limits whose windows are not of a kind that is judged.
    package var unjudgedRules: Set<String> = []
    /// nil where they were not read; then `countersUnread` tells why, if they were to be.
    package var counters: Counters?
    package var countersUnread: String?
    /// How many times a promise was broken, counted once a promise and window.
    package var breakCount: Int64 = 0
    /// The first of them.
    package var breaks: [Break] = []

    /// By rule and start; the first `LoadBounds.maxWindowRows` of them.
    package var windowTotals: [WindowTotal] = []

    package init() {}

    package var isKept: Bool { breakCount == 0 }
}
