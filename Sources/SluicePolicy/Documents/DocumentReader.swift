/// A value of a document together with its path.
package struct DocumentNode: Sendable {
    package let value: JSONValue
    package let pointer: JSONPointer
    /// Where this value's key is, if it belongs to an object.
    package let keyPosition: SourcePosition?

    package init(value: JSONValue, pointer: JSONPointer, keyPosition: SourcePosition? = nil) {
        self.value = value
        self.pointer = pointer
        self.keyPosition = keyPosition
    }
}

/// The keys that an object may have.
package struct KnownKeys: Sendable {
    /// Listed in the message about an unknown key.
    package let keys: [String]
    /// Keys of the language that this version supports at most in part; not listed, but suggested for a misspelt one.
    package let others: [String]

    fileprivate var all: [String] { keys + others }

    package init(_ keys: [String], others: [String] = []) {
        self.keys = keys
        self.others = others
    }
}

/// An object that is being read: it records which of its keys have not been read yet.
package struct ObjectReader: Sendable {
    package let node: DocumentNode
    /// In the order of the document.
    package let members: [DocumentNode]
    fileprivate let keys: [String]
    fileprivate var isTaken: [Bool]

    fileprivate init(_ node: DocumentNode, _ members: [JSONMember]) {
        self.node = node
        keys = members.map(\.key)
        self.members = members.map {
            DocumentNode(value: $0.value, pointer: node.pointer.appending($0.key), keyPosition: $0.keyPosition)
        }
        isTaken = Array(repeating: false, count: members.count)
    }

    /// The value of a key that another reader will read; `nil` if the object does not have it.
    package func peek(_ key: String) -> DocumentNode? { keys.firstIndex(of: key).map { members[$0] } }

    /// The value of a key, which then counts as read; `nil` if the object does not have it. For a duplicate key (a
    /// fault that the parser noted), the first.
    package mutating func take(_ key: String) -> DocumentNode? {
        var first: DocumentNode?
        for index in keys.indices where keys[index] == key {
            isTaken[index] = true
            if first == nil { first = members[index] }
        }
        return first
    }

    /// Every key with its value, in order; all then count as read. For objects whose keys are names.
    package mutating func takeAll() -> [(key: String, node: DocumentNode)] {
        isTaken = Array(repeating: true, count: members.count)
        return Array(zip(keys, members)).map { (key: $0.0, node: $0.1) }
    }
}

/// Reads checked values from a document's tree. It notes every fault and returns `nil`, so that the caller continues
/// and one reading finds all faults.
///
/// It knows nothing of policies: callers know what the fields mean.
package struct DocumentReader: Sendable {
    package private(set) var faults: FaultCollector

    package init(faults: FaultCollector) {
        self.faults = faults
    }

    // MARK: Faults

    package mutating func unexpected(
        _ found: @autoclosure () -> String, at node: DocumentNode, expected: @autoclosure () -> String,
        nearest: @autoclosure () -> String? = nil
    ) {
        unexpected(found(), at: node.value.position, node.pointer, expected: expected(), nearest: nearest())
    }

    package mutating func unexpected(
        _ found: @autoclosure () -> String, at position: SourcePosition, _ pointer: JSONPointer,
        expected: @autoclosure () -> String, nearest: @autoclosure () -> String? = nil
    ) {
        faults.add(pointer, position, .unexpected(found: found(), expected: expected(), nearest: nearest()))
    }

    /// - Parameter isAboutKey: whether the key is unsupported with any value.
    package mutating func notSupportedYet(_ what: String, at node: DocumentNode, why: String, isAboutKey: Bool = false)
    {
        let position = isAboutKey ? node.keyPosition ?? node.value.position : node.value.position
        faults.add(node.pointer, position, .notSupportedYet(what: what, why: why))
    }

    package mutating func notSupportedYet(
        _ what: String, at position: SourcePosition, _ pointer: JSONPointer, why: String
    ) {
        faults.add(pointer, position, .notSupportedYet(what: what, why: why))
    }

    // MARK: Values

    package mutating func object(_ node: DocumentNode, expected: String) -> ObjectReader? {
        guard case .object(let members) = node.value.content else {
            unexpected(node.value.summary, at: node, expected: expected)
            return nil
        }
        return ObjectReader(node, members)
    }

    package mutating func array(_ node: DocumentNode, expected: String) -> [DocumentNode]? {
        guard case .array(let elements) = node.value.content else {
            unexpected(node.value.summary, at: node, expected: expected)
            return nil
        }
        return elements.enumerated().map { DocumentNode(value: $1, pointer: node.pointer.appending($0)) }
    }

    package mutating func string(_ node: DocumentNode, expected: @autoclosure () -> String) -> String? {
        guard case .string(let text) = node.value.content else {
            unexpected(node.value.summary, at: node, expected: expected())
            return nil
        }
        return text
    }

    package mutating func wholeNumber(_ node: DocumentNode, in range: ClosedRange<Int64>, unit: String = "") -> Int64? {
        guard case .integer(let number) = node.value.content, range.contains(number) else {
            unexpected(node.value.summary, at: node, expected: Self.wholeNumber(in: range, unit: unit))
            return nil
        }
        return number
    }

    /// `a whole number of seconds from 1 to 60`
    package static func wholeNumber(in range: ClosedRange<Int64>, unit: String = "") -> String {
        let kind = unit.isEmpty ? "a whole number" : "a whole number of \(unit)"
        return "\(kind) from \(range.lowerBound) to \(range.upperBound)"
    }

    // MARK: Keys

    /// The value of a required key.
    package mutating func required(_ key: String, of object: inout ObjectReader, expected: String) -> DocumentNode? {
        if let node = object.take(key) { return node }
        unexpected("no \(key.quoted)", at: object.node, expected: "\(key.quoted): \(expected)")
        return nil
    }

    /// Rejects the keys that were not read: to be called after an object's known keys.
    package mutating func finish(_ object: ObjectReader, _ known: KnownKeys) {
        for (index, member) in object.members.enumerated() where !object.isTaken[index] {
            let key = object.keys[index]
            unexpected(
                "the unknown key \(key.quoted)", at: member.keyPosition ?? member.value.position, member.pointer,
                expected: known.keys.map(\.quoted).joined(separatedBy: "or"),
                nearest: NearestName.find(key, among: known.all))
        }
    }
}

extension [String] {
    /// `a`, `a or b`, `a, b or c`.
    package func joined(separatedBy conjunction: String) -> String {
        guard count > 1 else { return first ?? "" }
        return dropLast().joined(separator: ", ") + " \(conjunction) " + self[count - 1]
    }
}
