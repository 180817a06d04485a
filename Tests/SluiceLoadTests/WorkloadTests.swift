import NIOCore
@testable import sluice_load
import SluiceProtocol
import Testing

@Suite struct WorkloadTests {
    private func targets(
        _ count: Int, grants: Int = 50, skew: Double = 0, sessions: Int = 0, seed: UInt64 = 1, connection: Int = 0
    ) -> [CheckTarget] {
        var workload = Workload(
            chooser: Chooser(count: grants, exponent: skew), sessionCount: sessions, seed: seed,
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

    private func settings(sessions: Int = 0, cost: Int64 = 1, traced: Bool = true) -> LoadSettings {
        var settings = LoadSettings(socketPaths: ["a"])
        settings.grantPrefix = "g"
        settings.grantCount = 3
        settings.sessionCount = sessions
        settings.kinds = [CheckKind(tool: "t", cost: cost)]
        settings.usesOracle = traced
        return settings
    }

    private func bytes(_ target: CheckTarget, _ settings: LoadSettings) -> ByteBuffer {
        var output = ByteBuffer()
        CheckFrames(settings).write(target, to: &output)
        return output
    }

    private func bytes(
        _ target: CheckTarget, sessions: Int = 0, cost: Int64 = 1, traced: Bool = true
    ) -> ByteBuffer {
        bytes(target, settings(sessions: sessions, cost: cost, traced: traced))
    }

    @Test func kindsAreDrawnByWeight() {
        var workload = Workload(
            chooser: Chooser(count: 1, exponent: 0), kindWeights: [3, 1], sessionCount: 0, seed: 1, connection: 0)
        let counts = Dictionary(grouping: (0..<40_000).map { _ in workload.next() }, by: \.kind).mapValues(\.count)
        #expect(abs((counts[0] ?? 0) - 30_000) < 600)
        #expect((counts[0] ?? 0) + (counts[1] ?? 0) == 40_000)
    }

    @Test func writesAReservation() {
        var settings = settings(traced: false)
        settings.kinds = [CheckKind(tool: "t", cost: 1), CheckKind(tool: "u", cost: 2, reserves: true)]
        #expect(
            String(buffer: bytes(CheckTarget(grant: 0, kind: 1), settings))
                == "*6\r\n$5\r\nCHECK\r\n$2\r\ng0\r\n$1\r\nu\r\n$4\r\nCOST\r\n$1\r\n2\r\n$7\r\nRESERVE\r\n")
    }

    @Test func writesBaselines() {
        var settings = settings(sessions: 2)
        settings.target = .ping
        #expect(String(buffer: bytes(CheckTarget(grant: 0), settings)) == "*1\r\n$4\r\nPING\r\n")
        settings.target = .redis
        #expect(
            String(buffer: bytes(CheckTarget(grant: 1, session: 1), settings))
                == "*7\r\n$7\r\nEVALSHA\r\n$40\r\n\(BaselineScript.fixedWindow.sha1)\r\n$1\r\n1\r\n$24\r\nsluice-load:g1:session-1\r\n"
                + "$1\r\n1\r\n$2\r\n10\r\n$5\r\n60000\r\n")
    }

    @Test func writesReservationsOfRedisItself() {
        var settings = settings(traced: false)
        settings.target = .redis
        var kind = CheckKind(tool: "t", cost: 10, reserves: true)
        kind.baseline = .reserve
        settings.kinds = [CheckKind(tool: "t", cost: 1), kind]
        let frames = CheckFrames(settings)
        let check = CheckTarget(grant: 1, kind: 1)
        #expect(frames.needsReservation(check) && !frames.needsReservation(CheckTarget(grant: 1)))
        var output = ByteBuffer()
        frames.write(check, reservation: 42, to: &output)
        #expect(
            String(buffer: output)
                == "*8\r\n$7\r\nEVALSHA\r\n$40\r\n\(BaselineScript.reserve.sha1)\r\n$1\r\n1\r\n$14\r\nsluice-load:g1\r\n"
                + "$2\r\n10\r\n$2\r\n10\r\n$5\r\n60000\r\n$2\r\n42\r\n")
        output.clear()
        frames.write(
            Settlement(target: check, reservation: "42", cost: 10, committedCost: 3, source: .shared), to: &output)
        #expect(
            String(buffer: output)
                == "*6\r\n$7\r\nEVALSHA\r\n$40\r\n\(BaselineScript.commit.sha1)\r\n$1\r\n1\r\n$14\r\nsluice-load:g1\r\n"
                + "$1\r\n3\r\n$2\r\n42\r\n")
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

    @Test func grantsInOrderAreAllVisited() {
        let chooser = Chooser(inOrderOf: 5, visitors: 2)
        var workloads = (0..<2).map { Workload(chooser: chooser, sessionCount: 0, seed: 1, connection: $0) }
        #expect((0..<5).map { _ in workloads[0].next().grant } == [0, 2, 4, 1, 3])
        #expect((0..<3).map { _ in workloads[1].next().grant } == [1, 3, 0])
    }
}
