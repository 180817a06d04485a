/// Reads `grants.json`.
struct GrantsReader {
    static let expected = "an object that maps each grant, or \"*\", to the name of a document here"
    private static let keys = KnownKeys(["policy", "max"])

    private var reader: PolicyReader
    private let names: DocumentNames
    /// Those without faults.
    private let documents: [String: Policy]
    private var grants: [String: String] = [:]
    private var maxima: [String: [String: Int64]] = [:]

    /// - Parameter bytes: the content of the file; `nil` if it does not exist.
    /// - Returns: the name of a document by grant, and the grant's own maxima by the paths of limits.
    static func read(
        _ bytes: [UInt8]?, file: String, names: DocumentNames, documents: [String: Policy]
    ) throws(PolicyFaults) -> (grants: [String: String], maxima: [String: [String: Int64]]) {
        var faults = FaultCollector(file: file)
        guard let bytes else {
            faults.add(
                .root, SourcePosition(line: 1, column: 1),
                .unexpected(found: "no such file", expected: Self.expected, nearest: nil))
            throw faults.collected()
        }
        guard let root = JSONParser.parse(bytes, faults: &faults) else { throw faults.collected() }
        var reader = GrantsReader(
            reader: PolicyReader(DocumentReader(faults: faults), features: []), names: names, documents: documents)
        reader.read(DocumentNode(value: root, pointer: .root))
        guard reader.reader.document.faults.isEmpty else { throw reader.reader.document.faults.collected() }
        return (reader.grants, reader.maxima)
    }

    private mutating func read(_ root: DocumentNode) {
        guard var object = reader.document.object(root, expected: Self.expected) else { return }
        let entries = object.takeAll()
        for (grant, node) in entries {
            let position = node.keyPosition ?? node.value.position
            guard reader.isName(grant, of: "a grant", at: position, node.pointer),
                reader.isPatternOrExact(grant, at: position, node.pointer)
            else { continue }
            take(grant, node)
        }
        reader.checkPatterns(entries.filter { grants[$0.key] != nil }, of: "grant", at: root)
    }

    /// A document's name, or an object with that and maxima.
    private mutating func take(_ grant: String, _ node: DocumentNode) {
        guard case .object = node.value.content,
            var object = reader.document.object(node, expected: names.expected)
        else {
            grants[grant] = reader.documentName(node, among: names)
            return
        }
        let name = reader.document.required("policy", of: &object, expected: names.expected)
            .flatMap { reader.documentName($0, among: names) }
        let maxNode = object.take("max")
        reader.document.finish(object, Self.keys)
        guard let name else { return }
        grants[grant] = name
        guard let maxNode else { return }
        let maxima = maxima(maxNode, of: name)
        if !maxima.isEmpty { self.maxima[grant] = maxima }
    }

    private mutating func maxima(_ node: DocumentNode, of name: String) -> [String: Int64] {
        let expected = "an object that maps paths of limits, such as \"/tools/x/limits/c\", to maxima"
        guard var object = reader.document.object(node, expected: expected) else { return [:] }
        let entries = object.takeAll()
        guard entries.count <= PolicyBounds.maxGrantMaxima else {
            reader.document.unexpected(
                "\(entries.count) maxima", at: node, expected: "at most \(PolicyBounds.maxGrantMaxima) for one grant")
            return [:]
        }
        // The faults of the document come first.
        guard let policy = documents[name] else { return [:] }
        let limits = Dictionary(policy.allLimits.map { ($0.rule, $0) }) { first, _ in first }
        var maxima: [String: Int64] = [:]
        for (rule, node) in entries {
            guard let limit = limits[rule] else {
                let nearest = reader.suggestion { NearestName.find(rule, among: limits.keys.sorted()) }
                reader.document.unexpected(
                    rule.quoted, at: node.keyPosition ?? node.value.position, node.pointer,
                    expected: "the path of a limit in \(PolicySet.fileName(ofDocument: name))", nearest: nearest)
                continue
            }
            maxima[rule] = reader.document.wholeNumber(node, in: limit.maxRange)
        }
        return maxima
    }
}

extension Limit {
    /// The maxima that the limit may have instead of its own.
    package var maxRange: ClosedRange<Int64> {
        switch algorithm {
        case .fixedWindow, .concurrency: 0...PolicyBounds.maxLimit
        case .slidingLog: 0...PolicyBounds.maxLogLimit
        case .slidingWindow, .tokenBucket:
            // A bucket with a capacity of its own cannot block every call.
            (burst.map { $0 != max } ?? false ? 1 : 0)...min(
                PolicyBounds.maxLimit, PolicyBounds.maxExact / window.longestLengthMs)
        }
    }
}

/// The names of a folder's documents, including those with faults.
struct DocumentNames {
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
    mutating func documentName(_ node: DocumentNode, among documents: DocumentNames) -> String? {
        guard let name = document.string(node, expected: documents.expected) else { return nil }
        if documents.all.contains(name) { return name }
        let nearest = suggestion { documents.nearest(to: name) }
        document.unexpected(name.quoted, at: node, expected: documents.expected, nearest: nearest)
        return nil
    }
}
