/// Which partitions something happened to since they were last asked what they want, and when the others are due.
struct TouchedPartitions {
    private var list: [Int]
    private var isTouched: [Bool]
    private var nextTicksNs: [Int64]
    private var looks: [Bool]
    private var lookCount = 0

    /// At first all.
    init(count: Int) {
        list = Array(0..<count)
        isTouched = Array(repeating: true, count: count)
        nextTicksNs = Array(repeating: .min, count: count)
        looks = Array(repeating: false, count: count)
    }

    var last: Int? { list.last }
    var all: [Int] { list }

    mutating func touch(_ partition: Int) {
        guard !isTouched[partition] else { return }
        isTouched[partition] = true
        list.append(partition)
    }

    mutating func removeLast() {
        let partition = list.removeLast()
        isTouched[partition] = false
    }

    /// What a partition wants, after all of its commands were taken.
    mutating func note(_ partition: Int, nextTickNs: Int64, wantsLook: Bool) {
        nextTicksNs[partition] = nextTickNs
        if looks[partition] != wantsLook { lookCount += wantsLook ? 1 : -1 }
        looks[partition] = wantsLook
    }

    var nextTickNs: Int64 { nextTicksNs.min() ?? .max }
    var wantsLook: Bool { lookCount > 0 }

    /// The partitions to tick.
    func due(now: ClockReading) -> [Int] {
        nextTicksNs.indices.filter { nextTicksNs[$0] <= now.monotonicNs || looks[$0] }
    }
}
