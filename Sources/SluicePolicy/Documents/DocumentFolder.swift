/// Reads the documents of a folder, where one may extend another.
///
/// A document with `extends` is read as one document that has all of its base: of `tools`, `groups` and `servers` each
/// name from both, with the document's own rule where both have it; of `hide` the names of both; of any other key the
/// document's own value, else the base's. What it has of its base counts as written where it says `extends`.
struct DocumentFolder {
    private struct Source {
        let file: String
        let bytes: [UInt8]
    }

    private enum Resolved {
        /// The whole document, with all of its bases.
        case root(JSONValue, FaultCollector, depth: Int)
        case faulty
    }

    private let sources: [String: Source]
    private let names: DocumentNames
    private let features: PolicyFeatures
    private var resolved: [String: Resolved] = [:]
    /// The document that one extends.
    private(set) var bases: [String: String] = [:]
    private var isRead: Set<String> = []
    /// Those that extend each other from the one being read on.
    private var chain: [String] = []
    private(set) var policies: [String: Policy] = [:]
    private(set) var faults: [PolicyFaults] = []

    /// - Parameter documents: by name; each with its path for faults.
    init(_ documents: [(name: String, file: String, bytes: [UInt8])], _ names: DocumentNames, features: PolicyFeatures)
    {
        sources = Dictionary(documents.map { ($0.name, Source(file: $0.file, bytes: $0.bytes)) }) { first, _ in first }
        self.names = names
        self.features = features
        for document in documents { read(document.name) }
    }

    private mutating func read(_ name: String) {
        guard isRead.insert(name).inserted, case .root(let root, let collector, _) = resolve(name) else { return }
        if let base = bases[name] {
            read(base)
            // Its faults would be reported again.
            if policies[base] == nil { return }
        }
        do throws(PolicyFaults) {
            policies[name] = try PolicyDocument.read(root, faults: collector, features: features, isInFolder: true)
        } catch {
            faults.append(error)
        }
    }

    private mutating func resolve(_ name: String) -> Resolved {
        if let known = resolved[name] { return known }
        chain.append(name)
        let result = extended(name)
        chain.removeLast()
        resolved[name] = result
        return result
    }

    private mutating func extended(_ name: String) -> Resolved {
        guard let source = sources[name] else { return .faulty }
        var collector = FaultCollector(file: source.file)
        guard let root = JSONParser.parse(source.bytes, faults: &collector) else {
            faults.append(collector.collected())
            return .faulty
        }
        guard let node = root.member(PolicyKeys.extends) else { return .root(root, collector, depth: 0) }
        var reader = PolicyReader(DocumentReader(faults: collector), features: features)
        let base = reader.documentName(
            DocumentNode(value: node, pointer: JSONPointer.root.appending(PolicyKeys.extends)), among: names)
        if let base, chain.contains(base) {
            reader.refuse(node, found: base, expected: "a document that does not extend this one")
        } else if let base {
            switch resolve(base) {
            case .faulty: return .faulty
            case .root(let baseRoot, _, let depth):
                bases[name] = base
                if depth + 1 <= PolicyBounds.maxExtends {
                    return .root(root.extending(baseRoot, at: node.position), collector, depth: depth + 1)
                }
                reader.refuse(
                    node, found: base, expected: "at most \(PolicyBounds.maxExtends) documents one behind the other")
            }
        }
        faults.append(reader.document.faults.collected())
        return .faulty
    }
}

extension PolicyReader {
    fileprivate mutating func refuse(_ node: JSONValue, found: String, expected: String) {
        document.unexpected(
            found.quoted, at: node.position, JSONPointer.root.appending(PolicyKeys.extends), expected: expected)
    }
}

extension JSONValue {
    fileprivate func member(_ key: String) -> JSONValue? {
        guard case .object(let members) = content else { return nil }
        return members.first { $0.key == key }?.value
    }

    /// This document with all of its base.
    fileprivate func extending(_ base: JSONValue, at position: SourcePosition) -> JSONValue {
        guard case .object(var members) = content, case .object(let inherited) = base.content else { return self }
        for other in inherited where other.key != PolicyKeys.extends {
            guard let index = members.firstIndex(where: { $0.key == other.key }) else {
                members.append(other.moved(to: position))
                continue
            }
            let own = members[index]
            let merged: JSONValue
            switch own.key {
            case "tools", "groups": merged = own.value.withMembers(of: other.value, at: position) { own, _ in own }
            case "servers":
                merged = own.value.withMembers(of: other.value, at: position) { $0.extending($1, at: position) }
            case "hide": merged = own.value.withElements(of: other.value, at: position)
            default: continue
            }
            members[index] = JSONMember(key: own.key, keyPosition: own.keyPosition, value: merged)
        }
        return JSONValue(.object(members), at: self.position)
    }

    /// - Parameter both: the value of a name that both have.
    private func withMembers(
        of base: JSONValue, at position: SourcePosition, both: (JSONValue, JSONValue) -> JSONValue
    ) -> JSONValue {
        guard case .object(let own) = content, case .object(let inherited) = base.content else { return self }
        let inheritedByKey = Dictionary(inherited.map { ($0.key, $0) }) { first, _ in first }
        let ownKeys = Set(own.map(\.key))
        let members =
            own.map { member in
                guard let other = inheritedByKey[member.key] else { return member }
                return JSONMember(
                    key: member.key, keyPosition: member.keyPosition, value: both(member.value, other.value))
            } + inherited.filter { !ownKeys.contains($0.key) }.map { $0.moved(to: position) }
        return JSONValue(.object(members), at: self.position)
    }

    /// `"*"` in place of an array is one name.
    private func withElements(of base: JSONValue, at position: SourcePosition) -> JSONValue {
        let elements = { (value: JSONValue) -> [JSONValue]? in
            switch value.content {
            case .array(let elements): elements
            case .string(PolicyKeys.everyTool): [value]
            default: nil
            }
        }
        guard let own = elements(self), let inherited = elements(base) else { return self }
        return JSONValue(.array(own + inherited.map { $0.moved(to: position) }), at: self.position)
    }

    fileprivate func moved(to position: SourcePosition) -> JSONValue {
        let content: Content =
            switch self.content {
            case .array(let elements): .array(elements.map { $0.moved(to: position) })
            case .object(let members): .object(members.map { $0.moved(to: position) })
            case .null, .bool, .integer, .otherNumber, .string: self.content
            }
        return JSONValue(content, at: position)
    }
}

extension JSONMember {
    fileprivate func moved(to position: SourcePosition) -> JSONMember {
        JSONMember(key: key, keyPosition: position, value: value.moved(to: position))
    }
}
