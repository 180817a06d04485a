import SluicePolicy
import Testing

/// What `policy check` says of a valid document.
@Suite struct PolicyAdviceTests {
    private static func limit(_ max: Int, _ rest: String = #","algorithm":"sliding_window","window":60"#) -> String {
        #"{"counter":"c","max":\#(max)\#(rest)}"#
    }

    private static func advice(_ limit: String) throws -> [PolicyAdvice] {
        PolicyAdvice.all(of: try parse(document(limit: limit), features: .all))
    }

    @Test(arguments: [1, 10, 19])
    func aSlidingWindowWithASmallMaximumIsBetterALog(max: Int) throws {
        let advice = try Self.advice(Self.limit(max))
        #expect(advice.map(\.rule) == ["/tools/x/limits/c"])
        #expect(
            advice.first?.line
                == "advice: /tools/x/limits/c: a sliding window of max \(max) is a rough estimate, and gives steady callers"
                + #" less than their rate; use the algorithm "sliding_log", which is exact"#)
    }

    @Test(
        arguments: [
            limit(20), limit(5, #","window":60"#), limit(5, #","window":60,"algorithm":"sliding_log""#),
            limit(5, #","window":60,"algorithm":"token_bucket""#), limit(5, #","algorithm":"concurrency""#),
            // A log has no such window.
            limit(5, #","window":"month","algorithm":"sliding_window""#),
            limit(5, #","window":"day","timezone":"Europe/Berlin","algorithm":"sliding_window""#),
        ])
    func ofAllElseNothingIsSaid(limit: String) throws { #expect(try Self.advice(limit) == []) }

    /// What is legal and surely not meant.
    @Test(
        arguments: [
            (
                #""tools":{"x":{"limits":[\#(limit(0, #","window":60"#))]}}"#,
                #"/tools/x/limits/c: a max of 0 blocks every call; the action "deny", or "hide", says so plainly"#
            ),
            (
                #""tools":{"x":{"action":"deny","rate_limit":"1/day"}}"#,
                "/tools/x: it is denied, so its limits count nothing"
            ),
            (
                #""hide":["x*"],"tools":{"xy":{}}"#, "/tools/xy: it is hidden, so this rule is never used"
            ),
            (
                #""tools":{"x":{"limits":[{"counter":"a","max":10,"window":"minute"},{"counter":"b","max":600,"window":"hour"}]}}"#,
                "/tools/x/limits/b: /tools/x/limits/a never lets it fill up, so it has no effect"
            ),
            (
                #""tools":{"x":{"limits":[{"counter":"a","max":10,"window":"hour"},{"counter":"b","max":20,"window":"minute"}]}}"#,
                "/tools/x/limits/b: /tools/x/limits/a never lets it fill up, so it has no effect"
            ),
            (
                #""all_tools":{"limits":[{"counter":"a","max":9,"window":60}]},"tools":{"x":{"limits":[\#(limit(9, #","window":60"#))]}}"#,
                "/tools/x/limits/c: /all_tools/limits/a never lets it fill up, so it has no effect"
            ),
            (
                #""servers":{"s":{"tools":{"x":{"action":"deny","rate_limit":"1/day"}}}}"#,
                "/servers/s/tools/x: it is denied, so its limits count nothing"
            ),
        ])
    func warnings(members: String, line: String) throws {
        let policy = try parse(document(members: members), features: .all)
        #expect(PolicyAdvice.all(of: policy).map(\.line) == ["warning: " + line])
    }

    @Test(
        arguments: [
            #"{"counter":"a","max":10,"window":"minute"},{"counter":"b","max":599,"window":"hour"}"#,
            #"{"counter":"a","max":10,"window":"minute","scope":"session"},{"counter":"b","max":600,"window":"hour"}"#,
            #"{"counter":"a","max":10,"window":"minute","counts":"calls"},{"counter":"b","max":100000,"window":"day"}"#,
            #"{"counter":"a","max":10,"window":"minute"},{"counter":"b","max":100000,"window":"day","counts":"calls"}"#,
            #"{"counter":"a","max":30,"window":"hour"},{"counter":"b","max":20,"window":"minute"}"#,
            #"{"counter":"a","max":10,"window":"minute","mode":"shadow"},{"counter":"b","max":10,"window":"minute"}"#,
            #"{"counter":"a","max":10,"window":"minute"},{"counter":"b","max":100,"window":"90s"}"#,
            #"{"counter":"a","max":10,"window":"minute","algorithm":"token_bucket"},{"counter":"b","max":50,"window":"minute"}"#,
        ])
    func limitsThatBothCount(limits: String) throws {
        let text = document(tool: #"{"limits":[\#(limits)]}"#)
        #expect(PolicyAdvice.all(of: try parse(text, features: .all)) == [])
    }

    @Test func theSummarySaysItOnlyWhereItIsAsked() throws {
        let policy = try parse(document(limit: Self.limit(3)), features: .all)
        let summary = PolicySummary(policy, file: "policy.json")
        #expect(!summary.render().contains("advice"))
        #expect(summary.render(advises: true).contains("\nadvice: /tools/x/limits/c: a sliding window of max 3 "))
        #expect(summary.render(advises: true).hasSuffix("\n\npolicy.json: ok, 1 tool, 1 limit, default deny\n"))
        let lines = { (text: String) in text.split(separator: "\n").count }
        #expect(lines(summary.render(advises: true)) == lines(summary.render()) + 1)
    }
}
