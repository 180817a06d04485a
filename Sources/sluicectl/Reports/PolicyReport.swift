import SluicePolicy
import SluiceTerminal

/// The output of `policy show`.
struct PolicyReport {
    private struct Document {
        /// Its name in `grants.json`; `nil` for the one policy of all grants.
        let name: String?
        let policy: Policy
        let listing: PolicyListing
        let mustReserve: ReservingCalls
    }

    private let source: String
    private let grant: String?
    /// The mapping of grants to documents, if there are several.
    private let grants: [(grant: String, document: String)]
    private let maxima: [String: [String: Int64]]
    private let isSingle: Bool
    private let documents: [Document]

    /// - Parameters:
    ///   - source: where the policies come from.
    ///   - grant: whose document is shown; `nil` for all.
    ///   - tool: the one tool that is shown; `nil` for all.
    init(_ policies: PolicySet, source: String, grant: String?, tool: String?) {
        let document = { (name: String?, policy: Policy) in
            Document(
                name: name, policy: policy,
                listing: tool.map { PolicyListing(policy, tool: $0) } ?? PolicyListing(policy),
                mustReserve: policy.mustReserve.of(tool))
        }
        self.source = source
        self.grant = grant
        isSingle = policies.single != nil
        maxima = grant.map { [$0: policies.maxima(forGrant: $0)] } ?? policies.maxima
        if let single = policies.single {
            grants = []
            documents = [document(nil, single)]
        } else if let grant {
            let name = policies.documentName(forGrant: grant)
            grants = name.map { [(grant, $0)] } ?? []
            documents = policies.policy(forGrant: grant).map { [document(name, $0)] } ?? []
        } else {
            grants = policies.sortedGrants
            documents = policies.documents.sorted { $0.key < $1.key }.map { document($0.key, $0.value) }
        }
    }

    // MARK: - Text

    func text(_ style: Style) -> String {
        let parts = (isSingle ? [] : [grantTable(style)]) + documents.map { text(of: $0, style) }
        return parts.joined(separator: "\n")
    }

    private func grantTable(_ style: Style) -> String {
        var table = TextTable([.init("grant"), .init("policy")])
        for entry in grants {
            let maxima = (maxima[entry.grant] ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
            let words = maxima.isEmpty ? "" : " with max of " + maxima.joined(separator: ", ")
            table.append([.init(entry.grant), .init(entry.document + words)])
        }
        if let grant, grants.isEmpty { table.append([.init(grant), .init("no policy: denied", .bad)]) }
        if grant == nil && !grants.contains(where: { $0.grant == PolicySet.everyGrant }) {
            table.append(["(any other)", .init("no policy: denied", .bad)])
        }
        return table.render(style)
    }

    private func text(of document: Document, _ style: Style) -> String {
        let name = TerminalText.visible(document.name ?? source)
        let heading = style.apply(.strong, to: name) + ": " + PolicySummary(document.policy, file: name).facts
        let messages = messageTable(document.listing)
        let reserving = document.mustReserve.sentence.map { "\n" + style.apply(.caution, to: $0) + "\n" } ?? ""
        return heading + "\n\n" + ruleTable(document.listing).render(style)
            + (messages.map { "\n" + $0.render(style) } ?? "") + reserving
    }

    /// A row for each limit, and for each tool without one. Columns without values are left out.
    private func ruleTable(_ listing: PolicyListing) -> TextTable {
        let entries = listing.allEntries
        let limits = entries.flatMap(\.limits)
        let fields = LimitField.inColumns.filter { field in
            field.presence != .rare || limits.contains { field.words($0) != nil }
        }
        let hasArguments = entries.contains(where: \.hasArgumentRules)
        let hasHours = entries.contains { $0.hours != nil }
        let columns = fields.map { TextTable.Column($0.title, $0.isNumber ? .right : .left) }
        var table = TextTable(
            [.init("tool"), .init("action")] + (hasHours ? [.init("hours")] : []) + [.init("counter")] + columns
                + (hasArguments ? [.init("arguments")] : []))
        for entry in entries {
            let hours: [TextTable.Cell] = hasHours ? [.init(entry.hours?.words ?? "-")] : []
            let subject: [TextTable.Cell] = [.init(entry.title), Self.cell(entry)] + hours
            let arguments: [TextTable.Cell] = hasArguments ? [entry.hasArgumentRules ? "by the gateway" : "-"] : []
            for limit in entry.limits {
                let cells = fields.map { Self.cell($0, limit) }
                table.append(subject + [.init(limit.counter)] + cells + arguments)
            }
            if entry.limits.isEmpty { table.append(subject + ["-"] + fields.map { _ in "-" } + arguments) }
        }
        return table
    }

    /// The agents' messages, by what denies the call.
    private func messageTable(_ listing: PolicyListing) -> TextTable? {
        var table = TextTable([.init("tool"), .init("denied by"), .init("what the agent is told")])
        var isEmpty = true
        for entry in listing.allEntries {
            let limits = entry.limits.filter { $0.mode == .enforce }.map { ($0.counter, $0.denialMessage) }
            let all = (entry.message.map { [(entry.action?.rawValue ?? "", $0)] } ?? []) + limits
            for (cause, message) in all {
                isEmpty = false
                table.append([.init(entry.title), .init(cause), .init(message)])
            }
        }
        return isEmpty ? nil : table
    }

    private static func cell(_ entry: PolicyListing.Entry) -> TextTable.Cell {
        let tone: Style.Tone =
            switch entry.action {
            case nil: .plain
            case .allow: .good
            case .deny: entry.isShadow ? .caution : .bad
            case .requireApproval: .caution
            case .hidden: .faint
            }
        return .init(entry.actionWords ?? "-", tone)
    }

    private static func cell(_ field: LimitField, _ limit: Limit) -> TextTable.Cell {
        let words = field.words(limit) ?? field.absent
        let tone: Style.Tone =
            switch (field.key, words) {
            case ("max", "0"): .bad
            case ("on_outage", "deny"), ("mode", "shadow"): .caution
            default: .plain
            }
        return .init(words, tone)
    }

    // MARK: - JSON

    var json: JSONText {
        let entries = grants.map { entry -> JSONText in
            let maxima = (maxima[entry.grant] ?? [:]).sorted { $0.key < $1.key }
                .map { ($0.key, JSONText.integer($0.value)) }
            return JSONText.object(
                [("grant", .string(entry.grant)), ("policy", .string(entry.document))]
                    + (maxima.isEmpty ? [] : [("max", .object(maxima))]))
        }
        return .object([
            ("source", .string(source)),
            ("grants", isSingle ? .null : .array(entries)),
            ("documents", .array(documents.map(Self.json))),
        ])
    }

    private static func json(_ document: Document) -> JSONText {
        let servers = document.listing.servers.map { name, listing in
            JSONText.object([("name", .string(name))] + rules(document.policy.rules(forServer: name), listing))
        }
        return .object(
            [
                ("name", document.name.map { .string($0) } ?? .null),
                ("mode", .string(document.policy.mode.rawValue)),
            ] + rules(document.policy, document.listing) + [
                ("servers", .array(servers)),
                ("must_reserve", .array(document.mustReserve.titles.map { .string($0) })),
            ])
    }

    /// What a document and the rules of a server both have.
    private static func rules(_ policy: Policy, _ listing: PolicyListing) -> [(String, JSONText)] {
        let entries = listing.entries
        let groups = entries.compactMap { entry -> JSONText? in
            guard case .group(let name) = entry.subject, let group = policy.groups[name] else { return nil }
            return .object([
                ("group", .string(name)), ("tools", .array(group.tools.sorted().map { .string($0) })),
                ("limits", .array(entry.limits.map(json))),
            ])
        }
        return [
            ("default", .string(policy.defaultRuling.rawValue)),
            ("on_deny", policy.onDeny.map { .string($0) } ?? .null),
            ("hide", .array(policy.hidden.sorted().map { .string($0) })),
            ("tools", .array(entries.compactMap(tool))),
            ("groups", .array(groups)),
            ("all_tools", .array(entries.filter { $0.subject == .allTools }.flatMap(\.limits).map(json))),
        ]
    }

    private static func tool(_ entry: PolicyListing.Entry) -> JSONText? {
        let name: String
        var isListed = true
        var pattern: String?
        switch entry.subject {
        case .tool(let tool): (name, pattern) = (tool, NamePattern.isPattern(tool) ? tool : nil)
        case .matched(let tool, let text): (name, pattern) = (tool, text)
        case .unlisted(let tool): (name, isListed) = (tool, false)
        case .anyOther, .allTools, .group: return nil
        }
        let hours = entry.hours.map { hours in
            JSONText.object([
                ("days", .string(hours.daysText)), ("from", .string(hours.fromText)), ("to", .string(hours.toText)),
                ("timezone", .string(hours.zone.name)),
            ])
        }
        return .object([
            ("tool", .string(name)),
            ("listed", .boolean(isListed)),
            ("pattern", pattern.map { .string($0) } ?? .null),
            ("each_tool", .boolean(entry.eachTool)),
            ("hours", hours ?? .null),
            ("mode", .string(entry.isShadow ? "shadow" : "enforce")),
            ("action", entry.action.map { .string($0.rawValue) } ?? .null),
            ("message", entry.message.map { .string($0) } ?? .null),
            ("arguments_checked_by_gateway", .boolean(entry.hasArgumentRules)),
            ("limits", .array(entry.limits.map(json))),
        ])
    }

    /// In the documents' own words, so that they can be copied.
    private static func json(_ limit: Limit) -> JSONText {
        let fields = LimitField.inJSON.map { ($0.jsonKey, $0.value(limit).map(json) ?? .null) }
        return .object(fields + [("rule", .string(limit.rule)), ("message", .string(limit.denialMessage))])
    }

    private static func json(_ value: LimitField.Value) -> JSONText {
        switch value {
        case .number(let number): .integer(number)
        case .seconds(let seconds): .string("\(seconds)s")
        case .word(let word): .string(word)
        case .flag(let flag): .boolean(flag)
        }
    }
}
