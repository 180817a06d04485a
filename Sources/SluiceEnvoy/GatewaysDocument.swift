package import SluicePolicy

/// The text of `--gateways FILE`: how the requests of gateways become checks.
package enum GatewaysDocument {
    /// - Throws: every fault of the document at once, as a policy's are.
    package static func parse(_ bytes: some Collection<UInt8>, file: String) throws(PolicyFaults) -> Gateways {
        var faults = FaultCollector(file: file)
        guard let root = JSONParser.parse(bytes, faults: &faults) else { throw faults.collected() }
        var reader = GatewaysReader(document: DocumentReader(faults: faults))
        let gateways = reader.gateways(DocumentNode(value: root, pointer: .root))
        guard let gateways, reader.document.faults.isEmpty else { throw reader.document.faults.collected() }
        return gateways
    }
}

/// Knows what the fields mean; `DocumentReader` knows how to read them.
private struct GatewaysReader {
    var document: DocumentReader

    mutating func gateways(_ node: DocumentNode) -> Gateways? {
        guard var object = document.object(node, expected: "an object with \"version\" and \"domains\"") else {
            return nil
        }
        var gateways = Gateways()
        if let version = document.required("version", of: &object, expected: "\"1\"") { word(version, among: ["1"]) }
        if let node = object.take("grant") { gateways.grant = grantSources(node) ?? gateways.grant }
        if let node = object.take("ratelimit_headers") { gateways.headers = choice(node) ?? gateways.headers }
        if let node = object.take("denial") { gateways.denial = choice(node) ?? gateways.denial }
        if let node = object.take("missing_metadata") {
            gateways.missingMetadata = choice(node) ?? gateways.missingMetadata
        }
        if let node = object.take("domains"),
            var domains = document.object(node, expected: "an object with a meaning for each domain")
        {
            let all = domains.takeAll()
            if all.count > EnvoyBounds.maxDomains {
                document.unexpected(
                    "\(all.count) domains", at: node, expected: "at most \(EnvoyBounds.maxDomains)")
            }
            gateways.domains = [:]
            for (name, node) in all { gateways.domains?[name] = domain(name, node) }
        }
        document.finish(
            object, KnownKeys(["version", "grant", "ratelimit_headers", "denial", "missing_metadata", "domains"]))
        return gateways
    }

    private static let sources = "\"context:NAME\", \"header:NAME\", \"jwt:CLAIM\" or \"principal\""

    private mutating func grantSources(_ node: DocumentNode) -> [Gateways.GrantSource]? {
        guard let elements = document.array(node, expected: "an array of \(Self.sources)") else { return nil }
        if elements.isEmpty { document.unexpected("an empty array", at: node, expected: Self.sources) }
        return elements.compactMap { element in
            guard let text = document.string(element, expected: Self.sources) else { return nil }
            if text == "principal" { return .principal }
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            if parts.count == 2, GatewayCheck.isName(parts[1]) {
                switch parts[0] {
                case "context": return .context(parts[1])
                case "header": return .header(parts[1].lowercased())
                case "jwt": return .claim(parts[1])
                default: break
                }
            }
            document.unexpected(text.quoted, at: element, expected: Self.sources)
            return nil
        }
    }

    private mutating func domain(_ name: String, _ node: DocumentNode) -> Gateways.Domain? {
        isName(name, of: "a domain", at: node.keyPosition ?? node.value.position, node.pointer)
        guard var object = document.object(node, expected: "an object that says what the descriptors' keys mean") else {
            return nil
        }
        var domain = Gateways.Domain()
        for (key, role) in Self.roles {
            guard let node = object.take(key), let name = self.name(node, of: "a descriptor's key") else { continue }
            domain.roles = domain.roles.filter { $0.value != role }
            if domain.roles.updateValue(role, forKey: name) != nil, isTaken(name, role, before: object) {
                document.unexpected(name.quoted, at: node, expected: "each descriptor key once")
            }
        }
        if let node = object.take("attributes"),
            let elements = document.array(node, expected: "an array of descriptor keys")
        {
            domain.attributes = Set(elements.compactMap { self.name($0, of: "a descriptor's key") })
        }
        if let node = object.take("tool_prefix"), let prefix = self.name(node, of: "a tool's prefix") {
            domain.toolPrefix = prefix
        }
        if let node = object.take("missing_grant") { domain.missingGrant = choice(node) ?? domain.missingGrant }
        if let node = object.take("missing_tool") { domain.missingTool = choice(node) ?? domain.missingTool }
        if let node = object.take("denial") { domain.denial = choice(node) ?? domain.denial }
        if let node = object.take("charges") { domain.charges = choice(node) ?? domain.charges }
        document.finish(
            object,
            KnownKeys(
                Self.roles.map(\.key) + [
                    "attributes", "tool_prefix", "missing_grant", "missing_tool", "denial", "charges",
                ]))
        return domain
    }

    private static let roles: [(key: String, role: Gateways.Domain.Role)] = [
        ("grant", .grant), ("tool", .tool), ("server", .server), ("session", .session), ("id", .id),
    ]

    /// Whether the document gives the name this other role, too: a default that it took the name from is no fault.
    private func isTaken(_ name: String, _ role: Gateways.Domain.Role, before object: ObjectReader) -> Bool {
        Self.roles.contains { key, other in
            guard other != role, let node = object.peek(key), case .string(name) = node.value.content else {
                return false
            }
            return true
        }
    }

    // MARK: - Words and names

    @discardableResult
    private mutating func word(_ node: DocumentNode, among words: [String]) -> String? {
        let expected = words.map(\.quoted).joined(separatedBy: "or")
        guard let text = document.string(node, expected: expected) else { return nil }
        guard words.contains(text) else {
            document.unexpected(
                text.quoted, at: node, expected: expected, nearest: NearestName.find(text, among: words))
            return nil
        }
        return text
    }

    private mutating func choice<Word: CaseIterable & RawRepresentable<String>>(_ node: DocumentNode) -> Word? {
        word(node, among: Word.allCases.map(\.rawValue)).flatMap(Word.init(rawValue:))
    }

    private mutating func name(_ node: DocumentNode, of what: String) -> String? {
        guard let text = document.string(node, expected: "the name of \(what)") else { return nil }
        return isName(text, of: what, at: node.value.position, node.pointer) ? text : nil
    }

    @discardableResult
    private mutating func isName(
        _ text: String, of what: String, at position: SourcePosition, _ pointer: JSONPointer
    ) -> Bool {
        if GatewayCheck.isName(text) { return true }
        document.unexpected(
            text.isEmpty ? "an empty name" : text.quoted, at: position, pointer,
            expected: "the name of \(what), 1 to \(PolicyBounds.maxNameBytes) bytes without \\u0000")
        return false
    }
}
