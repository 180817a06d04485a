/// A document's valid parts that could be better: `policy check` shows them and passes.
package struct PolicyAdvice: Sendable, Equatable {
    /// The limit's path in the document.
    package let rule: String
    /// One sentence.
    package let text: String

    /// The advice on a policy's limits: those over all tools first, then by tool.
    package static func all(of policy: Policy) -> [PolicyAdvice] {
        PolicyListing(policy).allEntries.sorted { $0.subject == .allTools && $1.subject != .allTools }
            .flatMap(\.limits).compactMap { PolicyAdvice($0) }
    }

    /// nil if there is nothing to improve.
    private init?(_ limit: Limit) {
        // A log has no window of uneven length, and a limit that admits nothing has no rate.
        guard limit.algorithm == .slidingWindow, 1..<PolicyBounds.leastSlidingMax ~= limit.max,
            limit.window.fixedLengthMs != nil
        else { return nil }
        rule = limit.rule
        text =
            "a sliding window of max \(limit.max) is a rough estimate, and gives steady callers less than their rate;"
            + " use the algorithm \(Algorithm.slidingLog.name.quoted), which is exact"
    }

    /// As a line of text: `advice: /tools/x/limits/c: ...`.
    package var line: String { "advice: \(rule.onOneLine): \(text)" }
}
