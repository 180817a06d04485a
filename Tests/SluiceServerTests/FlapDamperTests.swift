import SluiceEngine
import Testing

@testable import SluiceServer

@Suite struct FlapDamperTests {
    private static func seconds(_ seconds: Int64) -> Int64 { seconds * 1_000_000_000 }

    /// What becomes of changes at these seconds.
    private func actions(_ damper: inout FlapDamper, _ seconds: Int64...) -> [FlapDamper.Action] {
        seconds.map { damper.change(nowNs: Self.seconds($0)) }
    }

    @Test func fewChangesAreLogged() {
        var damper = FlapDamper()
        #expect(actions(&damper, 0, 10, 20) == [.log, .log, .log])
        // The first is a minute ago.
        #expect(actions(&damper, 60, 70, 80) == [.log, .log, .log])
        #expect(!damper.isFlapping && damper.nextTickNs == nil && damper.tick(nowNs: Self.seconds(1000)) == nil)
    }

    @Test func afterTheThirdInAMinuteTheyAreCounted() {
        var damper = FlapDamper()
        #expect(actions(&damper, 0, 1, 2, 3) == [.log, .log, .log, .logFlapping(changes: 4)])
        #expect(damper.isFlapping && damper.nextTickNs == Self.seconds(63))
        #expect(actions(&damper, 4, 20, 50, 62) == [.count, .count, .count, .count])
        #expect(damper.nextTickNs == Self.seconds(63))
        #expect(damper.tick(nowNs: Self.seconds(62)) == nil)
        #expect(damper.tick(nowNs: Self.seconds(63)) == .logFlapping(changes: 4))
        #expect(damper.nextTickNs == Self.seconds(122))
        #expect(damper.tick(nowNs: Self.seconds(121)) == nil)
        #expect(damper.tick(nowNs: Self.seconds(122)) == .logStable(changes: 8))
        // From here on as in the beginning.
        #expect(!damper.isFlapping && damper.nextTickNs == nil)
        #expect(actions(&damper, 123, 124, 125, 126) == [.log, .log, .log, .logFlapping(changes: 4)])
    }

    /// A new reason is news, also while it flaps.
    @Test func everyReasonIsLoggedOnceMeanwhile() {
        var damper = FlapDamper()
        let logged = { (reasons: String...) in reasons.map { damper.logs(reason: $0) } }
        #expect(logged("a", "a") == [true, true])
        _ = actions(&damper, 0, 0, 0, 0)
        #expect(logged("a", "a", "b") == [true, false, true])
        _ = actions(&damper, 1)
        #expect(logged("b") == [false])
        #expect((0..<1_000).flatMap { logged("\($0)") }.count { $0 } == EngineBounds.maxReportedReasons - 2)
        #expect(damper.tick(nowNs: Self.seconds(61)) == .logStable(changes: 5))
        #expect(logged("a", "a") == [true, true])
    }

    /// The line of a minute also comes with a change, if the tick is late.
    @Test func aChangeLogsWhatIsDue() {
        var damper = FlapDamper()
        _ = actions(&damper, 0, 0, 0, 0, 30, 59)
        #expect(actions(&damper, 60, 61) == [.logFlapping(changes: 3), .count])
        #expect(damper.tick(nowNs: Self.seconds(121)) == .logStable(changes: 8))
    }

    /// However often it changes, at most four lines come in the first minute, and one in each later one.
    @Test func thousandsOfChangesAreAFewLines() {
        var damper = FlapDamper()
        var (lines, counted) = (0, 0)
        for step in 0..<6_000 {
            switch damper.change(nowNs: Int64(step) * 100_000_000) {
            case .log: (lines, counted) = (lines + 1, counted + 1)
            case .logFlapping(let changes): (lines, counted) = (lines + 1, step < 5 ? changes : counted + changes)
            case .count: break
            case .logStable: Issue.record("it is not stable")
            }
        }
        #expect(lines == 3 + 10 && counted == 5_404)
        #expect(damper.tick(nowNs: Int64(5_999) * 100_000_000 + Self.seconds(60)) == .logStable(changes: 6_000))
    }
}
