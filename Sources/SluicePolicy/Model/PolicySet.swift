/// Which policy each grant has: one for all (`--policy FILE`), or named documents and a mapping (`--policies DIR`).
package struct PolicySet: Sendable, Equatable {
    /// In `grants.json`: every grant that is not listed.
    package static let everyGrant = "*"

    /// The policies by their document's name, without `.json`.
    package let documents: [String: Policy]
    /// Names of documents by grant, by pattern of grants, or by `everyGrant`; each is a key of `documents`.
    package let grants: [String: String]
    /// Those of patterns; derived.
    private let patterns: PatternTable<String>
    /// The one policy of all grants, if there are no named documents.
    package let single: Policy?

    package init(single: Policy) {
        documents = [:]
        grants = [:]
        patterns = PatternTable([:])
        self.single = single
    }

    /// - Parameter grants: every document that they name must exist.
    init(documents: [String: Policy], grants: [String: String]) {
        precondition(grants.values.allSatisfy { documents[$0] != nil })
        self.documents = documents
        self.grants = grants
        patterns = PatternTable(grants)
        single = nil
    }

    /// The policy of a grant: the one mapped to its name, otherwise to the pattern with most literal characters that
    /// matches it; `nil` if there is neither.
    package func policy(forGrant grant: String) -> Policy? {
        single ?? documentName(forGrant: grant).flatMap { documents[$0] }
    }

    /// The name of a grant's document; `nil` if it has none, or if one policy applies to all.
    package func documentName(forGrant grant: String) -> String? {
        (NamePattern.isPattern(grant) ? nil : grants[grant]) ?? patterns.first(matching: grant)?.value
    }

    /// Grants with their documents, by name, then by pattern; the entry of all others comes last.
    package var sortedGrants: [(grant: String, document: String)] {
        grants.sorted(by: Self.precedes).map { (grant: $0.key, document: $0.value) }
    }

    /// The policy's ruling on a tool before anything is counted; a denial if the grant has no policy.
    package func ruling(forGrant grant: String, tool: String, server: String? = nil) -> Ruling {
        policy(forGrant: grant)?.ruling(forTool: tool, server: server) ?? .noPolicy
    }

    /// Every policy that a grant may have.
    package var policies: some Collection<Policy> { single.map { [$0] } ?? Array(documents.values) }

    /// Grants by name, then by pattern; the entry of all others comes last.
    static func precedes(_ left: (key: String, value: String), _ right: (key: String, value: String)) -> Bool {
        let rank = { (name: String) in name == everyGrant ? 2 : NamePattern.isPattern(name) ? 1 : 0 }
        return (rank(left.key), left.key) < (rank(right.key), right.key)
    }
}

/// All faults in the files of a folder; at least one file has some.
package struct PolicySetFaults: Error, Sendable, Equatable, CustomStringConvertible {
    /// In the order of the files' names.
    package let files: [PolicyFaults]

    /// The lines of all files. No line feed at the end.
    package var description: String { files.map(\.description).joined(separator: "\n") }
}

// MARK: - Reading a folder

extension PolicySet {
    static let grantsFile = "grants.json"
    private static let suffix = ".json"

    static func fileName(ofDocument name: String) -> String { name + suffix }

    /// The files of a folder that belong to its policies, sorted: those with another ending or a leading dot do not.
    package static func fileNames(among names: [String]) -> [String] {
        names.filter { $0.hasSuffix(suffix) && !$0.hasPrefix(".") }.sorted()
    }

    /// Reads the files of a folder: `NAME.json` documents, and `grants.json`, which maps a grant (or a pattern) to a
    /// document's name. Files with another ending or a leading dot are ignored.
    ///
    /// - Parameters:
    ///   - files: names are distinct, and without the folder.
    ///   - folder: its name, which faults put before the files' names; empty for none.
    ///   - features: the parts of the language that the caller supports.
    /// - Throws: the faults of all files at once.
    package static func parse(
        files: [(name: String, bytes: [UInt8])], folder: String = "", features: PolicyFeatures = .supported
    ) throws(PolicySetFaults) -> PolicySet {
        let path = { (name: String) in folder.isEmpty ? name : folder + (folder.hasSuffix("/") ? "" : "/") + name }
        let files = files.filter { $0.name.hasSuffix(suffix) && !$0.name.hasPrefix(".") }.sorted { $0.name < $1.name }
        let documentFiles = files.filter { $0.name != grantsFile }
        let names = documentFiles.map { String($0.name.dropLast(suffix.count)) }
        if let fault = tooManyFault(names.count, folder: folder) { throw PolicySetFaults(files: [fault]) }

        var faults: [PolicyFaults] = []
        var documents: [String: Policy] = [:]
        for (name, file) in zip(names, documentFiles) {
            do throws(PolicyFaults) {
                documents[name] = try PolicyDocument.parse(file.bytes, file: path(file.name), features: features)
            } catch {
                faults.append(error)
            }
        }
        var grants: [String: String] = [:]
        do throws(PolicyFaults) {
            let bytes = files.first { $0.name == grantsFile }?.bytes
            grants = try Self.grants(bytes, file: path(grantsFile), documents: DocumentNames(names))
        } catch {
            faults.append(error)
        }
        guard faults.isEmpty else { throw PolicySetFaults(files: faults.sorted { $0.file < $1.file }) }
        return PolicySet(documents: documents, grants: grants)
    }

    private static func tooManyFault(_ count: Int, folder: String) -> PolicyFaults? {
        guard count > PolicyBounds.maxDocuments else { return nil }
        var faults = FaultCollector(file: folder)
        faults.add(
            .root, SourcePosition(line: 1, column: 1),
            .unexpected(
                found: "\(count) documents", expected: "at most \(PolicyBounds.maxDocuments) in one folder",
                nearest: nil))
        return faults.collected()
    }

    /// - Parameter bytes: the content of `grants.json`; `nil` if it does not exist.
    private static func grants(
        _ bytes: [UInt8]?, file: String, documents: DocumentNames
    ) throws(PolicyFaults) -> [String: String] {
        let expected = "an object that maps each grant, or \"*\", to the name of a document here"
        var faults = FaultCollector(file: file)
        guard let bytes else {
            faults.add(
                .root, SourcePosition(line: 1, column: 1),
                .unexpected(found: "no such file", expected: expected, nearest: nil))
            throw faults.collected()
        }
        guard let root = JSONParser.parse(bytes, faults: &faults) else { throw faults.collected() }
        var reader = PolicyReader(DocumentReader(faults: faults), features: [])
        var grants: [String: String] = [:]
        if var object = reader.document.object(DocumentNode(value: root, pointer: .root), expected: expected) {
            let entries = object.takeAll()
            for (grant, node) in entries {
                let position = node.keyPosition ?? node.value.position
                guard reader.isName(grant, of: "a grant", at: position, node.pointer),
                    reader.isPatternOrExact(grant, at: position, node.pointer)
                else { continue }
                grants[grant] = reader.documentName(node, among: documents)
            }
            reader.checkPatterns(
                entries.filter { grants[$0.key] != nil }, of: "grant", at: DocumentNode(value: root, pointer: .root))
        }
        guard reader.document.faults.isEmpty else { throw reader.document.faults.collected() }
        return grants
    }
}

/// The names of a folder's documents, including those with faults.
private struct DocumentNames {
    /// Most names that a fault lists; if there are more, only the nearest is named.
    private static let maxListed = 5

    let sorted: [String]
    let all: Set<String>

    init(_ names: [String]) {
        sorted = names
        all = Set(names)
    }

    /// The valid values for one of them.
    var expected: String {
        !sorted.isEmpty && sorted.count <= Self.maxListed
            ? PolicyReader.quoted(sorted) : "the name of a document here, without \".json\""
    }

    func nearest(to name: String) -> String? {
        sorted.first { PolicySet.fileName(ofDocument: $0) == name } ?? NearestName.find(name, among: sorted)
    }
}

extension PolicyReader {
    fileprivate mutating func documentName(_ node: DocumentNode, among documents: DocumentNames) -> String? {
        guard let name = document.string(node, expected: documents.expected) else { return nil }
        if documents.all.contains(name) { return name }
        let nearest = suggestion { documents.nearest(to: name) }
        document.unexpected(name.quoted, at: node, expected: documents.expected, nearest: nearest)
        return nil
    }
}
