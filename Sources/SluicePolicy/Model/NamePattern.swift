/// A name with `*` in it, each for any number of characters, also none: `github_*`, `*_delete`.
///
/// Characters are compared as Swift compares them, by canonical equivalence, like whole names.
package struct NamePattern: Sendable {
    package static let wildcard: Character = "*"

    package let text: String
    /// How many of its characters stand for themselves: of two patterns the one with more wins.
    package let literalCount: Int
    /// What stands between the wildcards, by character and, if all of it is ASCII, by byte.
    private let parts: [[Character]]
    private let byteParts: [[UInt8]]?

    /// - Returns: `nil` for a name without wildcards.
    package init?(_ text: String) {
        guard Self.isPattern(text) else { return nil }
        self.text = text
        parts = text.split(separator: Self.wildcard, omittingEmptySubsequences: false).map { Array($0) }
        literalCount = parts.reduce(0) { $0 + $1.count }
        let bytes = Array(text.utf8)
        byteParts =
            Self.isASCII(bytes)
            ? bytes.split(separator: UInt8(ascii: "*"), omittingEmptySubsequences: false).map { Array($0) } : nil
    }

    package static func isPattern(_ text: String) -> Bool { text.utf8.contains(UInt8(ascii: "*")) }

    package func matches(_ name: String) -> Bool {
        var name = MatchedName(name)
        return matches(&name)
    }

    fileprivate func matches(_ name: inout MatchedName) -> Bool {
        if let byteParts, name.isASCII { return Self.matches(name.bytes, byteParts) }
        return Self.matches(name.characters, parts)
    }

    /// The first part begins the name, the last one ends it, and the others follow each other in between: each is taken
    /// where it first occurs.
    private static func matches<Element: Equatable>(_ name: [Element], _ parts: [[Element]]) -> Bool {
        let (first, last) = (parts[0], parts[parts.count - 1])
        guard name.count >= first.count + last.count, name.starts(with: first),
            name.suffix(last.count).elementsEqual(last)
        else { return false }
        var rest = name[first.count..<(name.count - last.count)]
        for part in parts.dropFirst().dropLast() where !part.isEmpty {
            guard
                let start = rest.indices.first(where: { rest[$0] == part[0] && rest[$0...].starts(with: part) })
            else { return false }
            rest = rest[(start + part.count)...]
        }
        return true
    }

    /// Whether some name matches both: if their beginnings and their ends agree, such a name has what is between them
    /// one after the other.
    package func canMeet(_ other: NamePattern) -> Bool {
        let begins = { (one: [Character], other: [Character]) in one.starts(with: other) || other.starts(with: one) }
        return begins(parts[0], other.parts[0])
            && begins(parts[parts.count - 1].reversed(), other.parts[other.parts.count - 1].reversed())
    }

    fileprivate static func isASCII(_ bytes: [UInt8]) -> Bool { bytes.allSatisfy { $0 < 0x80 } }
}

extension NamePattern: Hashable {
    package static func == (one: NamePattern, other: NamePattern) -> Bool { one.text == other.text }

    package func hash(into hasher: inout Hasher) { hasher.combine(text) }
}

/// A name that is compared with several patterns.
private struct MatchedName {
    private let name: String
    let bytes: [UInt8]
    let isASCII: Bool
    private(set) lazy var characters = Array(name)

    init(_ name: String) {
        self.name = name
        bytes = Array(name.utf8)
        isASCII = NamePattern.isASCII(bytes)
    }
}

/// Values by pattern, in the order in which patterns win: those with more literal characters first.
package struct PatternTable<Value: Sendable>: Sendable {
    package private(set) var entries: [(pattern: NamePattern, value: Value)] = []

    /// - Parameter values: by name; those whose name is no pattern are left out.
    package init(_ values: [String: Value]) {
        for (name, value) in values {
            if let pattern = NamePattern(name) { entries.append((pattern, value)) }
        }
        entries.sort {
            ($1.pattern.literalCount, $0.pattern.text) < ($0.pattern.literalCount, $1.pattern.text)
        }
    }

    /// The entry of the first pattern that matches a name.
    package func first(matching name: String) -> (pattern: NamePattern, value: Value)? {
        if entries.isEmpty { return nil }
        var name = MatchedName(name)
        return entries.first { $0.pattern.matches(&name) }
    }

    /// The values of all patterns that match a name.
    package func all(matching name: String) -> [Value] {
        if entries.isEmpty { return [] }
        var name = MatchedName(name)
        return entries.filter { $0.pattern.matches(&name) }.map(\.value)
    }
}

extension PatternTable: Equatable where Value: Equatable {
    package static func == (one: PatternTable, other: PatternTable) -> Bool {
        one.entries.elementsEqual(other.entries) { $0 == $1 }
    }
}
