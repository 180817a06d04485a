/// Finds the known name that was most likely meant.
package enum NearestName {
    /// Longer text is not a misspelt key, and the comparison's time grows with the product of both lengths.
    private static let maxComparedScalars = 64
    /// Shortest prefix of a known name that counts as its short form (`min` for `minute`).
    private static let minPrefixScalars = 3

    /// The name of `known` that differs from `found` in at most a third of its letters, ignoring case, or that begins
    /// with `found`; the first if several are equally near; `nil` if there is none.
    package static func find(_ found: String, among known: [String]) -> String? {
        guard found.utf8.count <= maxComparedScalars * 4 else { return nil }
        let letters = Array(found.lowercased().unicodeScalars)
        guard !letters.isEmpty, letters.count <= maxComparedScalars else { return nil }
        var best: (name: String, distance: Int)?
        for name in known where name != found {
            let other = Array(name.lowercased().unicodeScalars)
            let isShortForm = letters.count >= minPrefixScalars && other.starts(with: letters)
            let distance = isShortForm ? 1 : distance(letters, other)
            guard distance <= Swift.max(1, Swift.max(letters.count, other.count) / 3), distance < other.count else {
                continue
            }
            if best.map({ distance < $0.distance }) ?? true { best = (name, distance) }
        }
        return best?.name
    }

    /// The number of insertions, deletions, replacements and swaps of neighbours that turn one into the other (the
    /// optimal string alignment distance), computed with three rows of the usual table.
    private static func distance(_ left: [Unicode.Scalar], _ right: [Unicode.Scalar]) -> Int {
        var beforePrevious: [Int] = []
        var previous = Array(0...right.count)
        for i in left.indices {
            var row = [i + 1]
            for j in right.indices {
                var cost = Swift.min(row[j] + 1, previous[j + 1] + 1, previous[j] + (left[i] == right[j] ? 0 : 1))
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    cost = Swift.min(cost, beforePrevious[j - 1] + 1)
                }
                row.append(cost)
            }
            beforePrevious = previous
            previous = row
        }
        return previous[right.count]
    }
}
