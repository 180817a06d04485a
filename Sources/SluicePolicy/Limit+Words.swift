extension Limit {
    /// The window as a person says it after "per": `minute`, or `90 seconds`.
    package var windowName: String {
        switch window.seconds {
        case 1: "second"
        case 60: "minute"
        case 3600: "hour"
        case 86_400: "day"
        default: "\(window.seconds) seconds"
        }
    }

    /// What this limit admits: `10 per minute`.
    package var rate: String { "\(max) per \(windowName)" }

    /// One sentence fit to show the agent when this limit denies: the document's own, if it has one.
    package var denialMessage: String {
        if let onDeny { return onDeny }
        let calls = max == 1 ? "1 call" : "\(max) calls"
        switch container {
        case .tool(let tool):
            let tool = tool.onOneLine
            if max == 0 { return "\(tool) is blocked by this policy." }
            switch scope {
            case .grant: return "\(tool) is limited to \(calls) per \(windowName) for this grant."
            case .session: return "\(tool) is limited to \(calls) per \(windowName) per session."
            }
        case .allTools:
            if max == 0 { return "Every tool is blocked by this policy." }
            switch scope {
            case .grant: return "This grant is limited to \(calls) per \(windowName) over all tools."
            case .session: return "Each session is limited to \(calls) per \(windowName) over all tools."
            }
        }
    }
}
