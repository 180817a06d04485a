import SluicePolicy
import StoreModel
import Support
import Testing

@testable import SluiceEngine

/// Limits of patterns, as they are counted.
@Suite(.serialized) struct PatternCountingTests {
    private func policy(_ tools: String) throws -> Policy {
        try PolicyDocument.parse(#"{"version":"1","default":"deny","tools":{\#(tools)}}"#.utf8, file: "p.json")
    }

    @Test(arguments: [true, false])
    func toolsOfAPatternShareItsCounter(usesStore: Bool) throws {
        var rig = LimiterRig(
            try policy(#""git_*":{"limits":[{"counter":"c","window":"minute","max":3}]},"git_log":{}"#),
            usesStore: usesStore)
        #expect(rig.decide("git_a").remaining == 2 && rig.decide("git_b").remaining == 1)
        #expect(rig.decide("git_*").remaining == 0)
        let denied = rig.decide("git_c")
        #expect(!denied.allowed && denied.rule == "/tools/git_*/limits/c")
        #expect(rig.decide("git_log").allowed && !rig.decide("gi").allowed)
        #expect(rig.limiter.counterCount == 1)
    }

    @Test(arguments: [true, false])
    func orEachToolHasItsOwn(usesStore: Bool) throws {
        let limits = #""limits":[{"counter":"c","window":"minute","max":1}]"#
        var rig = LimiterRig(
            try policy(#""git_*":{"each_tool":true,\#(limits)}"#), usesStore: usesStore)
        #expect(rig.decide("git_a").allowed && rig.decide("git_b").allowed && rig.decide("git_*").allowed)
        #expect(rig.decide("git_a").verdict == .limit && rig.decide("git_*").verdict == .limit)
        // A tool that is listed by its name later keeps its count.
        rig.limiter.replacePolicies(PolicySet(single: try policy(#""git_a":{\#(limits)}"#)))
        #expect(rig.decide("git_a").verdict == .limit)
    }

    /// A pattern's counter is no tool's, whatever the tool is called.
    @Test func noToolsNameForgesAPattern() throws {
        var rig = LimiterRig(
            try policy(#""a*":{"limits":[{"counter":"c","window":"minute","max":3}]}"#))
        _ = rig.decide("a*")
        func container(_ spelt: String) -> Limit.Container? {
            CounterKey("sluice:2:{g}:\(spelt):c:f60:0".utf8, in: "sluice")?.container
        }
        #expect(container("a*") == .pattern("a*") && container("a%2A") == .tool("a*"))
        #expect(rig.limiter.table.counters[0].key.starts(with: "sluice:2:{g}:a*:c:".utf8))
        // A pattern for every tool is not the container of limits over all tools.
        #expect(container("*") == .allTools && container("**") == .pattern("*") && container("***") == .pattern("**"))
        #expect(CounterKey.spelt(.pattern("*")) == Array("**".utf8) && container("%2A") == .tool("*"))
    }
}
