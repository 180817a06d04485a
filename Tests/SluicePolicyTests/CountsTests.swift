import SluicePolicy
import Testing

/// What a limit counts of each check, and the word for it.
@Suite struct CountsTests {
    private func limit(_ members: String) throws -> Limit {
        let text = document(limit: #"{"counter":"c","max":5,"window":60,\#(members)}"#)
        return try #require(try parse(text, features: .all).tools["x"]?.limits.first)
    }

    @Test func areReadWithAnyAlgorithmOfCosts() throws {
        #expect(try limit(#""scope":"grant""#).counts == .cost)
        for algorithm in ["fixed_window", "sliding_window", "sliding_log", "token_bucket"] {
            let limit = try limit(#""algorithm":"\#(algorithm)","counts":"calls","unit":"runs""#)
            #expect(limit.counts == .calls && limit.unit == "runs")
        }
    }

    @Test(
        arguments: [
            (
                #"{"counter":"c","max":1,"algorithm":"concurrency","counts":"calls"}"#,
                #"50: /counts: found "counts" with the algorithm "concurrency", expected no "counts": a call takes one slot, whatever its cost"#
            ),
            (
                #"{"counter":"c","max":1,"window":1,"counts":"cals"}"#,
                #"44: /counts: found "cals", expected "cost" or "calls"; did you mean "calls"?"#
            ),
            (
                #"{"counter":"c","max":1,"window":1,"unit":""}"#,
                #"42: /unit: found "", expected a word such as "tokens", 1 to 64 bytes on one line"#
            ),
            (
                #"{"counter":"c","max":1,"window":1,"unit":3}"#,
                #"42: /unit: found 3, expected a word such as "tokens", 1 to 64 bytes on one line"#
            ),
        ] as [(String, String)])
    func faults(text: String, line: String) {
        #expect(
            faultLines(document(limit: text), features: .all).map { String($0.split(separator: ":", maxSplits: 2)[2]) }
                .map { $0.replacing("/tools/x/limits/0", with: "") } == [line])
    }

    /// Editing either keeps the count.
    @Test func areDiffed() throws {
        let old = try parse(document(limit: #"{"counter":"c","max":5,"window":60}"#))
        let new = try parse(
            document(limit: #"{"counter":"c","max":5,"window":60,"counts":"calls","unit":"runs"}"#))
        let limits = (old.tools["x"]?.limits ?? []) + (new.tools["x"]?.limits ?? [])
        #expect(limits.count == 2 && limits[0].identity == limits[1].identity)
    }
}
