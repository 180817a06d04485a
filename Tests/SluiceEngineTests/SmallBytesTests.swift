import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct SmallBytesTests {
    private func name(_ count: Int, _ last: UInt8 = 1) -> [UInt8] {
        [UInt8](repeating: 7, count: max(0, count - 1)) + (count > 0 ? [last] : [])
    }

    private static let lengths = [0, 1, 7, 8, 15, 16, 17, 255, 256, 600]

    /// Lengths around the size of the inline storage, and bytes that differ only in the last one.
    @Test(arguments: lengths) func bytesOfEveryLength(count: Int) {
        let bytes = SmallBytes<16>(name(count))
        #expect(bytes.count == count && bytes.bytes == name(count))
        #expect(bytes.isEqual(to: name(count)) && bytes.stableHash(after: 5) == stableHash(name(count), after: 5))
        for other in Self.lengths where other != count { #expect(!bytes.isEqual(to: name(other))) }
        var all: [UInt8] = [9]
        bytes.append(to: &all)
        #expect(all == [9] + name(count))
        guard count > 0 else { return }
        #expect(!bytes.isEqual(to: name(count, 2)) && !bytes.isEqual(to: name(count) + [0]))
        #expect(!bytes.isEqual(to: name(count).dropLast()))
    }
}
