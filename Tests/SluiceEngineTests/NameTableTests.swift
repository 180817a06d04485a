import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct NameTableTests {
    private func name(_ count: Int, _ last: UInt8 = 1) -> [UInt8] {
        [UInt8](repeating: 7, count: max(0, count - 1)) + (count > 0 ? [last] : [])
    }

    /// Lengths around that of a slot, and names that differ in their last byte alone.
    @Test func namesOfEveryLength() {
        var names = NameTable()
        let lengths = [0, 1, 7, 8, 62, 63, 64, 65, 255, 256, 600]
        for (row, length) in lengths.enumerated() { names.set(row, name(length)) }
        for (row, length) in lengths.enumerated() {
            #expect(names[row] == name(length))
            #expect(names.isName(name(length), of: row))
            for other in lengths where other != length { #expect(!names.isName(name(other), of: row)) }
            if length > 0 { #expect(!names.isName(name(length, 2), of: row)) }
        }
    }

    @Test(arguments: [(3, 100), (100, 3), (100, 101), (63, 64)])
    func aRowIsNamedAnew(before: Int, after: Int) {
        var names = NameTable()
        names.set(0, name(before))
        names.set(1, name(before))
        names.set(0, name(after))
        #expect(names[0] == name(after) && names[1] == name(before))
        #expect(names.isName(name(after), of: 0) && !names.isName(name(before), of: 0))
        names.set(0, [])
        #expect(names.isName([], of: 0) && !names.isName(name(after), of: 0))
    }
}
