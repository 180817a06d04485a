/// Grants by name with their weights: one a line; a weight follows the name after a tab.
///
///     alice-laptop
///     bob\t12.5
///
/// A name is used unchanged, including spaces. Empty lines are ignored, and so is a carriage return at a line's end.
/// The default weight is 1.
struct GrantList: Sendable, Equatable {
    private(set) var names: [String] = []
    /// Relative to each other; one per name.
    private(set) var weights: [Double] = []

    init(text: String) throws(LineFault) {
        var seen: Set<String> = []
        for (index, line) in text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .enumerated()
        {
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard !line.isEmpty else { continue }
            let grant = try Self.grant(line, line: index + 1)
            guard seen.insert(grant.name).inserted else {
                throw LineFault(line: index + 1, problem: "'\(grant.name)' is there twice")
            }
            guard names.count < LoadBounds.maxSubjects else {
                throw LineFault(line: index + 1, problem: "there are more than \(LoadBounds.maxSubjects) grants")
            }
            names.append(grant.name)
            weights.append(grant.weight)
        }
    }

    private static func grant(
        _ line: Substring.UTF8View, line number: Int
    ) throws(LineFault) -> (name: String, weight: Double) {
        let parts = line.split(separator: UInt8(ascii: "\t"), maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(Substring(parts[0]))
        guard (1...LoadBounds.maxNameBytes).contains(name.utf8.count), !name.utf8.contains(0) else {
            throw LineFault(
                line: number,
                problem: "a name of \(name.utf8.count) bytes, expected 1 to \(LoadBounds.maxNameBytes), no NUL")
        }
        guard parts.count == 2 else { return (name, 1) }
        let text = Substring(parts[1])
        guard let weight = Double(text), weight > 0, weight <= LoadBounds.maxWeight else {
            throw LineFault(
                line: number,
                problem: "the weight is '\(text)', expected a number above 0, at most \(LoadBounds.maxWeight)")
        }
        return (name, weight)
    }
}
