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
        let judged = policy.allLimits.map { limit in
            // Several counters of one grant have the path of a limit that counts each tool, or each server, for itself.
            let isFixedWindow = limit.algorithm == .fixedWindow && !limit.container.isTemplate
            return (
                limit.rule,
                JudgedLimit(max: bindsMaximum ? limit.max : nil, isJudged: isFixedWindow && limit.mode == .enforce)
            )
        }
        return Dictionary(judged, uniquingKeysWith: { first, _ in first })
    }
}
