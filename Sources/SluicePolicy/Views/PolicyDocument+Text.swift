/// Writes policies as documents, so that those in force can be read, and compared, like files.
extension PolicyDocument {
    /// An equivalent document of this policy: `parse` makes an equal policy from it. Tools are sorted by name, and
    /// defaults are left out. Of rules on arguments, which belong to the gateway, it only states that they exist.
    package static func text(of policy: Policy) -> String {
        var members = ["\"version\": \"1\""] + members(of: policy)
        if policy.mode == .shadow { members.append("\"mode\": \"shadow\"") }
        if !policy.servers.isEmpty {
            let servers = policy.servers.sorted { $0.key < $1.key }.map { name, rules in
                "\(name.asJSON): {\n" + indented(self.members(of: rules).joined(separator: ",\n"), by: 2) + "\n}"
            }
            members.append("\"servers\": {\n" + indented(servers.joined(separator: ",\n"), by: 2) + "\n}")
        }
        return "{\n" + indented(members.joined(separator: ",\n"), by: 2) + "\n}\n"
    }

    /// What a document and the rules of a server both may have.
    private static func members(of policy: Policy) -> [String] {
        let isShadow = policy.mode == .shadow
        var members = ["\"default\": \(policy.defaultRuling.rawValue.asJSON)"]
        if let message = policy.onDeny { members.append("\"on_deny\": \(message.asJSON)") }
        if !policy.hidden.isEmpty { members.append("\"hide\": \(names(policy.hidden))") }
        if !policy.allToolsLimits.isEmpty {
            members.append("\"all_tools\": {\(limits(policy.allToolsLimits, isShadow: isShadow))}")
        }
        if !policy.groups.isEmpty {
            let groups = policy.groups.sorted { $0.key < $1.key }.map { name, group in
                "\(name.asJSON): {\"tools\": \(names(group.tools)), \(limits(group.limits, isShadow: isShadow))}"
            }
            members.append("\"groups\": {\n" + indented(groups.joined(separator: ",\n"), by: 2) + "\n}")
        }
        if !policy.tools.isEmpty {
            let tools = policy.tools.sorted { $0.key < $1.key }.map { name, rule in
                "\(name.asJSON): {\(self.rule(rule, isShadow: isShadow))}"
            }
            members.append("\"tools\": {\n" + indented(tools.joined(separator: ",\n"), by: 2) + "\n}")
        }
        return members
    }

    private static func names(_ names: Set<String>) -> String {
        "[" + names.sorted().map(\.asJSON).joined(separator: ", ") + "]"
    }

    /// JSON has no line ends within strings.
    private static func indented(_ text: String, by count: Int) -> String {
        let indent = String(repeating: " ", count: count)
        return text.split(separator: "\n", omittingEmptySubsequences: false).map { indent + $0 }.joined(separator: "\n")
    }

    /// - Parameter isShadow: whether the whole document is.
    private static func rule(_ rule: ToolRule, isShadow: Bool) -> String {
        var members: [String] = []
        if rule.action != .allow { members.append("\"action\": \(rule.action.rawValue.asJSON)") }
        if let reason = rule.reason { members.append("\"reason\": \(reason.asJSON)") }
        if rule.eachTool { members.append("\"\(PolicyKeys.eachTool)\": true") }
        if rule.mode == .shadow { members.append("\"mode\": \"shadow\"") }
        if let hours = rule.hours {
            let texts = [
                ("days", hours.daysText), ("from", hours.fromText), ("to", hours.toText), ("timezone", hours.zone.name),
            ]
            let fields = texts.map { "\($0.asJSON): \($1.asJSON)" }.joined(separator: ", ")
            members.append("\"hours\": {\(fields)}")
        }
        if rule.hasArgumentRules { members.append("\"require\": []") }
        let short = rule.limits.firstIndex(where: \.isShortRate)
        let others = rule.limits.indices.filter { $0 != short }.map { rule.limits[$0] }
        let list = others.isEmpty ? [] : [limits(others, isShadow: isShadow || rule.mode == .shadow)]
        let rate = short.map { index in
            let limit = rule.limits[index]
            return "\"\(PolicyKeys.rateLimit)\": {\"max\": \(limit.max), \"window\": \(limit.window.seconds)}"
        }
        // Limits keep the order in which the two are written.
        members += short == 0 ? [rate].compactMap(\.self) + list : list + [rate].compactMap(\.self)
        return members.joined(separator: ", ")
    }

    private static func limits(_ limits: [Limit], isShadow: Bool) -> String {
        let lines = limits.map { "  {\(members(of: $0, isShadow: isShadow))}" }
        return "\"limits\": [\n" + lines.joined(separator: ",\n") + "\n]"
    }

    private static func members(of limit: Limit, isShadow: Bool) -> String {
        let members = LimitField.inDocuments.compactMap { field -> String? in
            // What a document or a tool says of all its limits is not written again.
            if field.isDefault(limit) || (isShadow && field.key == "mode") { return nil }
            return field.value(limit).map { "\"\(field.key)\": \($0.asJSON)" }
        }
        return members.joined(separator: ", ")
    }
}

extension PolicySet {
    /// The files of an equivalent folder: `parse(files:)` makes an equal set from them. For a single policy, its one
    /// document.
    package var files: [(name: String, text: String)] {
        if let single { return [(name: "policy.json", text: PolicyDocument.text(of: single))] }
        let mapping = sortedGrants.map { grant, document in
            guard let maxima = maxima[grant] else { return "  \(grant.asJSON): \(document.asJSON)" }
            let list = maxima.sorted { $0.key < $1.key }.map { "\($0.key.asJSON): \($0.value)" }
            return "  \(grant.asJSON): {\"policy\": \(document.asJSON), \"max\": {\(list.joined(separator: ", "))}}"
        }
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
    var asJSON: String {
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
