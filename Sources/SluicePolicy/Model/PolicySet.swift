/// Which policy each grant has: one for all (`--policy FILE`), or named documents and a mapping (`--policies DIR`).
package struct PolicySet: Sendable, Equatable {
    /// In `grants.json`: every grant that is not listed.
    package static let everyGrant = "*"

    /// The policies by their document's name, without `.json`.
    package let documents: [String: Policy]
    /// Names of documents by grant, by pattern of grants, or by `everyGrant`; each is a key of `documents`.
    package let grants: [String: String]
    /// The maxima that a grant, or a pattern of grants, has instead of its document's, by the paths of limits; each key is
    /// one of `grants`.
    package let maxima: [String: [String: Int64]]
    /// The documents that others extend.
    package let bases: Set<String>
    /// Those of patterns; derived.
    private let patterns: PatternTable<String>
    /// The one policy of all grants, if there are no named documents.
    package let single: Policy?

    package init(single: Policy) {
        documents = [:]
        grants = [:]
        maxima = [:]
        bases = []
        patterns = PatternTable([:])
        self.single = single
    }

    /// - Parameter grants: every document that they name must exist.
    init(
        documents: [String: Policy], grants: [String: String], maxima: [String: [String: Int64]] = [:],
        bases: Set<String> = []
    ) {
        precondition(grants.values.allSatisfy { documents[$0] != nil })
        self.documents = documents
        self.grants = grants
        self.maxima = maxima
        self.bases = bases
        patterns = PatternTable(grants)
        single = nil
    }

    /// The policy of a grant: the one mapped to its name, otherwise to the pattern with most literal characters that
    /// matches it, with the grant's own maxima; `nil` if there is neither. Such maxima make a copy of the whole policy.
    package func policy(forGrant grant: String) -> Policy? {
        let maxima = maxima(forGrant: grant)
        return document(forGrant: grant).map { maxima.isEmpty ? $0 : $0.with(maxima: maxima) }
    }

    private func document(forGrant grant: String) -> Policy? {
        single ?? documentName(forGrant: grant).flatMap { documents[$0] }
    }

    /// The name of a grant's document; `nil` if it has none, or if one policy applies to all.
    package func documentName(forGrant grant: String) -> String? { entry(ofGrant: grant).flatMap { grants[$0] } }

    /// The grant's own maxima by the paths of limits.
    package func maxima(forGrant grant: String) -> [String: Int64] {
        maxima.isEmpty ? [:] : entry(ofGrant: grant).flatMap { maxima[$0] } ?? [:]
    }

    /// The key of `grants` that is for a grant.
    private func entry(ofGrant grant: String) -> String? {
        if !NamePattern.isPattern(grant), grants[grant] != nil { return grant }
        return patterns.first(matching: grant)?.pattern.text
    }

    /// Grants with their documents, by name, then by pattern; the entry of all others comes last.
    package var sortedGrants: [(grant: String, document: String)] {
        grants.sorted(by: Self.precedes).map { (grant: $0.key, document: $0.value) }
    }

    /// The policy's ruling on a tool before anything is counted; a denial if the grant has no policy.
    package func ruling(forGrant grant: String, tool: String, server: String? = nil) -> Ruling {
        guard let policy = document(forGrant: grant) else { return .noPolicy }
        let ruling = policy.ruling(forTool: tool, server: server)
        let maxima = maxima(forGrant: grant)
        return maxima.isEmpty ? ruling : ruling.mapLimits { $0.with(maxima: maxima) }
    }

    /// The limits whose counters are in a container.
    /// - Parameter grant: `nil` for those of every policy.
    package func limits(forGrant grant: String?, in container: Limit.Container) -> [Limit] {
        guard let grant else { return policies.flatMap { $0.limits(in: container) } }
        return (document(forGrant: grant)?.limits(in: container) ?? []).with(maxima: maxima(forGrant: grant))
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

        let folder = DocumentFolder(
            zip(names, documentFiles).map { ($0, path($1.name), $1.bytes) }, DocumentNames(names), features: features)
        var faults = folder.faults
        do throws(PolicyFaults) {
            let bytes = files.first { $0.name == grantsFile }?.bytes
            let (grants, maxima) = try GrantsReader.read(
                bytes, file: path(grantsFile), names: DocumentNames(names), documents: folder.policies)
            if faults.isEmpty {
                return PolicySet(
                    documents: folder.policies, grants: grants, maxima: maxima, bases: Set(folder.bases.values))
            }
        } catch {
            faults.append(error)
        }
        throw PolicySetFaults(files: faults.sorted { $0.file < $1.file })
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
}
