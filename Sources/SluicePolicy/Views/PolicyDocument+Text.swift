/// Writes policies as documents, so that those in force can be read, and compared, like files.
extension PolicyDocument {
    /// An equivalent document of this policy: `parse` makes an equal policy from it. Tools are sorted by name, and
    /// defaults are left out. Of rules on arguments, which belong to the gateway, it only states that they exist.
    package static func text(of policy: Policy) -> String {
        var members = ["\"version\": \"1\"", "\"default\": \(policy.defaultRuling.rawValue.asJSON)"]
        if !policy.hidden.isEmpty {
            members.append("\"hide\": [" + policy.hidden.sorted().map(\.asJSON).joined(separator: ", ") + "]")
        }
        if !policy.allToolsLimits.isEmpty {
            members.append("\"all_tools\": {\(limits(policy.allToolsLimits))}")
        }
        if !policy.tools.isEmpty {
            let tools = policy.tools.sorted { $0.key < $1.key }.map { "    \($0.key.asJSON): {\(rule($0.value))}" }
            members.append("\"tools\": {\n" + tools.joined(separator: ",\n") + "\n  }")
        }
        return "{\n" + members.map { "  \($0)" }.joined(separator: ",\n") + "\n}\n"
    }

    private static func rule(_ rule: ToolRule) -> String {
        var members: [String] = []
        if rule.action != .allow { members.append("\"action\": \(rule.action.rawValue.asJSON)") }
        if let reason = rule.reason { members.append("\"reason\": \(reason.asJSON)") }
        if rule.eachTool { members.append("\"\(PolicyKeys.eachTool)\": true") }
        if rule.hasArgumentRules { members.append("\"require\": []") }
        let short = rule.limits.firstIndex(where: \.isShortRate)
        let others = rule.limits.indices.filter { $0 != short }.map { rule.limits[$0] }
        let list = others.isEmpty ? [] : [limits(others)]
        let rate = short.map { index in
            let limit = rule.limits[index]
            return "\"\(PolicyKeys.rateLimit)\": {\"max\": \(limit.max), \"window\": \(limit.window.seconds)}"
        }
        // Limits keep the order in which the two are written.
        members += short == 0 ? [rate].compactMap(\.self) + list : list + [rate].compactMap(\.self)
        return members.joined(separator: ", ")
    }

    private static func limits(_ limits: [Limit]) -> String {
        let indent = "      "
        return "\"limits\": [\n" + limits.map { "\(indent){\(members(of: $0))}" }.joined(separator: ",\n") + "\n    ]"
    }

    private static func members(of limit: Limit) -> String {
        let members = LimitField.inDocuments.compactMap { field in
            field.isDefault(limit) ? nil : field.value(limit).map { "\"\(field.key)\": \($0.asJSON)" }
        }
        return members.joined(separator: ", ")
    }
}

extension PolicySet {
    /// The files of an equivalent folder: `parse(files:)` makes an equal set from them. For a single policy, its one
    /// document.
    package var files: [(name: String, text: String)] {
        if let single { return [(name: "policy.json", text: PolicyDocument.text(of: single))] }
        let mapping = sortedGrants.map { "  \($0.grant.asJSON): \($0.document.asJSON)" }
        return [(name: Self.grantsFile, text: "{\n" + mapping.joined(separator: ",\n") + "\n}\n")]
            + documents.sorted { $0.key < $1.key }.map {
                (name: Self.fileName(ofDocument: $0.key), text: PolicyDocument.text(of: $0.value))
            }
    }
}

extension Limit {
    /// Whether it is its tool's `rate_limit` rather than one of the `limits`.
    fileprivate var isShortRate: Bool {
        rule == "\(container.path)/\(PolicyKeys.rateLimit)"
    }
}

extension LimitField.Value {
    fileprivate var asJSON: String {
        switch self {
        case .number(let number), .seconds(let number): String(number)
        case .word(let word): word.asJSON
        case .flag(let flag): String(flag)
        }
    }
}

extension String {
    /// The text as a JSON string.
    fileprivate var asJSON: String {
        var text = "\""
        for scalar in unicodeScalars {
            switch scalar {
            case "\"", "\\":
                text += "\\"
                text.unicodeScalars.append(scalar)
            case "\u{0}"..<" ": text += String(scalar).onOneLine
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}
