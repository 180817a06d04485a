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
            (.tool("x"), 5, 60, .server, "x is limited to 5 calls per minute per server."),
            (.tool("x"), 5, 60, .global, "x is limited to 5 calls per minute for all grants together."),
            (.tool("x"), 5, 60, .attribute("team"), "x is limited to 5 calls per minute per team."),
            (.tool("x"), 5, 60, .attribute("a\nb"), #"x is limited to 5 calls per minute per a\u000ab."#),
            (.tool("opencode_run"), 0, 60, .grant, "opencode_run is blocked by this policy."),
            (.tool("a\nb"), 0, 60, .session, #"a\u000ab is blocked by this policy."#),
            (.allTools, 100, 3600, .grant, "This grant is limited to 100 calls per hour over all tools."),
            (.allTools, 1, 3600, .session, "Each session is limited to 1 call per hour over all tools."),
            (.allTools, 9, 3600, .server, "Each server is limited to 9 calls per hour over all tools."),
            (.allTools, 9, 3600, .global, "All grants together are limited to 9 calls per hour over all tools."),
            (.allTools, 9, 3600, .attribute("team"), "Each team is limited to 9 calls per hour over all tools."),
            (.allTools, 0, 3600, .grant, "Every tool is blocked by this policy."),
        ] as [(Limit.Container, Int64, Int64, Limit.Scope, String)])
    func denialMessage(container: Limit.Container, max: Int64, seconds: Int64, scope: Limit.Scope, message: String) {
        func limit(onDeny: String?) -> Limit {
            Limit(
                container: container, counter: "c", window: .seconds(seconds), max: max, scope: scope, rule: "/r",
                onDeny: onDeny)
        }
        #expect(limit(onDeny: nil).denialMessage == message)
        #expect(limit(onDeny: "Come back tomorrow.").denialMessage == "Come back tomorrow.")
    }

    @Test(
        arguments: [
            (100_000, "tokens", "x is limited to 100,000 tokens per day for this grant."),
            (1, "tokens", "x is limited to 1 token per day for this grant."),
            (1_234, "US cents", "x is limited to 1,234 US cents per day for this grant."),
            (999, "kB", "x is limited to 999 kB per day for this grant."),
            (1, "kB", "x is limited to 1 kB per day for this grant."),
            (0, "tokens", "x is blocked by this policy."),
        ] as [(Int64, String, String)])
    func unit(max: Int64, unit: String, message: String) {
        let limit = Limit(
            container: .tool("x"), counter: "c", window: .seconds(86_400), max: max, scope: .grant, rule: "/r",
            onDeny: nil, unit: unit)
        #expect(limit.denialMessage == message)
    }

    @Test(
        arguments: [
            (.session, "x is limited to 3 calls per hour per session over all grants.", "Each session is"),
            (.server, "x is limited to 3 calls per hour per server over all grants.", "Each server is"),
            (.attribute("org"), "x is limited to 3 calls per hour per org over all grants.", "Each org is"),
        ] as [(Limit.Scope, String, String)])
    func acrossGrants(scope: Limit.Scope, message: String, subject: String) {
        func limit(_ container: Limit.Container) -> Limit {
            Limit(
                container: container, counter: "c", window: .seconds(3600), max: 3, scope: scope, rule: "/r",
                onDeny: nil, acrossGrants: true)
        }
        #expect(limit(.tool("x")).denialMessage == message)
        #expect(
            limit(.allTools).denialMessage == "\(subject) limited to 3 calls per hour over all tools and grants.")
    }

    @Test(
        arguments: [
            (.fixedWindow, "60s", "10 per minute", "10 calls per minute"),
            (.fixedWindow, "86400s", "10 per day", "10 calls per day"),
            (.fixedWindow, "day@Europe/Berlin", "10 per day (Europe/Berlin)", "10 calls per day (Europe/Berlin)"),
            (.fixedWindow, "week", "10 per week", "10 calls per week"),
            (
                .fixedWindow, "month@Asia/Kolkata", "10 per month (Asia/Kolkata)",
                "10 calls per month (Asia/Kolkata)"
            ),
            (.slidingWindow, "1s", "10 in any second", "10 calls in any second"),
            (.slidingWindow, "60s", "10 in any 60 seconds", "10 calls in any 60 seconds"),
            (.slidingWindow, "3600s", "10 in any 60 minutes", "10 calls in any 60 minutes"),
            (.slidingWindow, "7200s", "10 in any 2 hours", "10 calls in any 2 hours"),
            (.slidingWindow, "86400s", "10 in any 24 hours", "10 calls in any 24 hours"),
            (.slidingWindow, "week", "10 in any 7 days", "10 calls in any 7 days"),
            (
                .slidingWindow, "day@Europe/Berlin", "10 in any day (Europe/Berlin)",
                "10 calls in any day (Europe/Berlin)"
            ),
            (.slidingLog, "60s", "10 in any 60 seconds", "10 calls in any 60 seconds"),
            (.concurrency, "endless", "10 at once", "10 calls at once"),
        ] as [(Algorithm, String, String, String)])
    func algorithms(algorithm: Algorithm, window: String, rate: String, calls: String) throws {
        try expect(algorithm, window: window, rate: rate, calls: calls)
    }

    @Test(arguments: [
        (10, ""), (25, " (in bursts of up to 25)"), (3, " (in bursts of up to 3)"), (1, " (evenly spaced)"),
    ])
    func buckets(burst: Int64, words: String) throws {
        try expect(
            .tokenBucket, burst: burst, window: "60s", rate: "10 per minute", calls: "10 calls per minute\(words)")
    }

    private func expect(
        _ algorithm: Algorithm, burst: Int64? = nil, window: String, rate: String, calls: String
    ) throws {
        let limit = Limit(
            container: .tool("x"), counter: "c", window: try #require(Window(name: window)), max: 10, scope: .grant,
            rule: "/r", onDeny: nil, algorithm: algorithm, burst: burst)
        #expect(limit.rate == rate)
        #expect(limit.denialMessage == "x is limited to \(calls) for this grant.")
    }

    @Test(
        arguments: [
            (1, "second"), (2, "2 seconds"), (60, "minute"), (90, "90 seconds"), (120, "2 minutes"), (3600, "hour"),
            (5400, "90 minutes"), (21_600, "6 hours"), (86_400, "day"), (172_800, "2 days"), (604_800, "7 days"),
        ] as [(Int64, String)])
    func windowWords(seconds: Int64, words: String) { #expect(Window.seconds(seconds).words == words) }
}
