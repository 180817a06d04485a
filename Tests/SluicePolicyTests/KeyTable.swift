import Testing

/// Every key of the language, and every word of its choices, each with an example document.
struct KeyRow: Sendable, CustomTestStringConvertible {
    enum Object: String, Sendable, CaseIterable {
        case document, allTools, group, server, tool, hours, rateLimit, limit
    }

    let object: Object
    let key: String
    /// One of the words that the key chooses among; `nil` if it does not, or for an example with none of them.
    let word: String?
    /// The object's members, in JSON; those that an object must have are left out where they are not the point.
    let members: String

    /// A whole document that uses the key.
    var document: String {
        switch object {
        case .document: members
        case .allTools: SluicePolicyTests.document(members: #""all_tools":{\#(members)}"#)
        case .group:
            SluicePolicyTests.document(members: #""groups":{"g":{\#(members)}}"#)
        case .server: SluicePolicyTests.document(members: #""servers":{"s":{\#(members)}}"#)
        case .hours: SluicePolicyTests.document(tool: #"{"hours":{\#(members)}}"#)
        // Where only a pattern may have a key, its rule is that of a pattern.
        case .tool where key == "each_tool": SluicePolicyTests.document(members: #""tools":{"x_*":{\#(members)}}"#)
        case .tool: SluicePolicyTests.document(tool: "{\(members)}")
        case .rateLimit: SluicePolicyTests.document(tool: #"{"rate_limit":{\#(members)}}"#)
        case .limit: SluicePolicyTests.document(limit: #"{"counter":"c","max":10,\#(members)}"#)
        }
    }

    var testDescription: String { "\(object.rawValue)/\(key)" + (word.map { "=\($0)" } ?? "") }

    fileprivate init(_ object: Object, _ key: String, _ members: String) {
        self.init(object, key, nil, members)
    }

    fileprivate init(_ object: Object, _ key: String, _ word: String?, _ members: String) {
        self.object = object
        self.key = key
        self.word = word
        self.members = members
    }
}

enum KeyTable {
    static let rows = documents + tools + limits + windows

    private static let documents = [
        KeyRow(.document, "version", "1", #"{"version":"1","default":"deny"}"#),
        KeyRow(.document, "default", "deny", #"{"version":"1","default":"deny"}"#),
        KeyRow(.document, "default", "allow", #"{"version":"1","default":"allow"}"#),
        KeyRow(.document, "hide", #"{"version":"1","default":"allow","hide":["x"]}"#),
        KeyRow(.document, "hide", "*", #"{"version":"1","default":"allow","hide":"*"}"#),
        KeyRow(.document, "all_tools", #"{"version":"1","default":"allow","all_tools":{}}"#),
        KeyRow(.document, "tools", #"{"version":"1","default":"deny","tools":{"x":{}}}"#),
        KeyRow(
            .document, "groups",
            #"{"version":"1","default":"deny","groups":{"g":{"tools":["x","y*"],"limits":[]}}}"#),
        KeyRow(.document, "on_deny", #"{"version":"1","default":"deny","on_deny":"Ask Ann."}"#),
        KeyRow(.document, "servers", #"{"version":"1","default":"deny","servers":{"s":{},"*":{}}}"#),
        KeyRow(.document, "mode", "enforce", #"{"version":"1","default":"deny","mode":"enforce"}"#),
        KeyRow(.document, "mode", "shadow", #"{"version":"1","default":"deny","mode":"shadow"}"#),
        KeyRow(.group, "tools", #""tools":["x","y*"],"limits":[]"#),
        KeyRow(.group, "limits", #""tools":["x"],"limits":[{"counter":"c","window":"day","max":10}]"#),
        KeyRow(.server, "default", "allow", #""default":"allow""#),
        KeyRow(.server, "default", "deny", #""default":"deny""#),
        KeyRow(.server, "hide", #""hide":["x"]"#),
        KeyRow(.server, "all_tools", #""all_tools":{"limits":[{"counter":"c","window":"day","max":10}]}"#),
        KeyRow(.server, "tools", #""tools":{"x":{"rate_limit":"10/minute"}}"#),
        KeyRow(
            .server, "groups",
            #""groups":{"g":{"tools":["x"],"limits":[{"counter":"c","window":"day","max":10}]}}"#),
        KeyRow(.server, "on_deny", #""on_deny":"Ask Ann.""#),
        KeyRow(.allTools, "limits", #""limits":[{"counter":"c","window":"day","max":10}]"#),
    ]

    private static let tools = [
        KeyRow(.tool, "limits", #""limits":[{"counter":"c","window":"day","max":10}]"#),
        KeyRow(.tool, "action", "allow", #""action":"allow""#),
        KeyRow(.tool, "action", "deny", #""action":"deny""#),
        KeyRow(.tool, "action", "require_approval", #""action":"require_approval""#),
        KeyRow(.tool, "reason", #""action":"deny","reason":"Ask Ann.""#),
        KeyRow(.tool, "on_deny", #""action":"deny","on_deny":"Ask Ann.""#),
        KeyRow(.tool, "rate_limit", #""rate_limit":"10/minute""#),
        KeyRow(.tool, "each_tool", #""each_tool":true,"rate_limit":"10/minute""#),
        KeyRow(.tool, "hours", #""hours":{"from":"09:00","to":"18:00"}"#),
        KeyRow(.tool, "mode", "enforce", #""mode":"enforce""#),
        KeyRow(.tool, "mode", "shadow", #""mode":"shadow","action":"deny""#),
        KeyRow(.hours, "days", "mon-fri", #""days":"mon-fri","from":"09:00","to":"18:00""#),
        KeyRow(.hours, "days", "mon,wed,sat-sun", #""days":"mon,wed,sat-sun","from":"22:00","to":"06:00""#),
        KeyRow(.hours, "from", "09:00", #""from":"09:00","to":"18:00""#),
        KeyRow(.hours, "to", "18:00", #""from":"09:00","to":"18:00""#),
        KeyRow(.hours, "to", "24:00", #""from":"00:00","to":"24:00","days":"sat""#),
        KeyRow(.hours, "timezone", "Europe/Berlin", #""from":"09:00","to":"18:00","timezone":"Europe/Berlin""#),
        KeyRow(.hours, "timezone", "UTC", #""from":"09:00","to":"18:00","timezone":"UTC""#),
        KeyRow(.tool, "require", #""require":[{"path":"/file"}]"#),
        KeyRow(.tool, "deny_if", #""deny_if":{"path":"/etc"}"#),
        KeyRow(.rateLimit, "max", #""max":10,"window":60"#),
        KeyRow(.rateLimit, "window", #""max":10,"window":60"#),
    ]

    private static let limits = [
        KeyRow(.limit, "counter", #""window":1"#),
        KeyRow(.limit, "max", #""window":1"#),
        KeyRow(.limit, "scope", "grant", #""window":1,"scope":"grant""#),
        KeyRow(.limit, "scope", "session", #""window":1,"scope":"session""#),
        KeyRow(.limit, "scope", "server", #""window":1,"scope":"server""#),
        KeyRow(.limit, "scope", "global", #""window":1,"scope":"global""#),
        KeyRow(.limit, "scope", "attribute:NAME", #""window":1,"scope":"attribute:NAME""#),
        KeyRow(.limit, "across_grants", #""window":1,"scope":"session","across_grants":true"#),
        KeyRow(.limit, "algorithm", "fixed_window", #""window":1,"algorithm":"fixed_window""#),
        KeyRow(.limit, "algorithm", "sliding_window", #""window":1,"algorithm":"sliding_window""#),
        KeyRow(.limit, "algorithm", "sliding_log", #""window":1,"algorithm":"sliding_log""#),
        KeyRow(.limit, "algorithm", "token_bucket", #""window":1,"algorithm":"token_bucket""#),
        KeyRow(.limit, "algorithm", "concurrency", #""algorithm":"concurrency""#),
        KeyRow(.limit, "burst", #""window":1,"algorithm":"token_bucket","burst":20"#),
        KeyRow(.limit, "hold", #""algorithm":"concurrency","hold":600"#),
        KeyRow(.limit, "hold", "90s", #""algorithm":"concurrency","hold":"90s""#),
        KeyRow(.limit, "hold", "5m", #""algorithm":"concurrency","hold":"5m""#),
        KeyRow(.limit, "on_outage", "local", #""window":1,"on_outage":"local""#),
        KeyRow(.limit, "on_outage", "allow", #""window":1,"on_outage":"allow""#),
        KeyRow(.limit, "on_outage", "deny", #""window":1,"on_outage":"deny""#),
        KeyRow(.limit, "mode", "enforce", #""window":1,"mode":"enforce""#),
        KeyRow(.limit, "mode", "shadow", #""window":1,"mode":"shadow""#),
        KeyRow(.limit, "counts", "cost", #""window":1,"counts":"cost""#),
        KeyRow(.limit, "counts", "calls", #""window":1,"counts":"calls""#),
        KeyRow(.limit, "unit", #""window":1,"unit":"tokens""#),
        KeyRow(.limit, "precision", "exact", #""window":1,"precision":"exact""#),
        KeyRow(.limit, "precision", "leased", #""window":1,"precision":"leased""#),
        KeyRow(.limit, "on_deny", #""window":1,"on_deny":"Slow down.""#),
    ]

    private static let windows =
        ["second", "minute", "hour", "day", "week", "month", "90s", "15m", "6h", "2d"]
        .map { (word: String) in KeyRow(.limit, "window", word, #""window":"\#(word)""#) } + [
            KeyRow(.limit, "window", #""window":90"#),
            KeyRow(.limit, "timezone", "Europe/Berlin", #""window":"day","timezone":"Europe/Berlin""#),
            KeyRow(.limit, "timezone", "UTC", #""window":"hour","timezone":"UTC""#),
        ]

    /// Objects in which something nobody knows is written, so that the fault names all that is known there: keys of each
    /// object, and words of each key that chooses.
    static let probes: [(object: KeyRow.Object, key: String?, document: String)] = [
        (.document, nil, #"{"version":"1","default":"deny","?":0}"#),
        (.allTools, nil, document(members: #""all_tools":{"?":0}"#)),
        (.tool, nil, document(tool: #"{"?":0}"#)),
        (.rateLimit, nil, document(tool: #"{"rate_limit":{"max":1,"window":1,"?":0}}"#)),
        (.limit, nil, document(limit: #"{"counter":"c","max":1,"window":1,"?":0}"#)),
        (.group, nil, document(members: #""groups":{"g":{"tools":["x"],"limits":[],"?":0}}"#)),
        (.server, nil, document(members: #""servers":{"s":{"?":0}}"#)),
        (.hours, nil, document(tool: #"{"hours":{"from":"09:00","to":"18:00","?":0}}"#)),
        (.document, "mode", #"{"version":"1","default":"deny","mode":"?"}"#),
        (.server, "default", document(members: #""servers":{"s":{"default":"?"}}"#)),
        (.tool, "mode", document(tool: #"{"mode":"?"}"#)),
        (.hours, "days", document(tool: #"{"hours":{"from":"09:00","to":"18:00","days":"?"}}"#)),
        (.hours, "from", document(tool: #"{"hours":{"from":"?","to":"18:00"}}"#)),
        (.hours, "to", document(tool: #"{"hours":{"from":"09:00","to":"?"}}"#)),
        (.hours, "timezone", document(tool: #"{"hours":{"from":"09:00","to":"18:00","timezone":"?"}}"#)),
        (.document, "version", #"{"version":"?","default":"deny"}"#),
        (.document, "default", #"{"version":"1","default":"?"}"#),
        (.document, "hide", document(members: #""hide":"?""#)),
        (.tool, "action", document(tool: #"{"action":"?"}"#)),
        (.limit, "window", document(limit: #"{"counter":"c","max":1,"window":"?"}"#)),
        (.limit, "timezone", document(limit: #"{"counter":"c","max":1,"window":"day","timezone":"?"}"#)),
        (.limit, "scope", document(limit: #"{"counter":"c","max":1,"window":1,"scope":"?"}"#)),
        (.limit, "algorithm", document(limit: #"{"counter":"c","max":1,"window":1,"algorithm":"?"}"#)),
        (.limit, "hold", document(limit: #"{"counter":"c","max":1,"algorithm":"concurrency","hold":"?"}"#)),
        (.limit, "on_outage", document(limit: #"{"counter":"c","max":1,"window":1,"on_outage":"?"}"#)),
        (.limit, "mode", document(limit: #"{"counter":"c","max":1,"window":1,"mode":"?"}"#)),
        (.limit, "counts", document(limit: #"{"counter":"c","max":1,"window":1,"counts":"?"}"#)),
        (.limit, "precision", document(limit: #"{"counter":"c","max":1,"window":1,"precision":"?"}"#)),
    ]
}
