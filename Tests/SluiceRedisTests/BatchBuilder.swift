import SluiceEngine

/// A window that holds now for as long as the tests run: from 2020 to 2100.
let longWindow: Range<Int64> = 1_577_836_800_000..<4_102_444_800_000

/// One counter of an entry, as tests write it.
struct TestCharge {
    var key: String
    var max: Int64
    var window = longWindow
    var verifies = false
}

extension Batch {
    init(sequence: Int64, acknowledged: Int64 = 0, floorMs: Int64 = 0) {
        self.init()
        self.sequence = sequence
        acknowledgedSequence = acknowledged
        self.floorMs = floorMs
    }

    mutating func add(cost: Int64 = 1, count: Int64 = 1, _ charges: TestCharge...) {
        entries.append(
            Entry(cost: cost, count: count, firstCharge: self.charges.count, chargeCount: charges.count))
        for charge in charges {
            appendKey(charge.key.utf8)
            self.charges.append(
                Charge(
                    terms: .fixedWindow(max: charge.max, window: charge.window), verifiesTimeToLive: charge.verifies))
        }
    }
}
