import StoreModel
import Testing

@testable import SluiceEngine

@Suite struct HashIndexTests {
    /// Names of rows with few different hashes, so that probe sequences are long and hashes collide.
    private func hash(_ name: Int, spread: Int) -> Int { (name % spread) << 32 | name % 3 }

    @Test(arguments: [1, 3, 16, 1_000])
    func aRandomLifeAgainstADictionary(spread: Int) {
        var random = SeededRandom(seed: UInt64(spread))
        var index = HashIndex()
        var model: [Int: Int] = [:]
        var names: [Int] = []
        for _ in 0..<4_000 {
            let name = Int.random(in: 0..<120, using: &random)
            let found = index.find(hash(name, spread: spread)) { names[$0] == name }
            expectQuickly(found == model[name], "\(name): \(String(describing: found))")
            if let row = model[name] {
                guard Bool.random(using: &random) else { continue }
                index.remove(row, hash: hash(name, spread: spread))
                model[name] = nil
            } else {
                names.append(name)
                index.insert(names.count - 1, hash: hash(name, spread: spread))
                model[name] = names.count - 1
            }
            expectQuickly(index.count == model.count, "\(index.count)")
        }
        for name in 0..<120 {
            #expect(index.find(hash(name, spread: spread)) { names[$0] == name } == model[name])
        }
    }

    /// After a burst it gives its slots back, and finds what is left.
    @Test func itShrinks() {
        var index = HashIndex()
        func hash(_ row: Int) -> Int { ByteString(bytes: Array("name\(row)".utf8)).hashValue }
        for row in 0..<50_000 { index.insert(row, hash: hash(row)) }
        let most = index.slotCount
        for row in 0..<50_000 where row % 100 != 0 { index.remove(row, hash: hash(row)) }
        #expect(index.count == 500 && index.slotCount < most / 20, "\(index.slotCount) of \(most)")
        for row in 0..<1_000 {
            expectQuickly(index.find(hash(row)) { $0 == row } == (row % 100 == 0 ? row : nil), "\(row)")
        }
    }

    @Test func nothingIsFoundInAnEmptyOne() {
        #expect(HashIndex().find(7) { _ in true } == nil)
    }
}
