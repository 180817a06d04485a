import SluiceDecisionLog
import SluiceProtocol

/// How much of each tool each grant used in its busiest minute, hour and day.
struct ToolDemand {
    enum Window: Int, CaseIterable {
        case minute, hour, day

        var ms: Int64 {
            switch self {
            case .minute: 60_000
            case .hour: 3_600_000
            case .day: 86_400_000
            }
        }

        var name: String { "\(self)" }
    }

    /// What one grant used of one tool, in one kind of window.
    private struct Usage {
        var window: Int64 = -1
        var used: Int64 = 0
        var most: Int64 = 0

        mutating func add(_ cost: Int64, window: Int64) {
            if window != self.window { (self.window, used) = (window, 0) }
            let (sum, overflows) = used.addingReportingOverflow(cost)
            used = overflows ? .max : sum
            most = max(most, used)
        }
    }

    private struct Tool {
        /// One for each kind of window, by grant.
        var usages: [[UInt8]: [Usage]] = [:]
        var calls: Int64 = 0
    }

    private var tools: [[UInt8]: Tool] = [:]
    private var pairs = 0
    private(set) var calls: Int64 = 0
    private(set) var firstMs: Int64 = -1
    private(set) var lastMs: Int64 = -1
    /// Calls of grants and tools beyond the bound.
    private(set) var uncounted: Int64 = 0

    /// Most grants, summed over the tools: some 300 bytes each.
    private static let maxPairs = 4_000_000

    mutating func count(_ record: DecisionLogRecord, _ kind: DecisionLogRecord.Kind, in bytes: [UInt8]) {
        guard kind == .decision, record.action == .check || record.action == .charge, record.cost > 0 else { return }
        if record.action == .check {
            guard case .decided(.allow) = record.verdict else { return }
        }
        if firstMs < 0 { firstMs = record.timeMs }
        lastMs = max(lastMs, record.timeMs)
        calls += 1
        let (name, grant) = (Array(bytes[record.tool]), Array(bytes[record.grant]))
        let isNew = tools[name]?.usages[grant] == nil
        guard !isNew || pairs < Self.maxPairs else {
            uncounted += 1
            return
        }
        if isNew { pairs += 1 }
        tools[name, default: Tool()].calls += 1
        for window in Window.allCases {
            tools[name]?.usages[grant, default: Array(repeating: Usage(), count: Window.allCases.count)][
                window.rawValue
            ]
            .add(record.cost, window: record.timeMs / window.ms)
        }
    }

    /// What one tool's grants used in their busiest windows of one kind.
    struct Row {
        let tool: String
        let window: Window
        let calls: Int64
        let grants: Int
        /// Half of the grants used at most this.
        let median: Int64
        /// What 99 of 100 grants never went beyond: the least such number that a grant used.
        let suggested: Int64
        let busiest: Int64
        /// Grants that a limit of `suggested` would have denied something.
        let grantsAbove: Int
    }

    /// By tool, the busiest first.
    var rows: [Row] {
        tools.sorted {
            ($1.value.calls, $0.key.text(0..<$0.key.count)) < ($0.value.calls, $1.key.text(0..<$1.key.count))
        }
        .flatMap { name, tool in
            Window.allCases.map { window in
                let most = tool.usages.values.map { $0[window.rawValue].most }.sorted()
                let suggested = most[(most.count * 99 + 99) / 100 - 1]
                return Row(
                    tool: name.text(0..<name.count), window: window, calls: tool.calls, grants: most.count,
                    median: most[(most.count - 1) / 2], suggested: suggested, busiest: most[most.count - 1],
                    grantsAbove: most.count { $0 > suggested })
            }
        }
    }
}
