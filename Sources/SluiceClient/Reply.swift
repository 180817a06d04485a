/// A reply to any command. RESP2 and RESP3 give the same answers, except that RESP2 has arrays, integers and strings
/// for maps, booleans and floating-point numbers.
public enum Reply: Sendable, Equatable {
    /// One key and its value.
    public struct Pair: Sendable, Equatable {
        public var key: Reply
        public var value: Reply

        public init(key: Reply, value: Reply) {
            self.key = key
            self.value = value
        }
    }

    case string(String)
    case integer(Int64)
    case double(Double)
    case boolean(Bool)
    case null
    case array([Reply])
    /// In the order of the reply.
    case map([Pair])
    /// An error inside an array or a map. An error that is the whole reply is thrown as `SluiceError.server`.
    case error(code: String, message: String)

    /// The members, if this is a map, or an array of alternating keys and values, as RESP2 has for a map.
    public var pairs: [Pair]? {
        switch self {
        case .map(let pairs): pairs
        case .array(let elements) where elements.count.isMultiple(of: 2):
            stride(from: 0, to: elements.count, by: 2).map { Pair(key: elements[$0], value: elements[$0 + 1]) }
        case .array, .string, .integer, .double, .boolean, .null, .error: nil
        }
    }

    /// The value of a member, if this is such a map and has it.
    public subscript(name: String) -> Reply? { pairs?.last { $0.key.string == name }?.value }

    /// The text, if this is a string.
    public var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// The number, if this is an integer.
    public var integer: Int64? {
        if case .integer(let number) = self { number } else { nil }
    }

    /// The elements, if this is an array.
    public var array: [Reply]? {
        if case .array(let elements) = self { elements } else { nil }
    }
}
