import SluicePolicy
import StoreModel
import Support
import Testing

@testable import SluiceEngine

/// Groups, servers, hours and shadow rules, as they are decided and counted.
@Suite(.serialized) struct RuleCountingTests {
    private static func policy(_ members: String) throws -> Policy {
        try PolicyDocument.parse(#"{"version":"1","default":"deny",\#(members)}"#.utf8, file: "p.json")
    }

    private static func limit(_ counter: String, max: Int) -> String {
        #"{"counter":"\#(counter)","window":"minute","max":\#(max)}"#
    }

    /// The limits of a tool and of its groups are decided together: what one denies the others do not count.
    @Test(arguments: [true, false])
    func aGroupIsOneBudget(usesStore: Bool) throws {
        var rig = LimiterRig(
            try Self.policy(
                #""groups":{"g":{"tools":["a","b*"],"limits":[\#(Self.limit("g", max: 3))]}},"#
                    + #""tools":{"a":{"limits":[\#(Self.limit("c", max: 1))]},"b1":{},"b2":{},"z":{}}"#),
            usesStore: usesStore)
        #expect(rig.decide("a").allowed)
        #expect(rig.decide("a").rule == "/tools/a/limits/c")
        #expect(rig.decide("b1").remaining == 1 && rig.decide("b2").remaining == 0)
        #expect(rig.decide("b1").rule == "/groups/g/limits/g" && rig.decide("z").allowed)
    }

    @Test(arguments: [true, false])
    func serversCountApart(usesStore: Bool) throws {
        var rig = LimiterRig(
            try Self.policy(
                #""tools":{"t":{"limits":[\#(Self.limit("c", max: 1))]}},"#
                    + #""servers":{"s":{"tools":{"t":{"limits":[\#(Self.limit("c", max: 2))]},"d":{"action":"deny"}}},"#
                    + #""*":{"tools":{"t":{"limits":[\#(Self.limit("c", max: 1))]},"d":{}}}}"#),
            usesStore: usesStore)
        #expect(rig.decide("t").allowed && !rig.decide("t").allowed)
        #expect(rig.decide("t", server: "s").remaining == 1 && rig.decide("t", server: "s").remaining == 0)
        #expect(rig.decide("t", server: "s").rule == "/servers/s/tools/t/limits/c")
        for server in ["o", "p", "*"] {
            #expect(rig.decide("t", server: server).allowed && !rig.decide("t", server: server).allowed, "\(server)")
        }
        // Rulings that count nothing are cached by server, too, also where a session is named.
        for _ in 0..<2 {
            for session in [nil, "x"] {
                #expect(rig.decide("d", server: "s", session: session).rule == "/servers/s/tools/d/action")
                #expect(rig.decide("d", server: "o", session: session).rule == "/servers/*/tools/d")
                #expect(rig.decide("d", session: session).rule == "(default deny)")
            }
        }
    }

    /// The rig's time begins on Tuesday, 2023-11-14, at 22:14 UTC.
    private static let closesSoon = #""hours":{"from":"09:00","to":"22:15"}"#

    @Test(arguments: [true, false])
    func hoursOfACountedTool(usesStore: Bool) throws {
        var rig = LimiterRig(
            try Self.policy(
                #""tools":{"t":{\#(Self.closesSoon),"limits":[{"counter":"c","window":"month","max":5}]}}"#),
            usesStore: usesStore)
        #expect(rig.decide().remaining == 4)
        rig.pass(ms: 59_999)
        #expect(rig.decide().remaining == 3)
        rig.pass(ms: 1)
        for _ in 0..<2 {
            let denied = rig.decide()
            #expect(denied.verdict == .deny && denied.source == .policy && denied.rule == "/tools/t/hours")
            // Until 09:00 of the next day.
            #expect(denied.retryAfterMs == (10 * 60 + 45) * 60_000 && denied.messageHasWait)
        }
        rig.pass(ms: (10 * 60 + 45) * 60_000 - 1)
        #expect(rig.decide().retryAfterMs == 1)
        rig.pass(ms: 1)
        rig.tick()
        #expect(rig.decide().allowed)
    }

    @Test func hoursOfAToolWithoutLimits() throws {
        var rig = LimiterRig(try Self.policy(#""tools":{"t":{\#(Self.closesSoon)}}"#), usesStore: false)
        #expect(rig.decide().allowed && rig.decide().allowed)
        rig.pass(ms: 60_000)
        #expect(rig.decide().retryAfterMs == (10 * 60 + 45) * 60_000)
        rig.pass(ms: 1_000)
        #expect(rig.decide().retryAfterMs == (10 * 60 + 45) * 60_000 - 1_000)
        rig.pass(ms: (10 * 60 + 45) * 60_000 - 1_000)
        #expect(rig.decide().allowed && rig.limiter.identityCount == 0)
    }

    /// All passes, and what would have been denied is counted by the day.
    @Test(arguments: [true, false])
    func shadowRulesCountWhatTheyWouldDeny(usesStore: Bool) throws {
        var rig = LimiterRig(
            try Self.policy(
                #""mode":"shadow","hide":["h"],"tools":{"d":{"action":"deny"},"a":{"action":"require_approval"},"#
                    + #""t":{"hours":{"from":"09:00","to":"10:00"}},"l":{"limits":[\#(Self.limit("c", max: 1))]}}"#),
            usesStore: usesStore)
        for tool in ["h", "d", "a", "t", "l", "other"] {
            for _ in 0..<3 { #expect(rig.decide(tool).allowed, "\(tool)") }
            let traced = rig.decide(tool, isPeek: true, wantsTrace: true)
            #expect(traced.trace?.count == 1 && traced.trace?[0].isShadow == true, "\(tool)")
            #expect(traced.trace?[0].fits == false, "\(tool)")
            #expect(traced.trace?[0].denials == (tool == "l" ? 2 : 3), "\(tool): \(String(describing: traced.trace))")
        }
        #expect(rig.decide("a", isPeek: true, approved: true, wantsTrace: true).trace?.isEmpty == true)
        #expect(rig.limiter.counterCount == 6)
        // Operators see what each would have denied, under its path.
        let reports = rig.limiter.counters(stored: nil, grant: nil, tool: nil, now: rig.now)
        let denials = Dictionary(uniqueKeysWithValues: reports.map { ($0.rule, $0.denials) })
        #expect(
            denials == [
                "(hidden)": 3, "(default deny)": 3, "/tools/d/action": 3, "/tools/a/action": 3, "/tools/t/hours": 3,
                "/tools/l/limits/c": 2,
            ])
        #expect(reports.allSatisfy { $0.isShadow })
        // A charge is no call, so it would not have been denied.
        for tool in ["h", "d", "other"] {
            #expect(rig.decide(.init(tool: tool, cost: 5, action: .charge)).allowed, "\(tool)")
            let look = rig.decide(tool, isPeek: true, wantsTrace: true).trace?.first
            #expect(look?.used == 0 && look?.denials == 3, "\(tool): \(String(describing: look))")
        }
    }
}
