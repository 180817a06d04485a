/// The keys of a policy document, and those parts of the language that are known but not counted yet.
enum PolicyKeys {
    /// In `hide`: every tool.
    static let everyTool = "*"
    /// The key of a tool's short rate limit, and the name of the counter that it makes.
    static let rateLimit = "rate_limit"

    static let policy = KnownKeys(["version", "default", "hide", "all_tools", "tools"])
    static let allTools = KnownKeys(["limits"])
    static let tool = KnownKeys(
        ["limits", "action", "reason", "on_deny", rateLimit],
        notSupportedYet: [
            "require": "only the gateway sees arguments, so it must check them",
            "deny_if": "only the gateway sees arguments, so it must check them",
        ])
    static let rateLimitObject = KnownKeys(["max", "window"])
    static let limit = KnownKeys(
        ["counter", "window", "max", "scope", "on_deny"],
        others: fixedFields.map(\.key),
        notSupportedYet: [
            "burst": "only fixed windows are counted",
            "hold": "only fixed windows are counted",
        ])

    /// Fields of a limit that may only say what happens anyway.
    static let fixedFields = [
        FixedField(
            key: "algorithm", only: .string("fixed_window"),
            later: .words(["sliding_window", "token_bucket", "concurrency"]), why: "only fixed windows are counted"),
        FixedField(
            key: "on_outage", only: .string("local"), later: .words(["allow", "deny"]),
            why: "while Redis is away every limit goes on from local counters"),
        FixedField(key: "mode", only: .string("enforce"), later: .words(["shadow"]), why: "every limit is enforced"),
        FixedField(
            key: "precision", only: .string("exact"), later: .words(["leased"]), why: "every call is counted exactly"),
        FixedField(key: "timezone", only: .string("UTC"), later: .anyString, why: "windows are aligned to UTC"),
        FixedField(
            key: "across_grants", only: .bool(false), later: .words([]), why: "counters are kept inside the grant"),
    ]

    /// Scopes and windows that later versions count.
    static let laterScopes = ["server", "global"]
    static let laterScopePrefix = "attribute:"
    static let laterWindows = ["week", "month"]
}

/// A field of which this version accepts one value: the one that changes nothing.
struct FixedField: Sendable {
    enum Later: Sendable {
        case words([String])
        case anyString
    }

    let key: String
    let only: JSONValue.Content
    /// What the language of policies also knows.
    let later: Later
    let why: String
}

extension PolicyReader {
    /// Reads the fields that may only say what happens anyway.
    mutating func fixedFields(of object: inout ObjectReader) {
        for field in PolicyKeys.fixedFields {
            guard let node = object.take(field.key), node.value.content != field.only else { continue }
            switch (field.only, node.value.content, field.later) {
            case (.bool, .bool, _), (.string, .string, .anyString):
                document.notSupportedYet(field.key, at: node, why: field.why)
            case (.string, .string(let text), .words(let words)) where words.contains(text):
                document.notSupportedYet(field.key, at: node, why: field.why)
            case (.string(let only), .string(let text), .words(let words)):
                document.unexpected(
                    text.quoted, at: node, expected: only.quoted,
                    nearest: NearestName.find(text, among: [only] + words))
            default:
                document.unexpected(
                    node.value.summary, at: node, expected: JSONValue(field.only, at: node.value.position).summary)
            }
        }
    }
}
