import NIOCore
import SluiceEngine
import SluiceProtocol

extension CheckAction {
    fileprivate var mark: [UInt8] {
        switch self {
        case .check: []
        case .charge: [1]
        case .refund: [2]
        }
    }
}

extension CheckRequest {
    /// Distinguishes the checks that a gateway may ask with one id. The order of options does not matter.
    func argumentsHash(_ action: CheckAction, in input: ByteBuffer) -> UInt64 {
        func name(_ range: Range<Int>?) -> [UInt8] {
            // The length comes first, so that different lists of names never have the same bytes.
            guard let range else { return [0xFF] }
            return [UInt8(range.count >> 8), UInt8(range.count & 0xFF)] + input.bytes(ofArgument: range)
        }
        let attributes = attributes.map { name($0.name) + name($0.value) }.sorted { $0.lexicographicallyPrecedes($1) }
        let flags: [UInt8] = [reserve ? 1 : 0, approved ? 1 : 0] + action.mark
        var hash = stableHash(withUnsafeBytes(of: cost.littleEndian, Array.init) + flags)
        for part in [name(session), name(server)] + attributes { hash = stableHash(part, after: hash) }
        return hash
    }
}
