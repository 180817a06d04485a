/// A policy in a form for people.
package struct PolicySummary: Sendable {
    private let policy: Policy
    private let file: String

    /// - Parameter file: the document's name in the summary.
    package init(_ policy: Policy, file: String) {
        self.policy = policy
        self.file = file
    }

    /// A table with a row for each limit and each tool without one, the gateway's duties, and then `line`. Ends with a
    /// line feed.
    ///
    /// Tools are sorted by name; each row repeats its tool, so that a tool's rows can be searched for. Columns for
    /// algorithms, outages and modes appear only if some limit differs from the defaults.
    ///
    /// - Parameters:
    ///   - advises: whether advice is included before `line`: see `PolicyAdvice`.
    ///   - gateway: what asks, if advice about that is wanted, too.
    package func render(advises: Bool = false, for gateway: PolicyAdvice.Gateway? = nil) -> String {
        let limits = limits
        let fields = LimitField.inSummaries.filter { field in
            field.presence == .always || limits.contains(where: field.isNotable)
        }
        let entries = PolicyListing(policy).allEntries
        let hasHours = entries.contains { $0.hours != nil }
        let header = ["tool", "action"] + (hasHours ? ["hours"] : []) + ["counter", "limit"] + fields.map(\.title)
        let rows = entries.flatMap { entry in
            let hours = hasHours ? [entry.hours?.words ?? "-"] : []
            let subject = [entry.title, entry.actionWords ?? "-"] + hours
            let limits = entry.limits.map { limit in
                subject + [limit.counter.onOneLine, limit.rate] + fields.map { $0.allWords(limit) ?? $0.absent }
            }
            return limits.isEmpty ? [subject + ["-", "-"] + fields.map { _ in "-" }] : limits
        }
        let reserving = policy.mustReserve.sentence.map { "\($0)\n\n" } ?? ""
        let advice = (advises ? PolicyAdvice.all(of: policy, for: gateway) : []).map { "\($0.line)\n" }.joined()
        return TextTable.render([header] + rows) + "\n" + reserving + advice + (advice.isEmpty ? "" : "\n") + line
            + "\n"
    }

    /// `policy.json: ok, 1 tool, 1 limit, default deny`
    package var line: String { "\(file.onOneLine): ok, \(facts)" }

    /// `1 tool, 1 limit, default deny`
    package var facts: String {
        let patterns = policy.patterns.entries.count
        var facts = [counted(policy.tools.count - patterns, "tool"), counted(limits.count, "limit")]
        if patterns > 0 { facts.insert(counted(patterns, "pattern"), at: 1) }
        if !policy.groups.isEmpty { facts.append(counted(policy.groups.count, "group")) }
        if !policy.servers.isEmpty { facts.append(counted(policy.servers.count, "server")) }
        facts.append("default \(policy.defaultRuling.rawValue)")
        if policy.hidesEverything {
            facts.append("every tool hidden")
        } else if !policy.hidden.isEmpty {
            facts.append("\(policy.hidden.count) hidden")
        }
        if policy.mode == .shadow { facts.append("all in shadow") }
        let checked = policy.tools.values.count { $0.hasArgumentRules }
        if checked > 0 { facts.append("\(counted(checked, "tool")) with arguments for the gateway to check") }
        return facts.joined(separator: ", ")
    }

    private var limits: [Limit] { policy.allLimits }
}

/// The policies of all grants in a form for people.
package struct PolicySetSummary: Sendable {
    private let policies: PolicySet
    private let file: String

    /// - Parameter file: the name of the folder, or of the one document, in the summary.
    package init(_ policies: PolicySet, file: String) {
        self.policies = policies
        self.file = file
    }

    /// The mapping of grants to documents, each document, and then `line`; for a single policy, its own summary. Ends
    /// with a line feed.
    ///
    /// - Parameters: as in `PolicySummary.render`.
    package func render(advises: Bool = false, for gateway: PolicyAdvice.Gateway? = nil) -> String {
        if let single = policies.single {
            return PolicySummary(single, file: file).render(advises: advises, for: gateway)
        }
        let grants = policies.sortedGrants.map { grant, document in
            [grant.onOneLine, document.onOneLine + policies.maximaWords(ofEntry: grant)]
        }
        let documents = policies.documents.sorted { $0.key < $1.key }.map { name, policy in
            PolicySummary(policy, file: PolicySet.fileName(ofDocument: name))
                .render(advises: advises, for: gateway) + "\n"
        }
        let others = policies.grants[PolicySet.everyGrant] == nil ? [["(any other)", "no policy: denied"]] : []
        return TextTable.render([["grant", "policy"]] + grants + others) + "\n" + documents.joined() + line + "\n"
    }

    /// `policies: ok, 2 documents (1 unused), 3 grants`
    package var line: String {
        if let single = policies.single { return PolicySummary(single, file: file).line }
        let unused = Set(policies.documents.keys).subtracting(policies.grants.values)
            .subtracting(policies.bases).count
        let documents = counted(policies.documents.count, "document") + (unused > 0 ? " (\(unused) unused)" : "")
        return "\(file.onOneLine): ok, \(documents), \(counted(policies.grants.count, "grant"))"
    }
}

extension PolicySet {
    /// The maxima that an entry of `grants` has instead of its document's: ` with max of PATH 50`; empty if it has none.
    func maximaWords(ofEntry grant: String) -> String {
        let maxima = (maxima[grant] ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key.onOneLine) \($0.value)" }
        return maxima.isEmpty ? "" : " with max of " + maxima.joined(separator: ", ")
    }
}
