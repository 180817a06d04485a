import Glibc
import SluiceEngine

/// The grant, session and kind of one check.
struct CheckTarget: Sendable, Hashable {
    var grant: UInt32
    /// 0 if there are no sessions.
    var session: UInt32 = 0
    /// Index into the run's kinds of checks.
    var kind: UInt16 = 0
}

/// The tool and cost of one kind of check, and its weight.
struct CheckKind: Sendable, Hashable {
    var tool: String
    var cost: Int64
    /// Whether it requests a reservation.
    var reserves: Bool = false
    /// Whether it is no check: its cost is charged whatever the maximum says.
    var charges: Bool = false
    /// The server that it names.
    var server: String?
    /// What counts it if it is sent to Redis itself.
    var baseline = BaselineScript.fixedWindow
    /// Whether it names a session, where the run has sessions.
    var hasSession = true
    /// Relative to the other kinds.
    var weight: Double = 1
}

/// Draws one of several: uniformly, by weight, or by Zipf's law, in which rank k has a probability in proportion to 1 /
/// k^exponent.
///
/// For unequal weights it uses an alias table (Walker 1977, built as in Vose 1991): one random number and one look-up a
/// draw, whatever their number.
struct Chooser: Sendable {
    private let count: UInt64
    /// Empty if all weights are equal. Below its threshold a column stands for itself, above for its alias.
    private var thresholds: [UInt64] = []
    private var aliases: [UInt32] = []
    /// How many connections visit all in turn, each its part of them; 0 to draw at random.
    fileprivate private(set) var visitors: UInt64 = 0

    /// Does not draw at random: the connections visit all in turn, repeatedly.
    init(inOrderOf count: Int, visitors: Int) {
        self.init(count: count, exponent: 0)
        self.visitors = UInt64(visitors)
    }

    fileprivate func visit(_ number: UInt64) -> UInt32 { UInt32(number % count) }

    /// - Parameters:
    ///   - count: at least 1.
    ///   - exponent: 0 for equal weights.
    init(count: Int, exponent: Double) {
        precondition(count >= 1 && exponent >= 0)
        self.init(weights: exponent > 0 ? (1...count).map { pow(Double($0), -exponent) } : [], count: count)
    }

    /// - Parameter weights: at least one, none negative, not all 0.
    init(weights: [Double]) {
        precondition(!weights.isEmpty && weights.allSatisfy { $0 >= 0 } && weights.contains { $0 > 0 })
        self.init(weights: weights.allSatisfy { $0 == weights[0] } ? [] : weights, count: weights.count)
    }

    /// - Parameter weights: empty for equal weights.
    private init(weights: [Double], count: Int) {
        self.count = UInt64(count)
        guard !weights.isEmpty else { return }
        let scale = Double(count) / weights.reduce(0, +)
        var heights = weights.map { $0 * scale }
        thresholds = Array(repeating: UInt64.max, count: count)
        aliases = (0..<UInt32(count)).map { $0 }
        var low = heights.indices.filter { heights[$0] < 1 }
        var high = heights.indices.filter { heights[$0] >= 1 }
        while let small = low.popLast(), let large = high.last {
            thresholds[small] = UInt64(min(heights[small], 1) * 0x1p63) << 1
            aliases[small] = UInt32(large)
            heights[large] -= 1 - heights[small]
            if heights[large] < 1 {
                high.removeLast()
                low.append(large)
            }
        }
    }

    func next(using random: inout SeededRandom) -> UInt32 {
        // The high half is the column, the low half the position within it.
        let (column, place) = random.next().multipliedFullWidth(by: count)
        guard !thresholds.isEmpty else { return UInt32(column) }
        return place < thresholds[Int(column)] ? UInt32(column) : aliases[Int(column)]
    }
}

/// The checks of one connection, in order: the same seed and connection give the same ones.
struct Workload: Sendable {
    private let chooser: Chooser
    private let kinds: Chooser
    private let kindCount: Int
    private let sessionCount: UInt64
    private var random: SeededRandom
    /// The next grant if they are visited in order.
    private var visit: UInt64

    /// - Parameters:
    ///   - chooser: draws grants.
    ///   - kindWeights: how often each kind of check is sent.
    ///   - sessionCount: sessions of each grant; 0 for none.
    ///   - connection: the connection's number in the run.
    init(
        chooser: Chooser, kindWeights: [Double] = [1], sessionCount: Int, seed: UInt64, connection: Int
    ) {
        self.chooser = chooser
        kinds = Chooser(weights: kindWeights)
        kindCount = kindWeights.count
        self.sessionCount = UInt64(sessionCount)
        visit = UInt64(connection)
        var mixer = SeededRandom(seed: seed)
        // The generator's steps are the same for all seeds, so neighbouring seeds would share most of their numbers.
        random = SeededRandom(seed: mixer.next() ^ SeededRandom.scrambled(UInt64(connection)))
    }

    mutating func next() -> CheckTarget {
        let grant = chooser.visitors > 0 ? chooser.visit(visit) : chooser.next(using: &random)
        visit += chooser.visitors
        let session = sessionCount > 0 ? UInt32(random.next().multipliedFullWidth(by: sessionCount).high) : 0
        let kind = kindCount > 1 ? UInt16(kinds.next(using: &random)) : 0
        return CheckTarget(grant: grant, session: session, kind: kind)
    }
}

extension SeededRandom {
    fileprivate static func scrambled(_ value: UInt64) -> UInt64 {
        var random = SeededRandom(seed: value)
        return random.next()
    }
}
