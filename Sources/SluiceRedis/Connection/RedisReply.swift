/// One reply in flat form: items in order of arrival, an array before its elements. Once its storage has grown,
/// appending allocates nothing, so a reply of a thousand integers costs no more than its bytes.
package struct FlatReply: Sendable, Equatable {
    package enum Kind: UInt8, Sendable {
        case integer, string, status, error, null, array
    }

    package struct Item: Sendable, Equatable {
        package var kind: Kind
        /// Of `string`, `status` and `error`: how many bytes of `text` it has.
        package var length: UInt32
        /// Of `integer`: itself. Of `array`: how many elements follow. Of text: where it starts in `text`. Else 0.
        package var value: Int64
    }

    package var items: [Item] = []
    package var text: [UInt8] = []

    package init() {}

    mutating func removeAll() {
        items.removeAll(keepingCapacity: true)
        text.removeAll(keepingCapacity: true)
    }

    mutating func append(_ kind: Kind, value: Int64 = 0) {
        items.append(Item(kind: kind, length: 0, value: value))
    }

    mutating func append(_ kind: Kind, text bytes: some Collection<UInt8>) {
        items.append(Item(kind: kind, length: UInt32(truncatingIfNeeded: bytes.count), value: Int64(text.count)))
        text.append(contentsOf: bytes)
    }

    /// The bytes of a string, a status or an error; empty for others.
    package func bytes(of item: Item) -> ArraySlice<UInt8> {
        let start = item.length == 0 ? 0 : Int(item.value)
        return text[start..<start + Int(item.length)]
    }

    /// The text of a string, a status or an error, cut off at `RedisBounds.maxErrorBytes`.
    package func words(of item: Item) -> String {
        String(decoding: bytes(of: item).prefix(RedisBounds.maxErrorBytes), as: UTF8.self)
    }

    /// The error, if the whole reply is one.
    package var error: RedisError? {
        guard let first = items.first, first.kind == .error else { return nil }
        return RedisError(words(of: first))
    }

    /// The reply as a tree; nil if it is of an unexpected kind (RESP3's maps, say) or deeper than
    /// `RedisBounds.maxReplyDepth`.
    package func tree() -> RedisReply? {
        var at = 0
        let reply = node(&at, depth: 1)
        return at == items.count ? reply : nil
    }

    private func node(_ at: inout Int, depth: Int) -> RedisReply? {
        guard at < items.count, depth <= RedisBounds.maxReplyDepth else { return nil }
        let item = items[at]
        at += 1
        switch item.kind {
        case .integer: return .integer(item.value)
        case .string: return .string(Array(bytes(of: item)))
        case .status: return .status(words(of: item))
        case .error: return .error(RedisError(words(of: item)))
        case .null: return .null
        case .array:
            guard 0...Int64(items.count - at) ~= item.value else { return nil }
            var elements: [RedisReply] = []
            elements.reserveCapacity(Int(item.value))
            for _ in 0..<item.value {
                guard let element = node(&at, depth: depth + 1) else { return nil }
                elements.append(element)
            }
            return .array(elements)
        }
    }
}

/// A reply as a tree; not for the path of a check.
package enum RedisReply: Sendable, Equatable {
    case integer(Int64)
    case string([UInt8])
    case status(String)
    case error(RedisError)
    case null
    case array([RedisReply])
}
