/// The oracle's findings.
package struct OracleReport: Sendable, Equatable {
    /// One promise that one window broke.
    package struct Break: Sendable, Equatable {
        package enum Promise: String, Sendable, CaseIterable {
            /// Shared answers admitted more than the maximum.
            case neverOver = "never over"
            /// Two admitted answers report the same units of the usage.
            case everyChargeCounts = "every charge counts"
            /// The store's counter differs from the admissions: something was charged twice, or not at all.
            case chargedOnce = "charged once"
            /// A check was denied although it fitted.
            case neverNeedlesslyUnder = "never needlessly under"
            /// A window denied checks before its maximum was admitted.
            case fullMeansFull = "full means full"
            /// A sidecar admitted more than its share during an outage of Redis.
            case localWithinShare = "local within its share"
            /// All sidecars together admitted more than the maximum plus what they could not see of each other.
            case totalWithinBound = "total within its bound"
            /// A sidecar used Redis again without writing back its local admissions.
            case settledUp = "settled up"
        }

        package var promise: Promise
        /// The identity that is counted; see `LoadSettings.subjectName`.
        package var subject: Int
        package var rule: String
        package var windowStartMs: Int64
        /// The observation and the promise, as the end of a sentence.
        package var facts: String

        package init(promise: Promise, subject: Int, rule: String, windowStartMs: Int64, facts: String) {
            self.promise = promise
            self.subject = subject
            self.rule = rule
            self.windowStartMs = windowStartMs
            self.facts = facts
        }
    }

    /// The admissions of one rule in one window, over all identities.
    package struct WindowTotal: Sendable, Equatable {
        package var rule: String
        package var startMs: Int64
        package var identities: Int64 = 0
        /// The sum of the identities' maxima.
        package var limit: Int64 = 0
        /// Costs admitted by `shared`, `lease` and `cache`, and by `local`.
        package var shared: Int64 = 0
        package var local: Int64 = 0
        /// The highest share of its maximum that one identity got.
        package var fullestShare = 0.0
        /// Whether the window of some identity broke a promise.
        package var isBroken = false

        package init(rule: String, startMs: Int64) {
            self.rule = rule
            self.startMs = startMs
        }
    }

    /// The store's counters at the end compared with the admissions.
    package struct Counters: Sendable, Equatable {
        package var origin: StoredUsages.Origin
        /// Whether there were more than were read.
        package var isTruncated: Bool
        /// Windows whose counter equals the admissions, and those where it differs.
        package var agreeing: Int64 = 0
        package var differing: Int64 = 0
        /// Windows with local answers whose counter differs from all admissions.
        package var notSettled: Int64 = 0
        /// Windows that cannot be compared: answers were lost, or others may have charged them before the run.
        package var unknown: Int64 = 0
        /// The first windows without complete write-backs.
        package var firstNotSettled: [Break] = []

        package init(origin: StoredUsages.Origin, isTruncated: Bool = false) {
            self.origin = origin
            self.isTruncated = isTruncated
        }
    }

    /// Decisions that were examined.
    package var answers: Int64 = 0
    /// Windows that were examined, over all identities and rules.
    package var windows: Int64 = 0
    /// Windows that lie completely in the run, denied a check, and whose admissions were all seen.
    package var fullWindows: Int64 = 0
    /// Those of them that admitted exactly the maximum (no further check fitted).
    package var exactWindows: Int64 = 0
    /// Windows with settlements whose usages were judged.
    package var reservedWindows: Int64 = 0
    /// Windows with local admissions.
    package var localWindows: Int64 = 0
    /// Those of them in which a sidecar used the store again and its local admissions were not in the usage.
    package var unsettledWindows: Int64 = 0
    /// Answers for windows that had been judged already; they are not judged.
    package var lateAnswers: Int64 = 0
    /// Answers whose charge could not be distinguished from others', or whose rule exceeded the bound.
    package var unjudgedAnswers: Int64 = 0
    /// Decisions without the expected trace.
    package var untracedAnswers: Int64 = 0
    /// Limits whose windows cannot be judged.
    package var unjudgedRules: Set<String> = []
    /// nil if they were not read; `countersUnread` then has the reason, if they were to be.
    package var counters: Counters?
    package var countersUnread: String?
    /// The number of broken promises, counted once per promise and window.
    package var breakCount: Int64 = 0
    /// The first of them.
    package var breaks: [Break] = []

    /// By rule and start; the first `LoadBounds.maxWindowRows` of them.
    package var windowTotals: [WindowTotal] = []

    package init() {}

    package var isKept: Bool { breakCount == 0 }
}
