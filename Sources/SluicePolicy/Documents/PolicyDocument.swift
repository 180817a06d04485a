/// The text of a policy: PolicyLayer's document, version "1".
package enum PolicyDocument {
    /// Reads and checks a document and compiles it.
    ///
    /// - Parameters:
    ///   - bytes: JSON in UTF-8, at most `PolicyBounds.maxDocumentBytes`.
    ///   - file: the document's name for faults.
    ///   - features: the parts of the language that the caller supports.
    /// - Throws: every fault of the document at once, in the order of its text. That includes parts of the language
    /// that `features` does not contain: nothing is ever ignored.
    package static func parse(
        _ bytes: some Collection<UInt8>, file: String, features: PolicyFeatures = .supported
    ) throws(PolicyFaults) -> Policy {
        var faults = FaultCollector(file: file)
        guard let root = JSONParser.parse(bytes, faults: &faults) else { throw faults.collected() }
        return try read(root, faults: faults, features: features, isInFolder: false)
    }

    /// - Parameters:
    ///   - faults: those found so far.
    ///   - isInFolder: whether it may extend another document; what it has of that is then part of `root`.
    static func read(
        _ root: JSONValue, faults: FaultCollector, features: PolicyFeatures, isInFolder: Bool
    ) throws(PolicyFaults) -> Policy {
        var reader = PolicyReader(DocumentReader(faults: faults), features: features)
        reader.isInFolder = isInFolder
        let policy = reader.policy(DocumentNode(value: root, pointer: .root))
        guard let policy, reader.document.faults.isEmpty else { throw reader.document.faults.collected() }
        return policy
    }
}

/// Knows what the fields of a policy mean; `DocumentReader` knows how to read them.
///
/// For an invalid value every function notes the fault, returns `nil` and continues.
struct PolicyReader {
    var document: DocumentReader
    let features: PolicyFeatures
    let toolKeys: KnownKeys
    let limitKeys: KnownKeys
    /// The valid values of a window.
    let windowWords: String
    /// Whether a document may extend another.
    var isInFolder = false
    /// The mode of the document that is being read.
    var mode = Limit.Mode.enforce
    /// The server whose rules are being read.
    var server: String?
    /// The time zones named so far.
    var zones: [String: Zone] = [:]
    private var suggestions = 0

    init(_ document: DocumentReader, features: PolicyFeatures) {
        self.document = document
        self.features = features
        toolKeys = PolicyKeys.tool(features)
        limitKeys = PolicyKeys.limit(features)
        windowWords = Self.windowWords(features)
    }

    mutating func policy(_ node: DocumentNode) -> Policy? {
        guard var object = document.object(node, expected: "a policy: an object with \"version\" and \"default\"")
        else { return nil }

        if let node = object.take(PolicyKeys.extends), !isInFolder {
            document.unexpected(
                PolicyKeys.extends.quoted, at: node.keyPosition ?? node.value.position, node.pointer,
                expected: "it only in a folder of documents, as with --policies")
        }
        if let node = object.take("$schema") { _ = document.string(node, expected: "the address of a JSON Schema") }
        if let version = document.required("version", of: &object, expected: "\"1\"") {
            _ = choice(version, [FeatureWord("1", ())])
        }
        let defaultRuling = document.required("default", of: &object, expected: "\"allow\" or \"deny\"")
            .flatMap { choice($0, FeatureWord<Policy.Default>.all()) }
        mode = object.take("mode").flatMap { choice($0, FeatureWord<Limit.Mode>.all()) } ?? .enforce
        let serversNode = object.take("servers")
        let rules = rules(&object, defaultRuling: defaultRuling)
        document.finish(object, PolicyKeys.policy)
        guard let serversNode else { return rules }
        let servers = servers(serversNode, defaultRuling: defaultRuling)
        return rules.map { $0.with(servers: servers) }
    }

    /// The rules of a document, or of one of its servers: everything that both may have but `default`.
    mutating func rules(_ object: inout ObjectReader, defaultRuling: Policy.Default?) -> Policy? {
        let onDeny = object.take("on_deny").flatMap { defaultMessage($0, defaultRuling) }
        let hidden = object.take("hide").map { hiddenNames($0) } ?? []
        let overAllTools = object.take("all_tools").map { allTools($0) } ?? LimitList()
        var besides = LimitsBeside(overAllTools: overAllTools.written)
        let groups = object.take("groups").map { self.groups($0, &besides) } ?? [:]
        var tools: [String: ToolRule] = [:]
        if let node = object.take("tools"),
            var list = document.object(node, expected: "an object with a rule for each tool")
        {
            let rules = list.takeAll()
            for (name, rule) in rules {
                guard let rule = tool(name, rule, besides) else { continue }
                tools[name] = rule
            }
            checkPatterns(rules.filter { tools[$0.key] != nil }, of: "tool", at: node)
        }
        guard let defaultRuling else { return nil }
        return Policy(
            defaultRuling: defaultRuling, hidden: hidden, allToolsLimits: overAllTools.limits, tools: tools,
            groups: groups, onDeny: onDeny, mode: mode, server: server)
    }

    /// `on_deny` of a document: the message of the default.
    private mutating func defaultMessage(_ node: DocumentNode, _ defaultRuling: Policy.Default?) -> String? {
        let message = message(node)
        if defaultRuling == .allow {
            misplaced(
                node, key: "on_deny", beside: "with the default \"allow\"",
                expected: "it only with the default \"deny\", whose message it is")
        }
        return message
    }

    /// `hide`: an array of names, where `*` means all, or `"*"` alone.
    private mutating func hiddenNames(_ node: DocumentNode) -> Set<String> {
        if case .string(PolicyKeys.everyTool) = node.value.content { return [PolicyKeys.everyTool] }
        guard let elements = document.array(node, expected: "an array of tools' names, or \"*\"") else { return [] }
        let names = toolNames(elements)
        checkPatternCount(names.count(where: NamePattern.isPattern), at: node)
        return names
    }

    /// Looks up the nearest name in a long list, at most as often as the bound allows.
    mutating func suggestion(_ find: () -> String?) -> String? {
        guard suggestions < PolicyBounds.maxSuggestions else { return nil }
        suggestions += 1
        return find()
    }

    // MARK: Names and messages

    /// A name as a value.
    mutating func name(_ node: DocumentNode, of what: String) -> String? {
        guard let text = document.string(node, expected: "the name of \(what)") else { return nil }
        return isName(text, of: what, at: node.value.position, node.pointer) ? text : nil
    }

    /// Whether the socket protocol can carry a text as a name; notes why not.
    mutating func isName(
        _ text: String, of what: String, at position: SourcePosition, _ pointer: JSONPointer
    ) -> Bool {
        let length = text.utf8.count
        if length == 0 || length > PolicyBounds.maxNameBytes {
            document.unexpected(
                length == 0 ? "an empty name" : "a name of \(length) bytes", at: position, pointer,
                expected: "the name of \(what), 1 to \(PolicyBounds.maxNameBytes) bytes")
            return false
        }
        if text.utf8.contains(0) {
            document.unexpected(text.quoted, at: position, pointer, expected: "the name of \(what) without \\u0000")
            return false
        }
        return true
    }

    /// Whether a check may carry a name and it is not a pattern; notes why not. A pattern would match no tool, so the
    /// tool that it is meant to deny or limit would be unaffected.
    mutating func isExact(
        _ name: String, of what: String, at position: SourcePosition, _ pointer: JSONPointer
    ) -> Bool {
        guard name.utf8.contains(where: { $0 == UInt8(ascii: "*") || $0 == UInt8(ascii: "?") }) else { return true }
        document.notSupportedYet(
            name, at: position, pointer,
            why: "these names are compared whole, so a pattern with * or ? would match no \(what); write each one out")
        return false
    }

    /// Whether a name is a pattern that can be matched, or no pattern; notes why not.
    mutating func isPatternOrExact(_ name: String, at position: SourcePosition, _ pointer: JSONPointer) -> Bool {
        if name.utf8.contains(UInt8(ascii: "?")) {
            document.notSupportedYet(
                name, at: position, pointer, why: "a pattern has only *, for any number of characters")
            return false
        }
        if name.contains("**") {
            document.unexpected(
                name.quoted, at: position, pointer, expected: "a single *: it stands for any number of characters")
            return false
        }
        return true
    }

    /// Rejects patterns of which none takes precedence for a name that they both match.
    ///
    /// - Parameters:
    ///   - names: names and patterns with their nodes, in the order of the document.
    ///   - what: what they name.
    mutating func checkPatterns(_ names: [(key: String, node: DocumentNode)], of what: String, at node: DocumentNode) {
        let patterns = names.compactMap { name, node in NamePattern(name).map { (pattern: $0, node: node) } }
        guard checkPatternCount(patterns.count, at: node) else { return }
        for (index, (pattern, node)) in patterns.enumerated() {
            let rival = patterns[..<index].first {
                $0.pattern != pattern && $0.pattern.literalCount == pattern.literalCount
                    && $0.pattern.canMeet(pattern)
            }
            guard let rival else { continue }
            document.unexpected(
                "\(pattern.text.quoted) beside \(rival.pattern.text.quoted)",
                at: node.keyPosition ?? node.value.position, node.pointer,
                expected: "more characters in one of them: a \(what) may match both, and neither takes precedence")
        }
    }

    /// - Returns: whether there are no more than the bound allows.
    @discardableResult
    private mutating func checkPatternCount(_ count: Int, at node: DocumentNode) -> Bool {
        guard count > PolicyBounds.maxPatterns else { return true }
        document.unexpected(
            "\(count) patterns", at: node, expected: "at most \(PolicyBounds.maxPatterns) names with * in one place")
        return false
    }

    /// The document's text for the agent: it is sent as one line with every denial.
    mutating func message(_ node: DocumentNode) -> String? {
        guard let text = document.string(node, expected: "a sentence for the agent") else { return nil }
        let length = text.utf8.count
        if length == 0 || length > PolicyBounds.maxMessageBytes {
            document.unexpected(
                length == 0 ? "an empty message" : "a message of \(length) bytes", at: node,
                expected: "a sentence for the agent, 1 to \(PolicyBounds.maxMessageBytes) bytes")
            return nil
        }
        if text.breaksItsLine {
            document.unexpected(
                text.quoted, at: node, expected: "a sentence for the agent on one line, without control characters")
            return nil
        }
        return text
    }
}
