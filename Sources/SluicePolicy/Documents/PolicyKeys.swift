/// The keys of a policy document.
enum PolicyKeys {
    /// In `hide`: every tool.
    static let everyTool = "*"
    /// The key of a tool's short rate limit, and the name of the counter that it makes.
    static let rateLimit = "rate_limit"
    /// Rules on arguments, which only the gateway can evaluate.
    static let argumentRules = ["require", "deny_if"]

    /// What counts the calls that shadow rules would have denied; no limit's counter may be called so.
    static let actionDenials = "(action)"
    static let hoursDenials = "(hours)"
    static let hiddenDenials = "(hidden)"
    static let defaultDenials = "(default deny)"
    static let denials = [actionDenials, hoursDenials, hiddenDenials, defaultDenials]

    private static let ruleKeys = ["hide", "all_tools", "tools", "groups", "on_deny"]
    /// In a folder: the document that one is based on.
    static let extends = "extends"
    static let policy = KnownKeys(
        ["version", "default"] + ruleKeys + ["servers", "mode"], others: [extends, "$schema"])
    /// Of one server's rules.
    static let server = KnownKeys(["default"] + ruleKeys)
    static let group = KnownKeys(["tools", "limits"])
    static let hours = KnownKeys(["days", "from", "to", "timezone"])
    static let allTools = KnownKeys(["limits"])
    static let rateLimitObject = KnownKeys(["max", "window"])

    /// The key of a pattern's rule that counts each tool for itself.
    static let eachTool = "each_tool"

    private static let toolKeys = ["limits", "action", "reason", "on_deny", rateLimit, eachTool, "hours", "mode"]

    static func tool(_ features: PolicyFeatures) -> KnownKeys {
        features.contains(.argumentsCheckedByGateway)
            ? KnownKeys(toolKeys + argumentRules) : KnownKeys(toolKeys, others: argumentRules)
    }

    /// A key is listed if one of the features that give it a meaning is enabled.
    static func limit(_ features: PolicyFeatures) -> KnownKeys {
        let isOffered = { (field: LimitField) in
            field.needs.isEmpty || field.needs.contains(where: features.contains)
        }
        let fields = LimitField.inDocuments
        return KnownKeys(
            fields.filter(isOffered).map(\.key),
            others: fields.filter { !isOffered($0) }.map(\.key))
    }
}

/// A word that a field may hold, and the feature that it belongs to.
struct FeatureWord<Meaning: Sendable>: Sendable {
    let word: String
    let meaning: Meaning
    /// Not accepted without these.
    let needs: PolicyFeatures

    init(_ word: String, _ meaning: Meaning, needs: PolicyFeatures = []) {
        self.word = word
        self.meaning = meaning
        self.needs = needs
    }
}

extension FeatureWord where Meaning: CaseIterable & RawRepresentable<String> {
    /// All words of an enumeration.
    static func all(needs: (Meaning) -> PolicyFeatures = { _ in [] }) -> [FeatureWord] {
        Meaning.allCases.map { FeatureWord($0.rawValue, $0, needs: needs($0)) }
    }
}

extension PolicyReader {
    /// The meaning of one of a few words; words of a missing feature are rejected.
    /// - Parameters:
    ///   - key: what the message calls unsupported; the word itself if it is `nil`.
    ///   - why: what happens, or may be written, instead.
    mutating func choice<Meaning: Sendable>(
        _ node: DocumentNode, _ words: [FeatureWord<Meaning>], key: String? = nil, why: @autoclosure () -> String = ""
    ) -> Meaning? {
        let features = features
        let expected = { Self.quoted(Self.known(words, features)) }
        guard let text = document.string(node, expected: expected()) else { return nil }
        guard let found = words.first(where: { $0.word == text }) else {
            document.unexpected(
                text.quoted, at: node, expected: expected(), nearest: Self.nearest(to: text, among: words.map(\.word)))
            return nil
        }
        guard features.isSuperset(of: found.needs) else {
            document.notSupportedYet(key ?? text, at: node, why: why())
            return nil
        }
        return found.meaning
    }

    /// What other tools call the words of this language.
    private static let synonyms = [
        "block": "deny", "forbid": "deny", "refuse": "deny", "reject": "deny", "disallow": "deny", "permit": "allow",
        "ask": "require_approval", "approve": "require_approval", "approval": "require_approval",
        "confirm": "require_approval", "agent": "grant", "user": "grant", "client": "grant", "key": "grant",
        "consumer": "grant", "all": "global", "dry_run": "shadow", "log": "shadow", "monitor": "shadow",
        "audit": "shadow", "leaky_bucket": "token_bucket", "gcra": "token_bucket", "fixed": "fixed_window",
        "rolling_window": "sliding_window", "fail_open": "allow", "open": "allow", "fail_closed": "deny",
        "closed": "deny",
    ]

    /// The word that was most likely meant.
    static func nearest(to text: String, among words: [String]) -> String? {
        synonyms[text.lowercased()].flatMap { words.contains($0) ? $0 : nil }
            ?? NearestName.find(text, among: words)
    }

    /// The words that are accepted with these features.
    static func known(_ words: [FeatureWord<some Sendable>], _ features: PolicyFeatures) -> [String] {
        words.filter { features.isSuperset(of: $0.needs) }.map(\.word)
    }

    /// `"a", "b" or "c"`
    static func quoted(_ words: [String]) -> String { words.map(\.quoted).joined(separatedBy: "or") }

    /// Rejects a key that has no meaning beside the object's other keys.
    mutating func misplaced(_ node: DocumentNode, key: String, beside other: String, expected: String) {
        document.unexpected(
            "\(key.quoted) \(other)", at: node.keyPosition ?? node.value.position, node.pointer, expected: expected)
    }
}
