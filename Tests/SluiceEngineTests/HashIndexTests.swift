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

    @Test func nothingIsFoundInAnEmptyOne() {
        #expect(HashIndex().find(7) { _ in true } == nil)
    }
}
