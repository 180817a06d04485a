/// The limits of one container, as far as they could be read.
struct LimitList {
    var limits: [Limit] = []
    /// How many limits the document has there, including those with faults.
    var written = 0
    /// The counters' names, including those of limits with faults.
    var counters: Set<String> = []
}

/// Reads limits.
extension PolicyReader {
    static let maxRange: ClosedRange<Int64> = 0...PolicyBounds.maxLimit
    static let maxWords = DocumentReader.wholeNumber(in: maxRange)

    /// `limits` of a container; `path` is its path in a reply's `rule`.
    mutating func limits(_ node: DocumentNode, of container: Limit.Container, path: String) -> LimitList {
        var list = LimitList()
        guard let elements = document.array(node, expected: "an array of limits") else { return list }
        list.written = elements.count
        for element in elements {
            if let limit = limit(element, of: container, path: path, counters: &list.counters) {
                list.limits.append(limit)
            }
        }
        return list
    }

    private mutating func limit(
        _ node: DocumentNode, of container: Limit.Container, path: String, counters: inout Set<String>
    ) -> Limit? {
        guard
            var object = document.object(
                node, expected: "a limit: an object with \"counter\", \"window\" and \"max\"")
        else { return nil }
        let counter = document.required("counter", of: &object, expected: "a name")
            .flatMap { counterName($0, counters: &counters) }
        let maxNode = document.required("max", of: &object, expected: Self.maxWords)
        let max = maxNode.flatMap { document.wholeNumber($0, in: Self.maxRange) }
        let method = method(of: &object, max: max, at: maxNode)
        let sharing = sharing(of: &object)
        // The other fields are read even if there is no limit: their faults are reported, too.
        var limit = Limit(
            container: container, counter: counter ?? "", window: method?.window ?? .endless, max: max ?? 0,
            scope: sharing.scope, rule: "\(path)/limits/\(JSONPointer.escape(counter ?? ""))", onDeny: nil,
            algorithm: method?.algorithm ?? .fixedWindow, burst: method?.burst, holdMs: method?.holdMs,
            acrossGrants: sharing.acrossGrants)
        for field in LimitField.inDocuments {
            guard let read = field.read, let node = object.take(field.key) else { continue }
            read(&self, node, &limit)
        }
        document.finish(object, limitKeys)
        if mode == .shadow { limit.mode = .shadow }
        return counter == nil || max == nil || method == nil ? nil : limit
    }

    /// A counter's name. It must be unique in its container: a reply's `rule` names a limit by it, and two limits with
    /// the same window would share one counter.
    private mutating func counterName(_ node: DocumentNode, counters: inout Set<String>) -> String? {
        guard let name = name(node, of: "a counter") else { return nil }
        guard !PolicyKeys.denials.contains(name) else {
            document.unexpected(
                name.quoted, at: node, expected: "another name: this one counts what shadow rules would have denied")
            return nil
        }
        guard counters.insert(name).inserted else {
            document.unexpected(
                "a second counter \(name.quoted)", at: node, expected: "a name of its own for each counter here")
            return nil
        }
        return name
    }

    // MARK: Whose calls

    private static let scopes = [
        FeatureWord("grant", Limit.Scope.grant), FeatureWord("session", .session),
        FeatureWord("server", .server, needs: .moreScopes), FeatureWord("global", .global, needs: .moreScopes),
    ]
    private static let attributeWord = "\(Limit.Scope.attributePrefix)NAME"

    /// `scope` and `across_grants`; an invalid value counts as absent.
    private mutating func sharing(of object: inout ObjectReader) -> (scope: Limit.Scope, acrossGrants: Bool) {
        let node = object.take("scope")
        let scope = node.map { self.scope($0) } ?? .grant
        let acrossNode = object.take("across_grants")
        guard let acrossNode, acrossGrants(acrossNode) else { return (scope ?? .grant, false) }
        switch scope {
        case .session, .server, .attribute, nil: break
        case .grant, .global:
            misplaced(
                acrossNode, key: "across_grants", beside: "with the scope \((scope?.name ?? "").quoted)",
                expected: "it only with \(Self.quoted(["session", "server", Self.attributeWord]))")
        }
        return (scope ?? .grant, true)
    }

    private mutating func scope(_ node: DocumentNode) -> Limit.Scope? {
        let hasMore = features.contains(.moreScopes)
        let features = features
        let known = { Self.quoted(Self.known(Self.scopes, features) + (hasMore ? [Self.attributeWord] : [])) }
        guard let text = document.string(node, expected: known()) else { return nil }
        if text.hasPrefix(Limit.Scope.attributePrefix) {
            guard hasMore else {
                document.notSupportedYet(text, at: node, why: "a limit's scope is \(known())")
                return nil
            }
            let name = String(text.dropFirst(Limit.Scope.attributePrefix.count))
            guard isAttributeName(name, at: node),
                isExact(name, of: "attribute", at: node.value.position, node.pointer)
            else { return nil }
            return .attribute(name)
        }
        guard Self.scopes.contains(where: { $0.word == text }) else {
            document.unexpected(
                text.quoted, at: node, expected: known(),
                nearest: Self.nearest(to: text, among: Self.scopes.map(\.word) + [Self.attributeWord]))
            return nil
        }
        return choice(node, Self.scopes, why: "a limit's scope is \(known())")
    }

    private mutating func isAttributeName(_ name: String, at node: DocumentNode) -> Bool {
        let length = name.utf8.count
        if (1...PolicyBounds.maxAttributeNameBytes).contains(length), !name.utf8.contains(0) { return true }
        let found =
            switch length {
            case 0: "an empty name"
            case ...PolicyBounds.maxAttributeNameBytes: name.quoted
            default: "a name of \(length) bytes"
            }
        document.unexpected(
            found, at: node,
            expected: "\(Self.attributeWord.quoted) with the name of an attribute, 1 to"
                + " \(PolicyBounds.maxAttributeNameBytes) bytes without \\u0000")
        return false
    }

    private mutating func acrossGrants(_ node: DocumentNode) -> Bool {
        let isKnown = features.contains(.moreScopes)
        guard case .bool(let acrossGrants) = node.value.content else {
            document.unexpected(node.value.summary, at: node, expected: isKnown ? "true or false" : "false")
            return false
        }
        if acrossGrants && !isKnown {
            document.notSupportedYet("across_grants", at: node, why: "counters are kept inside the grant")
        }
        return acrossGrants && isKnown
    }

    // MARK: What else there is

    /// `unit`: the word for what is counted.
    mutating func unit(_ node: DocumentNode) -> String? {
        let expected = "a word such as \"tokens\", 1 to \(PolicyBounds.maxUnitBytes) bytes on one line"
        guard let text = document.string(node, expected: expected) else { return nil }
        let length = text.utf8.count
        guard 1...PolicyBounds.maxUnitBytes ~= length, !text.breaksItsLine else {
            document.unexpected(
                length > PolicyBounds.maxUnitBytes ? "a word of \(length) bytes" : text.quoted, at: node,
                expected: expected)
            return nil
        }
        return text
    }
}
