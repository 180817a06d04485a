import SluicePolicy

/// The oracle's knowledge of a limit besides the answers.
struct JudgedLimit: Sendable, Equatable {
    /// The maximum to judge by; nil for the one in the answers.
    var max: Int64?
    /// Whether the oracle can judge its usages and windows: only fixed windows that are enforced. Admissions of other
    /// limits are measured, and not judged.
    var isJudged: Bool = true
    /// Whether each tool, or each server, has a counter of its own.
    var eachTool = false
    var eachServer = false

    /// The limits of a document by their path in answers.
    /// - Parameter bindsMaximum: whether the document's maxima are judged by, whatever answers say.
    static func limits(of policy: Policy, bindsMaximum: Bool) -> [String: JudgedLimit] {
        let judged = policy.allLimits.map { limit in
            var judged = JudgedLimit(
                max: bindsMaximum ? limit.max : nil,
                isJudged: limit.algorithm == .fixedWindow && limit.mode == .enforce)
            judged.eachServer = limit.container.server == Policy.everyServer
            if case .eachTool = limit.container.withoutServer { judged.eachTool = true }
            return (limit.rule, judged)
        }
        return Dictionary(judged, uniquingKeysWith: { first, _ in first })
    }
}

/// A limit that counts a kind of check, with its windows: answers to charges do not name them.
struct CountedLimit: Sendable, Equatable {
    var rule: String
    var window: Window
    var max: Int64
    /// It counts calls, and so no charges.
    var countsCalls: Bool
    /// Where its counter is.
    var container: Limit.Container
    var counter: String
}

extension LoadSettings {
    /// Takes the limits of a document.
    mutating func setLimits(of policy: Policy, bindsMaximum: Bool) {
        limits = JudgedLimit.limits(of: policy, bindsMaximum: bindsMaximum)
        countedLimits = kinds.map { kind in
            let counted = policy.ruling(forTool: kind.tool, server: kind.server).limits
            return counted.filter { limits[$0.rule]?.isJudged == true }.map { limit in
                CountedLimit(
                    rule: limit.rule, window: limit.window, max: limit.max, countsCalls: limit.counts == .calls,
                    container: limit.container, counter: limit.counter)
            }
        }
    }
}

/// Which of a run's kinds of checks have a counter together, of limits that count each tool or each server for itself.
struct CountedKinds: Sendable {
    private let kinds: [CheckKind]
    /// By kind: the first with the same tool, with the same server, and with both.
    private let sameTool: [Int]
    private let sameServer: [Int]
    private let sameBoth: [Int]

    /// All of a limit's kinds have one counter.
    static let together = -1

    init(_ kinds: [CheckKind] = []) {
        self.kinds = kinds
        func firsts<Key: Hashable>(_ key: (CheckKind) -> Key) -> [Int] {
            var first: [Key: Int] = [:]
            return kinds.indices.map { index in
                let key = key(kinds[index])
                if let found = first[key] { return found }
                first[key] = index
                return index
            }
        }
        sameTool = firsts { $0.tool }
        sameServer = firsts { $0.server }
        sameBoth = firsts { [$0.tool, $0.server] }
    }

    /// The number of the counter that a kind of check has; `together` for all.
    func part(of kind: Int, _ limit: JudgedLimit) -> Int {
        guard limit.eachTool || limit.eachServer, kind < kinds.count else { return Self.together }
        return limit.eachTool ? (limit.eachServer ? sameBoth : sameTool)[kind] : sameServer[kind]
    }

    /// The name of a limit's counter in reports.
    func name(_ rule: String, part: Int, _ limit: JudgedLimit) -> String {
        guard part >= 0 else { return rule }
        return Self.name(
            rule, tool: limit.eachTool ? kinds[part].tool : nil, server: limit.eachServer ? kinds[part].server : nil)
    }

    static func name(_ rule: String, tool: String?, server: String?) -> String {
        rule + (tool.map { ", tool \($0)" } ?? "") + (server.map { ", server \($0)" } ?? "")
    }
}
