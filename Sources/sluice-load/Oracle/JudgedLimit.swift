import SluicePolicy

/// The oracle's knowledge of a limit besides the answers.
struct JudgedLimit: Sendable, Equatable {
    /// The maximum to judge by; nil for the one in the answers.
    var max: Int64?
    /// Whether the oracle can judge its usages and windows: only fixed windows that are enforced. Admissions of other
    /// limits are measured, and not judged.
    var isJudged: Bool = true

    /// The limits of a document by their path in answers.
    /// - Parameter bindsMaximum: whether the document's maxima are judged by, whatever answers say.
    static func limits(of policy: Policy, bindsMaximum: Bool) -> [String: JudgedLimit] {
        let all = policy.allToolsLimits + policy.tools.values.flatMap(\.limits)
        let judged = all.map { limit in
            let isFixedWindow = limit.algorithm == .fixedWindow
            return (
                limit.rule,
                JudgedLimit(max: bindsMaximum ? limit.max : nil, isJudged: isFixedWindow && limit.mode == .enforce)
            )
        }
        return Dictionary(judged, uniquingKeysWith: { first, _ in first })
    }
}
