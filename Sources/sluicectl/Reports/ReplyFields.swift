import SluiceClient

/// The members of a map in a reply; on RESP2 connections an array of alternating names and values.
struct ReplyFields {
    private var members: [String: Reply] = [:]

    init(_ reply: Reply) throws(SluiceError) {
        switch reply {
        case .map(let pairs):
            for pair in pairs {
                if let name = pair.key.string { members[name] = pair.value }
            }
        case .array(let elements) where elements.count.isMultiple(of: 2):
            for index in stride(from: 0, to: elements.count, by: 2) {
                if let name = elements[index].string { members[name] = elements[index + 1] }
            }
        case .array, .string, .integer, .double, .boolean, .null, .error:
            throw .malformedReply("expected a map")
        }
    }

    func integer(_ name: String) throws(SluiceError) -> Int64 {
        guard let number = members[name]?.integer else { throw .malformedReply("expected the integer \(name)") }
        return number
    }

    func string(_ name: String) throws(SluiceError) -> String {
        guard let text = members[name]?.string else { throw .malformedReply("expected the string \(name)") }
        return text
    }

    /// A map of names to texts, in its order.
    func pairs(_ name: String) throws(SluiceError) -> [(String, String)] {
        var pairs: [(String, String)] = []
        switch members[name] {
        case .map(let entries):
            for entry in entries {
                guard let name = entry.key.string, let text = entry.value.string else { throw Self.noPairs(name) }
                pairs.append((name, text))
            }
        case .array(let elements) where elements.count.isMultiple(of: 2):
            for index in stride(from: 0, to: elements.count, by: 2) {
                guard let name = elements[index].string, let text = elements[index + 1].string else {
                    throw Self.noPairs(name)
                }
                pairs.append((name, text))
            }
        default: throw Self.noPairs(name)
        }
        return pairs
    }

    private static func noPairs(_ name: String) -> SluiceError {
        .malformedReply("expected the map \(name) of texts")
    }

    func array(_ name: String) throws(SluiceError) -> [Reply] {
        guard let elements = members[name]?.array else { throw .malformedReply("expected the array \(name)") }
        return elements
    }
}
