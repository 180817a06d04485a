/// Wrong documents in the whole language and the lines that each yields.
enum WholeLanguageTables {
    private static let window =
        #""second", "minute", "hour", "day", "week", "month", a time such as "90s", "15m", "6h" or "2d" or a whole number of seconds from 1 to 31622400"#
    private static let scopes = #""grant", "session", "server", "global" or "attribute:NAME""#
    private static let attribute =
        #""attribute:NAME" with the name of an attribute, 1 to 64 bytes without \u0000"#
    private static let algorithms = #""fixed_window", "sliding_window", "sliding_log", "token_bucket" or "concurrency""#
    private static let zone = #"the name of a time zone such as "Europe/Berlin", or "UTC""#
    private static let onlyWithDays = #"it only with "day", "week" or "month""#
    private static let onlyWithSome = #"it only with "session", "server" or "attribute:NAME""#
    private static let hold = #"a whole number of seconds from 1 to 86400, or such as "90s" or "5m""#
    private static let keys =
        #""counter", "window", "timezone", "max", "scope", "across_grants", "algorithm", "burst", "hold", "on_outage", "mode", "counts", "precision", "unit" or "on_deny""#
    private static let exact = "calls times milliseconds must not exceed 2^53"
    private static let even =
        #"a window of one length with "token_bucket": no month, and no day or week of a time zone"#

    /// Limits of the tool `x`, on line 2; the pointer is written from the limit on.
    static let limitFaults: [(text: String, lines: [String])] = windows + scoping + methods + others

    private static let windows: [(text: String, lines: [String])] = [
        (
            #"{"counter":"c","max":1,"window":"monht"}"#,
            [#"33: /window: found "monht", expected \#(window); did you mean "month"?"#]
        ),
        (#"{"counter":"c","max":1,"window":true}"#, ["33: /window: found true, expected \(window)"]),
        (#"{"counter":"c","max":1}"#, [#"1: : found no "window", expected "window": \#(window)"#]),
        (
            #"{"counter":"c","max":1,"window":"day","timezone":"Europe/Berln"}"#,
            [#"50: /timezone: found "Europe/Berln", expected \#(zone); did you mean "Europe/Berlin"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":"day","timezone":"europe/berlin"}"#,
            [#"50: /timezone: found "europe/berlin", expected \#(zone); did you mean "Europe/Berlin"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":"day","timezone":"new york"}"#,
            [#"50: /timezone: found "new york", expected \#(zone); did you mean "America/New_York"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":"day","timezone":"utc"}"#,
            [#"50: /timezone: found "utc", expected \#(zone); did you mean "Etc/UTC"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":"day","timezone":"CEST"}"#,
            [#"50: /timezone: found "CEST", expected \#(zone)"#]
        ),
        (#"{"counter":"c","max":1,"window":"day","timezone":1}"#, ["50: /timezone: found 1, expected \(zone)"]),
        (
            #"{"counter":"c","max":1,"window":"minute","timezone":"Europe/Berlin"}"#,
            [#"42: /timezone: found "timezone" with the window "minute", expected \#(onlyWithDays)"#]
        ),
        (
            #"{"counter":"c","max":1,"timezone":"Europe/Berlin","window":86400}"#,
            [#"24: /timezone: found "timezone" with the window 86400, expected \#(onlyWithDays)"#]
        ),
        (
            #"{"counter":"c","max":1,"timezone":"Europe/Berln","window":"fortnight"}"#,
            [
                #"35: /timezone: found "Europe/Berln", expected \#(zone); did you mean "Europe/Berlin"?"#,
                #"59: /window: found "fortnight", expected \#(window)"#,
            ]
        ),
    ]

    private static let scoping: [(text: String, lines: [String])] = [
        (
            #"{"counter":"c","max":1,"window":1,"scope":"sever"}"#,
            [#"43: /scope: found "sever", expected \#(scopes); did you mean "server"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"attribute"}"#,
            [#"43: /scope: found "attribute", expected \#(scopes); did you mean "attribute:NAME"?"#]
        ),
        (#"{"counter":"c","max":1,"window":1,"scope":[]}"#, ["43: /scope: found an empty array, expected \(scopes)"]),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"attribute:"}"#,
            ["43: /scope: found an empty name, expected \(attribute)"]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"attribute:\#(String(repeating: "n", count: 65))"}"#,
            ["43: /scope: found a name of 65 bytes, expected \(attribute)"]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"scope":"attribute:a\u0000"}"#,
            [#"43: /scope: found "a\u0000", expected \#(attribute)"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"across_grants":true}"#,
            [#"35: /across_grants: found "across_grants" with the scope "grant", expected \#(onlyWithSome)"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"across_grants":true,"scope":"global"}"#,
            [#"35: /across_grants: found "across_grants" with the scope "global", expected \#(onlyWithSome)"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"across_grants":true,"scope":"team"}"#,
            [#"64: /scope: found "team", expected \#(scopes)"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"across_grants":"yes"}"#,
            [#"51: /across_grants: found "yes", expected true or false"#]
        ),
    ]

    private static let methods: [(text: String, lines: [String])] = [
        (
            #"{"counter":"c","max":1025,"window":1,"algorithm":"sliding_log"}"#,
            [#"22: /max: found 1025, expected at most 1024 with "sliding_log", which keeps every charge"#]
        ),
        (
            #"{"counter":"c","max":1,"window":"month","algorithm":"sliding_log"}"#,
            [
                #"33: /window: found the window month, expected a window of one length with "sliding_log": no month, and no day or week of a time zone"#
            ]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"algorithm":"sliding_log","burst":3}"#,
            [#"61: /burst: found "burst" with the algorithm "sliding_log", expected it only with "token_bucket""#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"algorithm":"token_buckt"}"#,
            [#"47: /algorithm: found "token_buckt", expected \#(algorithms); did you mean "token_bucket"?"#]
        ),
        // What belongs to an algorithm is not held against one that nobody knows.
        (
            #"{"counter":"c","max":1,"burst":2,"hold":3,"algorithm":"bucket"}"#,
            [#"55: /algorithm: found "bucket", expected \#(algorithms)"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"burst":2}"#,
            [#"35: /burst: found "burst" with the algorithm "fixed_window", expected it only with "token_bucket""#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"algorithm":"token_bucket","burst":0}"#,
            ["70: /burst: found 0, expected a whole number from 1 to 1000000000000"]
        ),
        (
            #"{"counter":"c","max":0,"window":1,"algorithm":"token_bucket","burst":5}"#,
            [#"62: /burst: found "burst" with the "max" 0, expected no burst where 0 blocks every call"#]
        ),
        (
            #"{"counter":"c","max":1,"window":"month","algorithm":"token_bucket"}"#,
            ["33: /window: found the window month, expected \(even)"]
        ),
        (
            #"{"counter":"c","max":1,"window":"day","algorithm":"token_bucket","timezone":"Europe/Berlin"}"#,
            ["33: /window: found the window day@Europe/Berlin, expected \(even)"]
        ),
        (
            #"{"counter":"c","max":104249992,"window":"day","algorithm":"token_bucket"}"#,
            ["22: /max: found 104249992, expected at most 104249991 per day: \(exact)"]
        ),
        (
            #"{"counter":"c","max":1,"window":"day","algorithm":"token_bucket","burst":104249992}"#,
            ["74: /burst: found 104249992, expected at most 104249991 per day: \(exact)"]
        ),
        (#"{"counter":"c","max":104249991,"window":"day","algorithm":"token_bucket"}"#, []),
        (
            #"{"counter":"c","max":1000000000000,"window":"9s","algorithm":"sliding_window"}"#, []
        ),
        (
            #"{"counter":"c","max":1000000000000,"window":"10s","algorithm":"sliding_window"}"#,
            ["22: /max: found 1000000000000, expected at most 900719925474 per 10 seconds: \(exact)"]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"algorithm":"concurrency"}"#,
            [
                #"24: /window: found "window" with the algorithm "concurrency", expected no "window": calls at once are counted, however long they take"#
            ]
        ),
        (
            #"{"counter":"c","max":1,"timezone":"Europe/Berlin","algorithm":"concurrency"}"#,
            [
                #"24: /timezone: found "timezone" with the algorithm "concurrency", expected no "timezone": calls at once are counted, however long they take"#
            ]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"hold":5}"#,
            [#"35: /hold: found "hold" with the algorithm "fixed_window", expected it only with "concurrency""#]
        ),
        (
            #"{"counter":"c","max":1,"burst":5,"algorithm":"concurrency"}"#,
            [#"24: /burst: found "burst" with the algorithm "concurrency", expected it only with "token_bucket""#]
        ),
        (
            #"{"counter":"c","max":1,"algorithm":"concurrency","hold":0}"#, ["57: /hold: found 0, expected \(hold)"]
        ),
        (
            #"{"counter":"c","max":1,"algorithm":"concurrency","hold":"2d"}"#,
            [#"57: /hold: found "2d", expected \#(hold)"#]
        ),
        (
            #"{"counter":"c","max":1,"algorithm":"concurrency","hold":"minute"}"#,
            [#"57: /hold: found "minute", expected \#(hold)"#]
        ),
    ]

    private static let others: [(text: String, lines: [String])] = [
        (
            #"{"counter":"c","max":1,"window":1,"on_outage":"block"}"#,
            [#"47: /on_outage: found "block", expected "local", "allow" or "deny"; did you mean "deny"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"on_outage":"dney"}"#,
            [#"47: /on_outage: found "dney", expected "local", "allow" or "deny"; did you mean "deny"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"mode":"shaddow"}"#,
            [#"42: /mode: found "shaddow", expected "enforce" or "shadow"; did you mean "shadow"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"algorithm":"token_bucket","precision":"leased"}"#,
            [
                #"62: /precision: found "precision" "leased" with the algorithm "token_bucket", expected "leased" only with "fixed_window""#
            ]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"precision":"exakt"}"#,
            [#"47: /precision: found "exakt", expected "exact" or "leased"; did you mean "exact"?"#]
        ),
        (
            #"{"counter":"c","max":1,"window":1,"time_zone":"UTC"}"#,
            [#"35: /time_zone: found the unknown key "time_zone", expected \#(keys); did you mean "timezone"?"#]
        ),
    ]

    /// Rules of the tool `x`, on line 2 from column 5.
    static let toolFaults: [(text: String, line: String)] = [
        (#"{"require":true}"#, "16: /tools/x/require: found true, expected argument rules: an array or an object"),
        (#"{"deny_if":"x"}"#, #"16: /tools/x/deny_if: found "x", expected argument rules: an array or an object"#),
        (
            #"{"requires":[]}"#,
            #"6: /tools/x/requires: found the unknown key "requires", expected "limits", "action", "reason", "on_deny", "rate_limit", "each_tool", "hours", "mode", "require" or "deny_if"; did you mean "require"?"#
        ),
    ]
}
