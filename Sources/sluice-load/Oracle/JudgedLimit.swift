package import SluicePolicy

/// What the oracle knows of a limit beside what answers tell.
package struct JudgedLimit: Sendable, Equatable {
    /// The maximum to judge by; nil for the one that answers name.
    package var max: Int64?
    /// Whether its tallies and windows are what the oracle understands: a fixed window that is enforced. What others
    /// admit is measured, and not judged.
    package var isJudged: Bool

    package init(max: Int64? = nil, isJudged: Bool = true) {
        self.max = max
        self.isJudged = isJudged
    }

    /// The limits of a document by the path that answers name them by.
    /// - Parameter bindsMaximum: whether its maxima are to be judged by, whatever answers say.
    package static func limits(of policy: Policy, bindsMaximum: Bool) -> [String: JudgedLimit] {
        let all = policy.allToolsLimits + policy.tools.values.flatMap(\.limits)
        let judged = all.map { limit in
            let isFixedWindow = if case .fixedWindow = limit.algorithm { true } else { false }
            return (
                limit.rule,
                JudgedLimit(max: bindsMaximum ? limit.max : nil, isJudged: isFixedWindow && limit.mode == .enforce)
            )
        }
        return Dictionary(judged, uniquingKeysWith: { first, _ in first })
    }
}
