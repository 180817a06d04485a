/// The oracle's findings.
struct OracleReport: Sendable, Equatable {
    /// One promise that one window broke.
    struct Break: Sendable, Equatable {
        enum Promise: String, Sendable, CaseIterable {
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
        }

        var promise: Promise
        /// The identity that is counted; see `LoadSettings.subjectName`.
        var subject: Int
        var rule: String
        var windowStartMs: Int64
        /// The observation and the promise, as the end of a sentence.
        var facts: String
    }

    /// The admissions of one rule in one window, over all identities.
    struct WindowTotal: Sendable, Equatable {
        var rule: String
        var startMs: Int64
        var identities: Int64 = 0
        /// The sum of the identities' maxima.
        var limit: Int64 = 0
        /// Costs admitted by `shared`, `lease` and `cache`, and by `local`.
        var shared: Int64 = 0
        var local: Int64 = 0
        /// The highest share of its maximum that one identity got.
        var fullestShare = 0.0
        /// Whether the window of some identity broke a promise.
        var isBroken = false
    }

    /// The store's counters at the end compared with the admissions.
    struct Counters: Sendable, Equatable {
        var origin: StoredUsages.Origin
        /// Whether there were more than were read.
        var isTruncated: Bool = false
        /// Windows whose counter equals the admissions, and those where it differs.
        var agreeing: Int64 = 0
        var differing: Int64 = 0
        /// Windows with local answers whose counter differs from all admissions.
        var notSettled: Int64 = 0
        /// Windows that cannot be compared: answers were lost, or others may have charged them before the run.
        var unknown: Int64 = 0
        /// The first windows without complete write-backs.
        var firstNotSettled: [Break] = []
    }

    /// Decisions that were examined.
    var answers: Int64 = 0
    /// Windows that were examined, over all identities and rules.
    var windows: Int64 = 0
    /// Windows that lie completely in the run, denied a check, and whose admissions were all seen.
    var fullWindows: Int64 = 0
    /// Those of them that admitted exactly the maximum (no further check fitted).
    var exactWindows: Int64 = 0
    /// Windows with settlements whose usages were judged.
    var reservedWindows: Int64 = 0
    /// Windows with local admissions.
    var localWindows: Int64 = 0
    /// Those of them in which a sidecar used the store again and its local admissions were not in the usage.
    var unsettledWindows: Int64 = 0
    /// Answers for windows that had been judged already; they are not judged.
    var lateAnswers: Int64 = 0
    /// Answers whose charge could not be distinguished from others', or whose rule exceeded the bound.
    var unjudgedAnswers: Int64 = 0
    /// Decisions without the expected trace.
    var untracedAnswers: Int64 = 0
    /// Limits whose windows cannot be judged.
    var unjudgedRules: Set<String> = []
    /// nil if they were not read; `countersUnread` then has the reason, if they were to be.
    var counters: Counters?
    var countersUnread: String?
    /// The number of broken promises, counted once per promise and window.
    var breakCount: Int64 = 0
    /// The first of them.
    var breaks: [Break] = []

    /// By rule and start; the first `LoadBounds.maxWindowRows` of them.
    var windowTotals: [WindowTotal] = []

    var isKept: Bool { breakCount == 0 }
}
