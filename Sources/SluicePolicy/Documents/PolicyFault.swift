/// One fault of a document, and its place.
package struct PolicyFault: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Problem: Sendable, Hashable {
        /// The document has `found` where it should have `expected`; `nearest` is the known key or value that was
        /// likely meant.
        case unexpected(found: String, expected: String, nearest: String?)
        /// `what` belongs to the policy language but this version does not support it; `why` says what it does instead.
        /// Rejected, because a limit that is read but not enforced would be worse than none.
        case notSupportedYet(what: String, why: String)
    }

    /// The document's name as given to `parse`.
    package let file: String
    /// The JSON pointer (RFC 6901) of the value; empty for the whole document.
    package let pointer: String
    package let position: SourcePosition
    package let problem: Problem

    package init(file: String, pointer: String, position: SourcePosition, problem: Problem) {
        self.file = file
        self.pointer = pointer
        self.position = position
        self.problem = problem
    }

    /// 1-based.
    package var line: Int { position.line }
    /// 1-based, in characters.
    package var column: Int { position.column }

    /// One line in the form of compilers: `FILE:LINE:COLUMN: POINTER: found ..., expected ...`.
    package var description: String {
        let place = "\(file.onOneLine):\(line):\(column): " + (pointer.isEmpty ? "" : "\(pointer.onOneLine): ")
        switch problem {
        case .unexpected(let found, let expected, let nearest):
            let hint = nearest.map { "; did you mean \($0.quoted)?" } ?? ""
            return "\(place)found \(found), expected \(expected)\(hint)"
        case .notSupportedYet(let what, let why):
            return "\(place)`\(what.shortened)` is not supported yet: \(why)"
        }
    }
}

/// All faults of one document, in the order of its text.
package struct PolicyFaults: Error, Sendable, Equatable, CustomStringConvertible {
    /// The document's name as given to `parse`.
    package let file: String
    /// At least one, at most `PolicyBounds.maxFaults`.
    package let faults: [PolicyFault]
    /// How many more faults there are.
    package let omitted: Int

    /// One line per fault, and a last one that counts the omitted ones if there are any. No line feed at the end.
    package var description: String {
        var lines = faults.map(\.description)
        if omitted > 0 { lines.append("\(file.onOneLine): \(omitted) more \(omitted == 1 ? "fault" : "faults")") }
        return lines.joined(separator: "\n")
    }
}

/// Collects the faults of one document as they are found. It keeps the first ones by their place in the text, among the
/// `PolicyBounds.maxExaminedFaults` that were found first.
package struct FaultCollector: Sendable {
    package let file: String
    private var count = 0
    private var kept: [(order: Int, fault: PolicyFault)] = []

    package init(file: String) {
        self.file = file
    }

    package var isEmpty: Bool { count == 0 }

    package mutating func add(
        _ pointer: JSONPointer, _ position: SourcePosition, _ problem: @autoclosure () -> PolicyFault.Problem
    ) {
        let file = file
        add(PolicyFault(file: file, pointer: pointer.text, position: position, problem: problem()))
    }

    package mutating func add(_ fault: @autoclosure () -> PolicyFault) {
        count += 1
        guard count <= PolicyBounds.maxExaminedFaults else { return }
        kept.append((count, fault()))
        // Twice the bound, so that a document with very many faults is sorted once per hundred of them.
        if kept.count >= 2 * PolicyBounds.maxFaults { keepFirst() }
    }

    /// All faults as an error to throw.
    package consuming func collected() -> PolicyFaults {
        keepFirst()
        return PolicyFaults(file: file, faults: kept.map(\.fault), omitted: count - kept.count)
    }

    private mutating func keepFirst() {
        kept.sort { ($0.fault.position, $0.order) < ($1.fault.position, $1.order) }
        kept.removeLast(Swift.max(0, kept.count - PolicyBounds.maxFaults))
    }
}
