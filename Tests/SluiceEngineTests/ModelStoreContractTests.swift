import StoreModel
import SluiceEngine
import Support
import Testing

/// The model keeps the promises of a store.
@Suite struct ModelStoreContractTests {
    @Test(arguments: StoreContract.cases) func holds(_ one: StoreContract.Case) async throws {
        for isDressed in [false, true] {
            var contract = StoreContract(over: ModelContractStore(), isDressed: isDressed)
            try await contract.run(one)
        }
    }

    /// As with a real store, where one case comes after the other.
    @Test func holdsOneAfterTheOther() async throws {
        var contract = StoreContract(over: ModelContractStore())
        for one in StoreContract.cases { try await contract.run(one) }
    }
}

private struct ModelContractStore: ContractStore {
    var store = ModelStore(clockMs: 1_700_000_000_000)

    mutating func run(_ batch: Batch) throws -> BatchReply { try store.run(batch, replica: 7).get() }

    func text(of key: String) -> String? {
        switch store.value(of: Array(key.utf8)) {
        case .integer(let number): "\(number)"
        case .bucket(let level, let lastMs, let credited):
            credited > 0 ? "\(level) \(lastMs) \(credited)" : "\(level) \(lastMs)"
        case .text(let text): text
        case .log, .slots, .record, .idempotency, .foreign, nil: nil
        }
    }

    func expiresAtMs(of key: String) -> Int64? { store.expiresAtMs(of: Array(key.utf8)) }
    mutating func set(_ key: String, _ text: String) { store.set(Array(key.utf8), text: text) }
    mutating func setList(_ key: String) { store.set(Array(key.utf8), .foreign) }
    mutating func setSlot(_ key: String, expiresAtMs: Int64) {
        store.set(Array(key.utf8), .slots(["another": expiresAtMs]))
    }
    mutating func persist(_ key: String) { store.persist(Array(key.utf8)) }
    mutating func delete(_ key: String) { store.delete(Array(key.utf8)) }

    mutating func addToReplicas(_ key: String, _ member: String, _ score: String) {
        store.addHeartbeat(member, score: Double(score) ?? 0)
    }

    mutating func setMarker(_ text: String?) {
        if let text { store.setMarker(of: 7, text: text) } else { store.spoilMarker(of: 7) }
    }
}
