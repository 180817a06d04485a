/// Wrong documents and the one line that each yields: from the column on where the table says so.
enum FaultTables {
    typealias Row = (text: String, line: String)

    private static let window =
        #""second", "minute", "hour", "day", a time such as "90s", "15m", "6h" or "2d" or a whole number of seconds from 1 to 31622400"#
    private static let rate =
        #""N/second", "N/minute", "N/hour", "N/day" or "N/T" with N up to 1000000000000 and T such as "90s", "15m", "6h" or "2d""#
    private static let noArguments =
        "no rules on arguments, which only the gateway sees: let it check them and say so with --arguments-checked-by-gateway, or take them out"
    private static let policyKeys =
        #""version", "default", "hide", "all_tools", "tools", "groups", "on_deny", "servers" or "mode""#
    private static let toolKeys =
        #""limits", "action", "reason", "on_deny", "rate_limit", "each_tool", "hours" or "mode""#
    private static let limitKeys = #""counter", "window", "max", "scope", "counts", "unit" or "on_deny""#
    private static let actions = #""allow", "deny" or "require_approval""#
    private static let longName = String(repeating: "é", count: 129)
    private static let longMessage = String(repeating: "m", count: 1025)

    /// Whole documents.
    static let documentFaults: [Row] = [
        ("[]", #"1:1: found an empty array, expected a policy: an object with "version" and "default""#),
        (#"{"default":"deny"}"#, #"1:1: found no "version", expected "version": "1""#),
        (#"{"version":"1"}"#, #"1:1: found no "default", expected "default": "allow" or "deny""#),
        (#"{"version":1,"default":"deny"}"#, #"1:12: /version: found 1, expected "1""#),
        (#"{"version":"2","default":"deny"}"#, #"1:12: /version: found "2", expected "1""#),
        (
            #"{"version":"1","default":"dney"}"#,
            #"1:26: /default: found "dney", expected "allow" or "deny"; did you mean "deny"?"#
        ),
        (#"{"version":"1","default":null}"#, #"1:26: /default: found null, expected "allow" or "deny""#),
        (
            document(members: #""tool":{}"#),
            #"2:1: /tool: found the unknown key "tool", expected \#(policyKeys); did you mean "tools"?"#
        ),
        (
            document(members: #""x\n":1"#),
            #"2:1: /x\u000a: found the unknown key "x\u000a", expected \#(policyKeys)"#
        ),
        (document(members: #""hide":"x""#), #"2:8: /hide: found "x", expected an array of tools' names, or "*""#),
        (document(members: #""hide":["a",7]"#), "2:13: /hide/1: found 7, expected the name of a tool"),
        (
            document(members: #""hide":[""]"#),
            "2:9: /hide/0: found an empty name, expected the name of a tool, 1 to 256 bytes"
        ),
        (
            document(members: #""all_tools":[1]"#),
            #"2:13: /all_tools: found an array, expected an object with "limits""#
        ),
        (
            document(members: #""all_tools":{"limit":[]}"#),
            #"2:14: /all_tools/limit: found the unknown key "limit", expected "limits"; did you mean "limits"?"#
        ),
        (
            document(members: #""tools":[]"#),
            "2:9: /tools: found an empty array, expected an object with a rule for each tool"
        ),
        (
            document(members: #""tools":{"t?":{}}"#),
            #"2:10: /tools/t?: `t?` is not supported yet: a pattern has only *, for any number of characters"#
        ),
        (
            document(members: #""hide":["*","old_?"]"#),
            #"2:13: /hide/1: `old_?` is not supported yet: a pattern has only *, for any number of characters"#
        ),
        (
            document(members: #""hide":["**"]"#),
            #"2:9: /hide/0: found "**", expected a single *: it stands for any number of characters"#
        ),
        (
            document(members: #""tools":{"a*":{},"x":{},"*b":{}}"#),
            #"2:25: /tools/*b: found "*b" beside "a*", expected more characters in one of them: a tool may match both, and neither takes precedence"#
        ),
        (
            document(members: #""tools":{"x":{"each_tool":true}}"#),
            #"2:15: /tools/x/each_tool: found "each_tool" of one tool, expected it only with a pattern such as "git_*""#
        ),
        (
            document(members: #""tools":{"x*":{"each_tool":1}}"#),
            "2:28: /tools/x*/each_tool: found 1, expected true or false"
        ),
        (
            document(members: #""groups":{"g":{"tools":[],"limits":[]}}"#),
            "2:24: /groups/g/tools: found an empty array, expected an array of tools' names and patterns"
        ),
        (
            document(members: #""groups":{"g":{"limits":[]}}"#),
            #"2:15: /groups/g: found no "tools", expected "tools": an array of tools' names"#
        ),
        (
            document(members: #""groups":{"g*":{"tools":["x"],"limits":[]}}"#),
            "2:11: /groups/g*: `g*` is not supported yet: these names are compared whole, so a pattern with * or ? would match no group; write each one out"
        ),
        (
            document(members: #""servers":{"git*":{}}"#),
            "2:12: /servers/git*: `git*` is not supported yet: these names are compared whole, so a pattern with * or ? would match no server; write each one out"
        ),
        (
            document(members: #""servers":{"s":{"version":"1"}}"#),
            #"2:17: /servers/s/version: found the unknown key "version", expected "default", "hide", "all_tools", "tools", "groups" or "on_deny""#
        ),
        (
            document(members: #""servers":{"s":{"tools":{"x":{"limits":[{"counter":"c","window":1}]}}}}"#),
            #"2:41: /servers/s/tools/x/limits/0: found no "max", expected "max": a whole number from 0 to 1000000000000"#
        ),
        (
            document(members: #""on_deny":"Ask Ann.""#, default: "allow"),
            #"2:1: /on_deny: found "on_deny" with the default "allow", expected it only with the default "deny", whose message it is"#
        ),
        (
            document(members: #""mode":"shadwo""#),
            #"2:8: /mode: found "shadwo", expected "enforce" or "shadow"; did you mean "shadow"?"#
        ),
        (
            document(members: #""all_tools":{"limits":[{"counter":"(hidden)","max":1,"window":1}]}"#),
            #"2:35: /all_tools/limits/0/counter: found "(hidden)", expected another name: this one counts what shadow rules would have denied"#
        ),
        (
            document(members: #""tools":{"":{}}"#),
            "2:10: /tools/: found an empty name, expected the name of a tool, 1 to 256 bytes"
        ),
        (
            document(members: #""tools":{"a\u0000":{}}"#),
            #"2:10: /tools/a\u0000: found "a\u0000", expected the name of a tool without \u0000"#
        ),
        (
            document(members: #""tools":{"\#(longName)":{}}"#),
            "2:10: /tools/\(longName.prefix(60))...: found a name of 258 bytes, expected the name of a tool, 1 to 256 bytes"
        ),
    ]

    /// Rules of the tool `x`, on line 2 from column 5.
    static let toolFaults: [Row] = [
        ("true", "5: /tools/x: found true, expected a tool's rule: an object, {} to allow it"),
        (
            #"{"limts":[]}"#,
            #"6: /tools/x/limts: found the unknown key "limts", expected \#(toolKeys); did you mean "limits"?"#
        ),
        (
            #"{"onDeny":"No."}"#,
            #"6: /tools/x/onDeny: found the unknown key "onDeny", expected \#(toolKeys); did you mean "on_deny"?"#
        ),
        (
            #"{"action":"block"}"#,
            #"15: /tools/x/action: found "block", expected \#(actions); did you mean "deny"?"#
        ),
        (
            #"{"action":"ask"}"#,
            #"15: /tools/x/action: found "ask", expected \#(actions); did you mean "require_approval"?"#
        ),
        (
            #"{"action":"Allow"}"#,
            #"15: /tools/x/action: found "Allow", expected \#(actions); did you mean "allow"?"#
        ),
        (
            #"{"hours":{"from":"09:00"}}"#,
            #"14: /tools/x/hours: found no "to", expected "to": a time of day such as "18:00", at most "24:00""#
        ),
        (
            #"{"hours":{"from":"9:00","to":"18:00"}}"#,
            #"22: /tools/x/hours/from: found "9:00", expected a time of day such as "09:00""#
        ),
        (
            #"{"hours":{"from":"09:00","to":"09:00"}}"#,
            #"35: /tools/x/hours/to: found "09:00", expected another time than "from" (a whole day is 00:00 to 24:00)"#
        ),
        (
            #"{"action":"deny","hours":{"from":"09:00","to":"10:00"}}"#,
            #"22: /tools/x/hours: found "hours" with the action "deny", expected it only with a tool that may be called at some time"#
        ),
        (
            #"{"hours":{"days":"monday","from":"09:00","to":"10:00"}}"#,
            #"22: /tools/x/hours/days: found "monday", expected days such as "mon-fri" or "mon,wed,sat-sun""#
        ),
        (#"{"reason":[]}"#, "15: /tools/x/reason: found an empty array, expected a sentence for the agent"),
        (
            #"{"on_deny":""}"#,
            "16: /tools/x/on_deny: found an empty message, expected a sentence for the agent, 1 to 1024 bytes"
        ),
        (
            #"{"reason":"\#(longMessage)"}"#,
            "15: /tools/x/reason: found a message of 1025 bytes, expected a sentence for the agent, 1 to 1024 bytes"
        ),
        (
            #"{"reason":"a\r\nb"}"#,
            #"15: /tools/x/reason: found "a\u000d\u000ab", expected a sentence for the agent on one line, without control characters"#
        ),
        (
            #"{"on_deny":"A.","reason":"A."}"#,
            #"21: /tools/x/reason: found "reason" and "on_deny" in one rule, expected one of them: they mean the same"#
        ),
        (
            #"{"require":[]}"#,
            #"6: /tools/x/require: found "require", expected \#(noArguments)"#
        ),
        (
            #"{"deny_if":{}}"#,
            #"6: /tools/x/deny_if: found "deny_if", expected \#(noArguments)"#
        ),
        (#"{"limits":{}}"#, "15: /tools/x/limits: found an empty object, expected an array of limits"),
        (
            #"{"rate_limit":10}"#,
            #"19: /tools/x/rate_limit: found 10, expected such as {"max": 10, "window": 60} or "10/minute""#
        ),
        (
            #"{"rate_limit":"10/min"}"#,
            #"19: /tools/x/rate_limit: found "10/min", expected \#(rate); did you mean "10/minute"?"#
        ),
        (#"{"rate_limit":"ten/minute"}"#, #"19: /tools/x/rate_limit: found "ten/minute", expected \#(rate)"#),
        (#"{"rate_limit":"+1/minute"}"#, #"19: /tools/x/rate_limit: found "+1/minute", expected \#(rate)"#),
        (#"{"rate_limit":"10/week"}"#, #"19: /tools/x/rate_limit: found "10/week", expected \#(rate)"#),
        (#"{"rate_limit":"10/367d"}"#, #"19: /tools/x/rate_limit: found "10/367d", expected \#(rate)"#),
        (#"{"rate_limit":"10/0s"}"#, #"19: /tools/x/rate_limit: found "10/0s", expected \#(rate)"#),
        (#"{"rate_limit":"10"}"#, #"19: /tools/x/rate_limit: found "10", expected \#(rate)"#),
        (
            #"{"rate_limit":"1000000000001/day"}"#,
            #"19: /tools/x/rate_limit: found "1000000000001/day", expected \#(rate)"#
        ),
        (
            #"{"rate_limit":{"max":1}}"#,
            #"19: /tools/x/rate_limit: found no "window", expected "window": a whole number of seconds from 1 to 31622400"#
        ),
        (
            #"{"rate_limit":{"max":1,"window":"minute"}}"#,
            #"37: /tools/x/rate_limit/window: found "minute", expected a whole number of seconds from 1 to 31622400"#
        ),
        (
            #"{"rate_limit":{"max":1,"window":1,"burst":1}}"#,
            #"39: /tools/x/rate_limit/burst: found the unknown key "burst", expected "max" or "window""#
        ),
        (
            #"{"limits":[{"counter":"rate_limit","window":1,"max":1}],"rate_limit":"1/day"}"#,
            #"61: /tools/x/rate_limit: found "rate_limit" and a limit whose counter is called so, expected each counter once in a tool"#
        ),
    ]

    /// Limits of the tool `x`, on line 2; the pointer is written from the limit on.
    static let limitFaults: [Row] = [
        (
            #"{"counter":"c","max":1,"window":"1h30m"}"#,
            #"33: /window: found "1h30m", expected \#(window); did you mean "90m"?"#
        ),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"agent"}"#,
            #"43: /scope: found "agent", expected "grant" or "session"; did you mean "grant"?"#
        ),
        ("7", #"1: : found 7, expected a limit: an object with "counter", "window" and "max""#),
        (#"{"window":1,"max":1}"#, #"1: : found no "counter", expected "counter": a name"#),
        (#"{"counter":"c","max":1}"#, #"1: : found no "window", expected "window": \#(window)"#),
        (
            #"{"counter":"c","window":1}"#,
            #"1: : found no "max", expected "max": a whole number from 0 to 1000000000000"#
        ),
        (#"{"counter":5,"window":1,"max":1}"#, "12: /counter: found 5, expected the name of a counter"),
        (
            #"{"counter":"","window":1,"max":1}"#,
            "12: /counter: found an empty name, expected the name of a counter, 1 to 256 bytes"
        ),
        (
            #"{"counter":"\u0000","window":1,"max":1}"#,
            #"12: /counter: found "\u0000", expected the name of a counter without \u0000"#
        ),
        (
            #"{"counter":"c","window":"minuet","max":1}"#,
            #"25: /window: found "minuet", expected \#(window); did you mean "minute"?"#
        ),
        (#"{"counter":"c","window":"","max":1}"#, #"25: /window: found "", expected \#(window)"#),
        (#"{"counter":"c","window":0,"max":1}"#, "25: /window: found 0, expected \(window)"),
        (#"{"counter":"c","window":31622401,"max":1}"#, "25: /window: found 31622401, expected \(window)"),
        (#"{"counter":"c","window":1.5,"max":1}"#, "25: /window: found 1.5, expected \(window)"),
        (#"{"counter":"c","window":null,"max":1}"#, "25: /window: found null, expected \(window)"),
        (
            #"{"counter":"c","window":"week","max":1}"#,
            "25: /window: `week` is not supported yet: a window is \(window)"
        ),
        (
            #"{"counter":"c","window":"month","max":1}"#,
            "25: /window: `month` is not supported yet: a window is \(window)"
        ),
        (#"{"counter":"c","window":"0s","max":1}"#, #"25: /window: found "0s", expected \#(window)"#),
        (#"{"counter":"c","window":"367d","max":1}"#, #"25: /window: found "367d", expected \#(window)"#),
        (#"{"counter":"c","window":"-1s","max":1}"#, #"25: /window: found "-1s", expected \#(window)"#),
        (#"{"counter":"c","window":"1.5h","max":1}"#, #"25: /window: found "1.5h", expected \#(window)"#),
        (
            #"{"counter":"c","window":"9223372036854775807d","max":1}"#,
            #"25: /window: found "9223372036854775807d", expected \#(window)"#
        ),
        (
            #"{"counter":"c","window":1,"max":"ten"}"#,
            #"33: /max: found "ten", expected a whole number from 0 to 1000000000000"#
        ),
        (
            #"{"counter":"c","window":1,"max":-1}"#,
            "33: /max: found -1, expected a whole number from 0 to 1000000000000"
        ),
        (
            #"{"counter":"c","window":1,"max":1.5}"#,
            "33: /max: found 1.5, expected a whole number from 0 to 1000000000000"
        ),
        (
            #"{"counter":"c","window":1,"max":1000000000001}"#,
            "33: /max: found 1000000000001, expected a whole number from 0 to 1000000000000"
        ),
        (
            #"{"counter":"c","window":1,"max":99999999999999999999}"#,
            "33: /max: found 99999999999999999999, expected a whole number from 0 to 1000000000000"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"scope":"sesion"}"#,
            #"43: /scope: found "sesion", expected "grant" or "session"; did you mean "session"?"#
        ),
        (#"{"counter":"c","window":1,"max":1,"scope":1}"#, #"43: /scope: found 1, expected "grant" or "session""#),
        (
            #"{"counter":"c","window":1,"max":1,"scope":"server"}"#,
            #"43: /scope: `server` is not supported yet: a limit's scope is "grant" or "session""#
        ),
        (
            #"{"counter":"c","window":1,"max":1,"scope":"global"}"#,
            #"43: /scope: `global` is not supported yet: a limit's scope is "grant" or "session""#
        ),
        (
            #"{"counter":"c","window":1,"max":1,"scope":"attribute:team"}"#,
            #"43: /scope: `attribute:team` is not supported yet: a limit's scope is "grant" or "session""#
        ),
        (
            #"{"counter":"c","window":1,"max":1,"on_deny":{}}"#,
            "45: /on_deny: found an empty object, expected a sentence for the agent"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"algorithm":"token_bucket"}"#,
            "47: /algorithm: `algorithm` is not supported yet: only fixed windows are counted"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"algorithm":"fixed"}"#,
            #"47: /algorithm: found "fixed", expected "fixed_window"; did you mean "fixed_window"?"#
        ),
        (
            #"{"counter":"c","window":1,"max":1,"algorithm":true}"#,
            #"47: /algorithm: found true, expected "fixed_window""#
        ),
        (
            #"{"counter":"c","window":1,"max":1,"on_outage":"deny"}"#,
            "47: /on_outage: `on_outage` is not supported yet: while Redis is unavailable every limit uses local counters"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"mode":"shadow"}"#,
            "42: /mode: `mode` is not supported yet: every limit is enforced"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"precision":"leased"}"#,
            "47: /precision: `precision` is not supported yet: every call is counted exactly"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"timezone":"Europe/Berlin"}"#,
            "46: /timezone: `timezone` is not supported yet: windows are aligned to UTC"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"across_grants":true}"#,
            "51: /across_grants: `across_grants` is not supported yet: counters are kept inside the grant"
        ),
        (#"{"counter":"c","window":1,"max":1,"across_grants":0}"#, "51: /across_grants: found 0, expected false"),
        (
            #"{"counter":"c","window":1,"max":1,"burst":5}"#,
            "35: /burst: `burst` is not supported yet: only fixed windows are counted"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"hold":"5m"}"#,
            "35: /hold: `hold` is not supported yet: only fixed windows are counted"
        ),
        (
            #"{"counter":"c","window":1,"max":1,"algorithn":"x"}"#,
            #"35: /algorithn: found the unknown key "algorithn", expected \#(limitKeys); did you mean "algorithm"?"#
        ),
        (
            #"{"counter":"c","window":1,"max":1,"MAX":2}"#,
            #"35: /MAX: found the unknown key "MAX", expected \#(limitKeys); did you mean "max"?"#
        ),
    ]
}
