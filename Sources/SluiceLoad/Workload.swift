import Glibc
package import NIOCore
package import SluiceEngine

/// Whom one check is for.
package struct CheckTarget: Sendable, Hashable {
    package var grant: UInt32
    /// 0 where no sessions are given.
    package var session: UInt32

    package init(grant: UInt32, session: UInt32 = 0) {
        self.grant = grant
        self.session = session
    }
}

/// Draws grants: all equally often, or by Zipf's law, the grant of rank k in proportion to 1 / k^exponent.
///
/// Zipf is drawn from an alias table (Walker 1977, built as Vose 1991): one random number and one look a draw, however
/// many grants there are.
package struct GrantChooser: Sendable {
    private let count: UInt64
    /// Empty where all grants are alike. Below its threshold a column stands for itself, above for its alias.
    private var thresholds: [UInt64] = []
    private var aliases: [UInt32] = []

    /// - Parameters:
    ///   - count: at least 1.
    ///   - exponent: 0 for all alike.
    package init(count: Int, exponent: Double) {
        precondition(count >= 1 && exponent >= 0)
        self.count = UInt64(count)
        guard exponent > 0 else { return }
        let weights = (1...count).map { pow(Double($0), -exponent) }
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

    package func next(using random: inout SeededRandom) -> UInt32 {
        // The high half is the column, the low half where in the column.
        let (column, place) = random.next().multipliedFullWidth(by: count)
        guard !thresholds.isEmpty else { return UInt32(column) }
        return place < thresholds[Int(column)] ? UInt32(column) : aliases[Int(column)]
    }
}

/// The checks of one connection, in order: the same seed and connection give the same ones.
package struct Workload: Sendable {
    private let chooser: GrantChooser
    private let sessionCount: UInt64
    private var random: SeededRandom

    /// - Parameters:
    ///   - sessionCount: sessions of each grant; 0 for none.
    ///   - connection: the connection's number in the run.
    package init(chooser: GrantChooser, sessionCount: Int, seed: UInt64, connection: Int) {
        self.chooser = chooser
        self.sessionCount = UInt64(sessionCount)
        var mixer = SeededRandom(seed: seed)
        // The generator's steps are the same for all seeds, so neighbouring seeds would share most of their numbers.
        random = SeededRandom(seed: mixer.next() ^ SeededRandom.scrambled(UInt64(connection)))
    }

    package mutating func next() -> CheckTarget {
        let grant = chooser.next(using: &random)
        guard sessionCount > 0 else { return CheckTarget(grant: grant) }
        return CheckTarget(
            grant: grant, session: UInt32(random.next().multipliedFullWidth(by: sessionCount).high))
    }
}

extension SeededRandom {
    fileprivate static func scrambled(_ value: UInt64) -> UInt64 {
        var random = SeededRandom(seed: value)
        return random.next()
    }
}

/// The bytes of checks, made beforehand: sending one is a copy, with sessions two.
package struct CheckFrames: Sendable {
    /// For each grant the whole frame but for the session.
    private let grants: Pieces
    private let sessions: Pieces

    /// - Parameter traced: whether checks ask for `TRACE`.
    package init(
        grantPrefix: String, grantCount: Int, sessionCount: Int, tool: String, cost: Int64, traced: Bool
    ) {
        var tail = Self.bulk(tool)
        var words = 3
        if cost != 1 {
            tail += Self.bulk("COST") + Self.bulk(String(cost))
            words += 2
        }
        if traced {
            tail += Self.bulk("TRACE")
            words += 1
        }
        if sessionCount > 0 {
            tail += Self.bulk("SESSION")
            words += 2
        }
        let opening = Array("*\(words)\r\n".utf8) + Self.bulk("CHECK")
        grants = Pieces(count: grantCount) { opening + Self.bulk(Self.grantName(grantPrefix, $0)) + tail }
        sessions = Pieces(count: sessionCount) { Self.bulk(Self.sessionName($0)) }
    }

    package static func grantName(_ prefix: String, _ index: Int) -> String { "\(prefix)\(index)" }
    package static func sessionName(_ index: Int) -> String { "session-\(index)" }

    /// Appends the check for `target`.
    package func write(_ target: CheckTarget, to output: inout ByteBuffer) {
        output.writeBytes(grants[Int(target.grant)])
        if !sessions.isEmpty { output.writeBytes(sessions[Int(target.session)]) }
    }

    private static func bulk(_ text: String) -> [UInt8] { Array("$\(text.utf8.count)\r\n\(text)\r\n".utf8) }

    /// Many byte strings in one array.
    private struct Pieces: Sendable {
        private var bytes: [UInt8] = []
        private var ends: [Int] = []

        init(count: Int, _ piece: (Int) -> [UInt8]) {
            for index in 0..<count {
                bytes += piece(index)
                ends.append(bytes.count)
            }
        }

        var isEmpty: Bool { ends.isEmpty }

        subscript(index: Int) -> ArraySlice<UInt8> { bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]] }
    }
}
