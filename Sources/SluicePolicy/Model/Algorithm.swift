/// How a limit counts. The number is what the store's scripts know it by.
package enum Algorithm: Int64, Sendable, CaseIterable {
    /// One count per window, starting at 0.
    case fixedWindow = 0
    /// The usage of the open window, plus the part of the previous window's usage that a window of the open one's
    /// length, ending now, overlaps, rounded up. (Cloudflare, "How we built rate limiting capable of scaling to
    /// millions of domains", 2017.)
    case slidingWindow = 1
    /// Every charge with its time, which counts for a window's length: exact in any stretch of that length.
    case slidingLog = 4
    /// A bucket that each check fills by its cost. It leaks `max` in every window's length, evenly, and holds `burst`
    /// (0 only if `max` is 0). This is the generic cell rate algorithm (ITU-T I.371) in its leaky-bucket form.
    case tokenBucket = 2
    /// Calls in progress. Each takes one slot, whatever its cost, until it is released or was held for `holdMs`.
    case concurrency = 3

    package init?(name: String) {
        guard let algorithm = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = algorithm
    }

    /// As spelt in documents and keys.
    package var name: String {
        switch self {
        case .fixedWindow: "fixed_window"
        case .slidingWindow: "sliding_window"
        case .slidingLog: "sliding_log"
        case .tokenBucket: "token_bucket"
        case .concurrency: "concurrency"
        }
    }

    /// Whether a limit of this algorithm may have this window.
    package func allows(_ window: Window) -> Bool {
        switch self {
        case .fixedWindow, .slidingWindow: window != .endless
        case .tokenBucket, .slidingLog: window.fixedLengthMs != nil
        case .concurrency: window == .endless
        }
    }

    /// What a document that uses it needs.
    var needs: PolicyFeatures {
        switch self {
        case .fixedWindow: []
        case .slidingWindow: .slidingWindow
        case .slidingLog: .slidingLog
        case .tokenBucket: .tokenBucket
        case .concurrency: .concurrency
        }
    }
}
