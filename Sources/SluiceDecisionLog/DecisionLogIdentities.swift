/// Replaces in lines of the decision log what may name a person: the grant, the session, the idempotency key, and the values of
/// attributes. Tools, servers and the names of attributes stay, as policies are written with them.
package struct DecisionLogIdentities: Sendable {
    /// What stands in a value's place: hexadecimal digits, the same for the same value.
    package typealias Pseudonym = @Sendable (ArraySlice<UInt8>) -> [UInt8]

    private let pseudonym: Pseudonym
    private static let members = ["grant", "session", "id"].map { Array($0.utf8) }
    private static let attributes = Array("attributes".utf8)

    package init(_ pseudonym: @escaping Pseudonym) { self.pseudonym = pseudonym }

    /// - Parameter lines: whole lines with their line feeds; empty ones stay.
    /// - Returns: as many lines. One that cannot be read is not passed on: a line with `dropped` stands in its place.
    package func replaced(in lines: [UInt8]) -> [UInt8] {
        // Strings are unescaped in place in this copy, so that places in both are the same.
        var scratch = lines
        var out: [UInt8] = []
        out.reserveCapacity(lines.count + lines.count / 4)
        var begin = 0
        while begin < lines.count {
            let end = lines[begin...].firstIndex(of: UInt8(ascii: "\n")) ?? lines.count
            appendLine(begin..<end, of: lines, &scratch, to: &out)
            if end < lines.count { out.append(UInt8(ascii: "\n")) }
            begin = end + 1
        }
        return out
    }

    private func appendLine(_ line: Range<Int>, of lines: [UInt8], _ scratch: inout [UInt8], to out: inout [UInt8]) {
        guard !line.isEmpty else { return }
        let size = out.count
        var cursor = JSONCursor(index: line.lowerBound, end: line.upperBound)
        var copied = line.lowerBound
        let isRead = cursor.members(&scratch) { name, scratch, cursor in
            if Self.members.contains(where: { scratch[name].elementsEqual($0) }) {
                return replaceText(&scratch, &cursor, of: lines, &copied, &out)
            }
            guard scratch[name].elementsEqual(Self.attributes) else { return cursor.skip(&scratch, depth: 0) }
            return cursor.members(&scratch) { _, scratch, cursor in
                replaceText(&scratch, &cursor, of: lines, &copied, &out)
            }
        }
        guard isRead, cursor.isAtEnd(scratch) else {
            out.removeSubrange(size...)
            out += #"{"dropped":1}"#.utf8
            return
        }
        out += lines[copied..<line.upperBound]
    }

    private func replaceText(
        _ scratch: inout [UInt8], _ cursor: inout JSONCursor, of lines: [UInt8], _ copied: inout Int,
        _ out: inout [UInt8]
    ) -> Bool {
        let begin = cursor.index
        guard let text = cursor.string(&scratch) else { return false }
        out += lines[copied..<begin]
        out.append(UInt8(ascii: "\""))
        out += pseudonym(scratch[text])
        out.append(UInt8(ascii: "\""))
        copied = cursor.index
        return true
    }
}
