import NIOCore
import SluiceLoad
import SluiceProtocol
import Testing

@Suite struct WorkloadTests {
    private func targets(
        _ count: Int, grants: Int = 50, skew: Double = 0, sessions: Int = 0, seed: UInt64 = 1, connection: Int = 0
    ) -> [CheckTarget] {
        var workload = Workload(
            chooser: GrantChooser(count: grants, exponent: skew), sessionCount: sessions, seed: seed,
            connection: connection)
        return (0..<count).map { _ in workload.next() }
    }

    @Test func theSameSeedGivesTheSameChecks() {
        #expect(targets(1000, skew: 1.1, sessions: 3) == targets(1000, skew: 1.1, sessions: 3))
    }

    @Test func anotherSeedOrConnectionGivesOthers() {
        #expect(targets(100) != targets(100, seed: 2))
        #expect(targets(100) != targets(100, connection: 1))
        // Neighbours do not give the same checks shifted by a few.
        #expect(Array(targets(101).dropFirst()) != targets(100, connection: 1))
    }

    @Test func withoutSkewAllGrantsAreAlike() {
        let counts = Dictionary(grouping: targets(50_000), by: \.grant).mapValues(\.count)
        #expect(counts.count == 50)
        // Six standard deviations of a binomial draw.
        #expect(counts.values.allSatisfy { abs($0 - 1000) < 190 })
    }

    @Test func withSkewGrantsFollowZipfsLaw() {
        let draws = 200_000
        let counts = Dictionary(grouping: targets(draws, grants: 10, skew: 1), by: \.grant).mapValues(\.count)
        let harmonic = (1...10).reduce(0) { $0 + 1 / Double($1) }
        for rank in 1...10 {
            let expected = Double(draws) / Double(rank) / harmonic
            #expect(abs(Double(counts[UInt32(rank - 1)] ?? 0) - expected) < 6 * expected.squareRoot(), "rank \(rank)")
        }
    }

    @Test(arguments: [(1, 0.0), (1, 2.0), (2, 10.0), (1000, 0.5), (100_000, 1.2)])
    func everyDrawIsAGrant(count: Int, skew: Double) {
        #expect(targets(5000, grants: count, skew: skew).allSatisfy { $0.grant < count })
    }

    @Test func sessionsAreAllAlike() {
        let counts = Dictionary(grouping: targets(9000, sessions: 3), by: \.session).mapValues(\.count)
        #expect(counts.keys.sorted() == [0, 1, 2])
        #expect(counts.values.allSatisfy { abs($0 - 3000) < 300 })
    }

    private func bytes(
        _ target: CheckTarget, sessions: Int = 0, cost: Int64 = 1, traced: Bool = true
    ) -> ByteBuffer {
        let frames = CheckFrames(
            grantPrefix: "g", grantCount: 3, sessionCount: sessions, tool: "t", cost: cost, traced: traced)
        var output = ByteBuffer()
        frames.write(target, to: &output)
        return output
    }

    @Test func writesTheShortestCheck() {
        #expect(
            String(buffer: bytes(CheckTarget(grant: 2), traced: false))
                == "*3\r\n$5\r\nCHECK\r\n$2\r\ng2\r\n$1\r\nt\r\n")
    }

    @Test func writesEveryOption() throws {
        var input = bytes(CheckTarget(grant: 1, session: 4), sessions: 5, cost: 7)
        var framer = RequestFramer()
        #expect(try framer.next(in: &input) == .frame)
        guard case .check(let check) = try Request.parse(framer.arguments, in: input) else {
            Issue.record("not a check")
            return
        }
        let whole = bytes(CheckTarget(grant: 1, session: 4), sessions: 5, cost: 7)
        #expect(String(buffer: whole).contains("session-4"))
        #expect(check.cost == 7 && check.trace && check.session != nil && !check.reserve)
        #expect(try framer.next(in: &input) != .frame)
        #expect(input.readableBytes == 0)
    }
}
