import SluiceClient

/// The members of a map in a reply, which older connections get as an array of names and values in turn.
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

    func array(_ name: String) throws(SluiceError) -> [Reply] {
        guard let elements = members[name]?.array else { throw .malformedReply("expected the array \(name)") }
        return elements
    }
}
