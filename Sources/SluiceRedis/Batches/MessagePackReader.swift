/// Reads the one MessagePack value that is not left to the scripts: an array of whole numbers from 0 on.
enum MessagePackReader {
    /// - Parameter most: how many numbers at most.
    /// - Returns: nil if it is anything else, or if bytes follow it.
    static func numbers(_ bytes: some Collection<UInt8>, atMost most: Int) -> [Int64]? {
        var rest = bytes[...]
        /// Big-endian.
        func number(ofBytes count: Int) -> UInt64? {
            guard rest.count >= count else { return nil }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count).reduce(0) { $0 << 8 | UInt64($1) }
        }
        let count: UInt64?
        switch rest.popFirst() {
        case let head? where head & 0xF0 == 0x90: count = UInt64(head & 0x0F)
        case 0xDC?: count = number(ofBytes: 2)
        case 0xDD?: count = number(ofBytes: 4)
        default: return nil
        }
        guard let count, count <= UInt64(most) else { return nil }
        var numbers: [Int64] = []
        for _ in 0..<count {
            let value: UInt64?
            switch rest.popFirst() {
            case let byte? where byte < 0x80: value = UInt64(byte)
            case 0xCC?: value = number(ofBytes: 1)
            case 0xCD?: value = number(ofBytes: 2)
            case 0xCE?: value = number(ofBytes: 4)
            case 0xCF?: value = number(ofBytes: 8)
            // A signed number; some writers use it for non-negative values too.
            case 0xD3?: value = number(ofBytes: 8)
            default: return nil
            }
            guard let value, value <= UInt64(Int64.max) else { return nil }
            numbers.append(Int64(value))
        }
        return rest.isEmpty ? numbers : nil
    }
}
