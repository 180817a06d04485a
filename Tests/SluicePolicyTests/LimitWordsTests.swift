import SluicePolicy
import Testing

@Suite struct LimitWordsTests {
    @Test(
        arguments: [
            (.tool("opencode_run"), 10, 60, .grant, "opencode_run is limited to 10 calls per minute for this grant."),
            (.tool("opencode_run"), 10, 60, .session, "opencode_run is limited to 10 calls per minute per session."),
            (.tool("x"), 1, 1, .grant, "x is limited to 1 call per second for this grant."),
            (.tool("x"), 2, 86_400, .session, "x is limited to 2 calls per day per session."),
            (.tool("x"), 5, 90, .grant, "x is limited to 5 calls per 90 seconds for this grant."),
            (.tool("opencode_run"), 0, 60, .grant, "opencode_run is blocked by this policy."),
            (.tool("a\nb"), 0, 60, .session, #"a\u000ab is blocked by this policy."#),
            (.allTools, 100, 3600, .grant, "This grant is limited to 100 calls per hour over all tools."),
            (.allTools, 1, 3600, .session, "Each session is limited to 1 call per hour over all tools."),
            (.allTools, 0, 3600, .grant, "Every tool is blocked by this policy."),
        ] as [(Limit.Container, Int64, Int64, Limit.Scope, String)])
    func denialMessage(container: Limit.Container, max: Int64, seconds: Int64, scope: Limit.Scope, message: String) {
        func limit(onDeny: String?) -> Limit {
            Limit(
                container: container, counter: "c", window: FixedWindow(seconds: seconds), max: max, scope: scope,
                rule: "/r", onDeny: onDeny)
        }
        #expect(limit(onDeny: nil).denialMessage == message)
        #expect(limit(onDeny: "Come back tomorrow.").denialMessage == "Come back tomorrow.")
    }

    @Test(
        arguments: [
            (1, "second"), (2, "2 seconds"), (60, "minute"), (90, "90 seconds"), (3600, "hour"), (86_400, "day"),
            (604_800, "604800 seconds"),
        ] as [(Int64, String)])
    func windowName(seconds: Int64, name: String) {
        let limit = Limit(
            container: .allTools, counter: "c", window: FixedWindow(seconds: seconds), max: 1, scope: .grant,
            rule: "/r",
            onDeny: nil)
        #expect(limit.windowName == name)
    }
}
