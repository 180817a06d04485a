import SluicePolicy
import Testing

/// What the author of a wrong document reads: every kind of fault with its exact line.
@Suite struct PolicyFaultTests {
    /// A limit for each of the attributes that a pattern is meant for would be one for the grant alone.
    @Test func anAttributeIsNamedWhole() {
        let text = document(limit: #"{"counter":"c","window":1,"max":1,"scope":"attribute:team*"}"#)
        #expect(
            faultLines(text, features: .all) == [
                "policy.json:2:43: /tools/x/limits/0/scope: `team*` is not supported yet: these names are compared whole, so a"
                    + " pattern with * or ? would match no attribute; write each one out"
            ])
    }

    private static let window =
        #""second", "minute", "hour", "day", a time such as "90s", "15m", "6h" or "2d" or a whole number of seconds from 1 to 31622400"#

    @Test(arguments: FaultTables.documentFaults)
    func ofTheDocument(text: String, line: String) {
        #expect(faultLines(text) == ["policy.json:" + line])
    }

    @Test(arguments: FaultTables.toolFaults)
    func ofATool(text: String, line: String) {
        #expect(faultLines(document(tool: text)) == ["policy.json:2:" + line])
    }

    @Test(arguments: FaultTables.limitFaults)
    func ofALimit(text: String, line: String) {
        // The table leaves out the limit's own pointer.
        let parts = line.split(separator: ": ", maxSplits: 1)
        #expect(faultLines(document(limit: text)) == ["policy.json:2:\(parts[0]): /tools/x/limits/0\(parts[1])"])
    }

    @Test func ofTwoCountersWithOneName() {
        let same = #"{"counter":"c","window":1,"max":1}"#
        let expected = #"found a second counter "c", expected a name of its own for each counter here"#
        #expect(
            faultLines(document(limit: "\(same),\n\(same)")) == [
                "policy.json:3:12: /tools/x/limits/1/counter: \(expected)"
            ])
        let otherWindow = #"{"counter":"c","window":"day","max":1,"scope":"session"}"#
        #expect(
            faultLines(document(members: "\"all_tools\":{\"limits\":[\(same),\n\(otherWindow)]}"))
                == ["policy.json:3:12: /all_tools/limits/1/counter: \(expected)"])
    }

    @Test func ofTooManyLimits() {
        func limits(_ count: Int) -> String {
            #"{"limits":["# + (0..<count).map { #"{"counter":"\#($0)","window":1,"max":1}"# }.joined(separator: ",")
                + "]}"
        }
        let expected = "expected at most 16 for one check"
        #expect(faultLines(document(tool: limits(17))) == ["policy.json:2:5: /tools/x: found 17 limits, \(expected)"])
        #expect(
            faultLines(
                document(members: "\"tools\":{\"x\":\(limits(9)),\"y\":\(limits(8))},\n\"all_tools\":\(limits(8))"))
                == ["policy.json:2:14: /tools/x: found 9 limits and 8 over all tools, \(expected)"])
        #expect(
            faultLines(document(members: "\"tools\":{\"x\":{},\"y\":{}},\n\"all_tools\":\(limits(17))"))
                == ["policy.json:3:13: /all_tools: found 17 limits, \(expected)"])
    }

    @Test func ofKeysThatStandTwiceAmongOthers() {
        #expect(
            faultLines("{\"version\":\"1\",\n\"default\":\"deny\",\n\"default\":\"alow\",\n\"hide\":3}") == [
                #"policy.json:3:1: /default: found a second "default", expected each key once (the first is at 2:1)"#,
                #"policy.json:4:8: /hide: found 3, expected an array of tools' names, or "*""#,
            ])
    }

    @Test func twentyFaultsAreTwentyLinesInTheOrderOfTheText() {
        let lines = faultLines(
            """
            {
              "version": "one",
              "defualt": "deny",
              "hide": [1, ""],
              "all_tools": {"limits": [{"counter": "c", "window": "fortnight", "max": 10}]},
              "tools": {
                "a": {"limits": [{"counter": "c", "window": "minute", "max": "ten", "scope": "planet"}]},
                "b": {"action": "dney", "reason": ""},
                "c": {"limits": [{}]},
                "d": {"rate_limit": {"max": -1, "window": 0, "unit": "s"}},
                "e": {"limits": [{"counter": "c", "window": "month", "max": 1, "burst": 2, "algorithm": "token_bucket"}]},
                "f": null
              }
            }
            """)
        #expect(lines.count == 20)
        #expect(lines[0] == #"policy.json:1:1: found no "default", expected "default": "allow" or "deny""#)
        #expect(
            lines[2]
                == #"policy.json:3:3: /defualt: found the unknown key "defualt", expected "version", "default", "hide", "all_tools", "tools", "groups", "on_deny", "servers" or "mode"; did you mean "default"?"#
        )
        #expect(
            lines[6]
                == #"policy.json:7:66: /tools/a/limits/0/max: found "ten", expected a whole number from 0 to 1000000000000"#
        )
        #expect(
            lines[8]
                == #"policy.json:8:21: /tools/b/action: found "dney", expected "allow", "deny" or "require_approval"; did you mean "deny"?"#
        )
        #expect(lines[10] == #"policy.json:9:22: /tools/c/limits/0: found no "counter", expected "counter": a name"#)
        #expect(
            lines[18]
                == "policy.json:11:93: /tools/e/limits/0/algorithm: `algorithm` is not supported yet: only fixed windows are counted"
        )
        #expect(
            lines[19] == "policy.json:12:10: /tools/f: found null, expected a tool's rule: an object, {} to allow it")
    }

    @Test func faultsBeyondTheBoundAreCounted() throws {
        func manyFaults(_ count: Int) -> String {
            document(
                members: "\"hide\":[\n" + Array(repeating: "1", count: count).joined(separator: ",\n") + "],\"bad\":1")
        }
        #expect(faultLines(manyFaults(99)).count == 100)
        let lines = faultLines(manyFaults(1_000))
        #expect(lines.count == 101)
        #expect(lines[0] == "policy.json:3:1: /hide/0: found 1, expected the name of a tool")
        #expect(lines[99] == "policy.json:102:1: /hide/99: found 1, expected the name of a tool")
        #expect(lines[100] == "policy.json: 901 more faults")
        #expect(faultLines(manyFaults(100)).last == "policy.json: 1 more fault")
    }

    /// A document of nothing but faults is answered soon, with all of them counted.
    @Test func faultsBeyondTheExaminedOnesAreCounted() {
        let count = PolicyBounds.maxExaminedFaults + 5_000
        let twice =
            "{\"version\":\"1\",\"default\":\"deny\"" + String(repeating: ",\"hide\":[]", count: count + 1) + "}"
        #expect(faultLines(twice).last == "policy.json: 14900 more faults")
        let wrong = Array(repeating: "1", count: count).joined(separator: ",")
        #expect(faultLines(document(members: "\"hide\":[\(wrong)]")).last == "policy.json: 14900 more faults")
    }

    /// The one fault after the bound that comes first in the text is shown first.
    @Test func earlierFaultsPushLaterOnesOut() {
        let wrong = Array(repeating: "1", count: 250).joined(separator: ",")
        let lines = faultLines("{\"first\":1,\"version\":\"1\",\"default\":\"deny\",\n\"hide\":[\(wrong)]}")
        #expect(lines.count == 101)
        #expect(lines[0].hasPrefix("policy.json:1:2: /first: found the unknown key"))
    }

    @Test func partsOfAFault() throws {
        do throws(PolicyFaults) {
            _ = try parse(document(limit: #"{"counter":"c","window":"Day","max":1}"#))
            Issue.record("accepted")
        } catch {
            #expect(error.file == "policy.json")
            #expect(error.omitted == 0)
            let fault = try #require(error.faults.first)
            #expect(fault.file == "policy.json")
            #expect(fault.pointer == "/tools/x/limits/0/window")
            #expect(fault.line == 2)
            #expect(fault.column == 25)
            #expect(
                fault.problem == .unexpected(found: #""Day""#, expected: Self.window, nearest: "day"))
        }
    }

    /// A document cannot smuggle line breaks or terminal codes into what is shown of it.
    @Test func faultsStayOnTheirLine() {
        let lines = faultLines(document(members: #""\u001b[2J\n\u202e":"\u0007""#))
        #expect(
            lines == [
                #"policy.json:2:1: /\u001b[2J\u000a\u202e: found the unknown key "\u001b[2J\u000a\u202e", expected "version", "default", "hide", "all_tools", "tools", "groups", "on_deny", "servers" or "mode""#
            ])
        let long = String(repeating: "long ", count: 100)
        let shown = String(repeating: "long ", count: 12)
        #expect(
            faultLines(document(members: #""hide":"\#(long)""#))
                == [#"policy.json:2:8: /hide: found "\#(shown)...", expected an array of tools' names, or "*""#])
    }
}
