/// Every bound of a policy document, with its unit and its reason.
package enum PolicyBounds {
    /// Highest `max` of a limit. The usage of a hundred such limits is still below 2^53, the end of Lua's exact
    /// integers.
    package static let maxLimit: Int64 = 1_000_000_000_000
    /// Highest `max` of a `sliding_log` limit: each unit may be a charge with its own time, some 10 bytes in Redis and
    /// 24 in a replica. A check reads all of them.
    package static let maxLogLimit: Int64 = 1024
    /// From this `max` on a sliding window admits 95 % or more of a steady caller's rate; below it `policy check`
    /// recommends the log.
    package static let leastSlidingMax: Int64 = 20
    /// Longest window: 366 days in seconds. A counter's key must not outlive anybody's plans.
    package static let maxWindowSeconds: Int64 = 366 * 86_400
    /// The largest integer up to which Lua's numbers, and JavaScript's, are exact: 2^53.
    package static let maxExact: Int64 = 1 << 53
    /// Seconds of a day without a change of clocks.
    package static let secondsPerDay: Int64 = 86_400
    /// Longest life of a slot of a `concurrency` limit, in seconds: a day. A lost call holds its slot for so long.
    package static let maxHoldSeconds: Int64 = 86_400
    /// Default life of a slot, in seconds: longer than most tool calls, and short enough to wait for.
    package static let defaultHoldSeconds: Int64 = 300
    /// Longest name of an attribute in a limit's scope, in UTF-8 bytes: it becomes part of counters' keys.
    package static let maxAttributeNameBytes = 64
    /// Longest name of a time zone, in UTF-8 bytes; the database's longest has 32.
    package static let maxZoneNameBytes = 64
    /// Longest name of a tool, counter, grant or session, in UTF-8 bytes: the socket protocol's bound.
    package static let maxNameBytes = 256
    /// Longest `reason` or `on_deny`, in UTF-8 bytes: it is sent with every denial.
    package static let maxMessageBytes = 1024
    /// Most patterns of one document's `tools`, of its `hide`, and of `grants.json`: a name that none lists is compared
    /// with all of them when it is first seen, at some 50 ns each.
    package static let maxPatterns = 256
    /// Most groups of a document, or of one server's rules: a tool is looked for in each.
    package static let maxGroups = 64
    /// Most names and patterns of one group, and most patterns of all groups in one place.
    package static let maxGroupTools = 1_000
    /// Most documents that extend each other one behind the other, beside the first.
    package static let maxExtends = 8
    /// Most maxima of one grant in `grants.json`: few compared with the limits of a document, which they replace.
    package static let maxGrantMaxima = 64
    /// Most servers with rules of their own in one document.
    package static let maxServers = 256
    /// Longest `unit`, in UTF-8 bytes: a word or two in a message.
    package static let maxUnitBytes = 64
    /// Most limits of one check, the tool's and those over all tools together: each is a key in Redis.
    package static let maxLimitsPerCheck = 16
    /// Largest document, in bytes: 10,000 tools with some limits each are about 3 MB.
    package static let maxDocumentBytes = 16 * 1024 * 1024
    /// Most documents of one folder.
    package static let maxDocuments = 1_000
    /// Deepest nesting of JSON: the language itself needs 6.
    package static let maxDepth = 32
    /// Most faults reported of one document, so that an invalid file cannot flood a terminal.
    package static let maxFaults = 100
    /// Most faults that are examined to find the first `maxFaults`; the others are only counted. Without it, a document
    /// with very many faults would take half a minute.
    package static let maxExaminedFaults = 10_000
    /// Most unknown time zones, or documents, of one file for which the nearest known name is looked up: a long list
    /// takes milliseconds.
    package static let maxSuggestions = 20
}
