import SluicePolicy
import SluiceProtocol
import Testing

@testable import sluice_load

/// Charges past the maximum and refunds, and limits that count each tool or server for itself.
@Suite struct OracleChargeTests {
    private static let rule = OracleFixture.rule

    /// Windows of a second, as those of the fixture, whose clock begins at the first one.
    private func fixture() -> OracleFixture {
        var fixture = OracleFixture(startsEmpty: true)
        let limit = CountedLimit(
            rule: Self.rule, window: .seconds(1), max: 10, countsCalls: false, container: .tool("t"), counter: "c")
        fixture.oracle = Oracle(
            subjects: 2, sidecars: 2, replicas: 2, budgetNs: 20_000_000,
            kinds: [CheckKind(tool: "t", cost: 1), CheckKind(tool: "t", cost: 6, charges: true)],
            countedLimits: [[limit], [limit]], startsEmpty: true)
        fixture.nowNs += 20_000_000
        return fixture
    }

    private func stored(_ used: Int64, window: Int64 = 1) -> CounterReading {
        var stored = StoredUsages(origin: .redis)
        stored.usages[StoredUsages.Key(subject: 0, rule: Self.rule, startMs: window * 1_000)] =
            StoredUsages.Usage(used: used, isOpen: false)
        return .read(stored)
    }

    @Test(arguments: [(14, 0), (13, 1), (15, 1)] as [(Int64, Int64)])
    func whatIsChargedCountsOnce(used: Int64, breaks: Int64) {
        var fixture = fixture()
        fixture.admitShared(1...8)
        fixture.charge(6, isAllowed: false)
        fixture.answer(false, .shared, used: 14)
        let report = fixture.oracle.finish(stored(used))
        #expect(report.breakCount == breaks)
    }

    @Test(arguments: [(10, 0), (14, 1), (8, 1)] as [(Int64, Int64)])
    func whatIsGivenBackCountsOnce(used: Int64, breaks: Int64) {
        var fixture = fixture()
        fixture.admitShared(1...8)
        fixture.charge(6, refunding: 4)
        let report = fixture.oracle.finish(stored(used))
        #expect(report.breakCount == breaks)
    }

    /// No check is admitted because of a charge.
    @Test func noCheckIsAdmittedAboveTheMaximum() {
        var fixture = fixture()
        fixture.charge(6)
        fixture.answer(true, .shared, used: 11)
        #expect(fixture.broken() == [.neverOver])
    }

    @Test func aUsageThatNothingExplainsWasChargedTwice() {
        var fixture = fixture()
        fixture.charge(6)
        fixture.answer(false, .shared, used: 12)
        #expect(fixture.broken() == [.chargedOnce])
    }

    /// It may have come in either window, and nothing is known of a refund in another window than its charge.
    @Test(arguments: [0, 6, 7] as [Int64]) func aChargeAtABorderMayCountInBoth(used: Int64) {
        var fixture = fixture()
        fixture.nowNs = 1_997_000_000
        fixture.charge(6)
        fixture.answer(true, .shared, used: used + 1, window: 2)
        let report = fixture.oracle.finish(stored(used, window: 1))
        #expect(report.isKept == (used <= 6), "\(report.breaks)")
    }

    @Test func anOutageLeavesItOpen() {
        var fixture = fixture()
        fixture.charge(6, source: .local)
        #expect(fixture.oracle.finish(stored(6)).isKept)
    }

    // MARK: - Counters of each tool and server

    private static let document = #"""
        {"version": "1", "default": "deny",
         "tools": {"f_*": {"each_tool": true, "limits": [{"counter": "c", "window": 1, "max": 2}]}},
         "servers": {"*": {"tools": {"t": {"limits": [{"counter": "c", "window": 1, "max": 2}]}}}}}
        """#

    @Test(arguments: [false, true]) func eachHasAMaximum(byServer: Bool) throws {
        let policy = try PolicyDocument.parse(Self.document.utf8, file: "p.json")
        var settings = LoadSettings(socketPaths: ["s"])
        settings.kinds =
            byServer
            ? ["a", "b"].map { CheckKind(tool: "t", cost: 1, server: $0) }
            : ["f_a", "f_b"].map { CheckKind(tool: $0, cost: 1) }
        settings.setLimits(of: policy, bindsMaximum: false)
        let rule = byServer ? "/servers/*/tools/t/limits/c" : "/tools/f_*/limits/c"
        func run(_ kinds: [Int]) -> OracleReport {
            var fixture = OracleFixture()
            fixture.oracle = Oracle(
                subjects: 2, sidecars: 2, replicas: 2, budgetNs: 20_000_000, limits: settings.limits,
                kinds: settings.kinds, countedLimits: settings.countedLimits)
            for (index, kind) in kinds.enumerated() {
                let used = Int64(kinds[...index].filter { $0 == kind }.count)
                let trace = [TraceEntry(rule: rule, windowStartMs: 1_000, used: min(2, used), max: 2)]
                fixture.answer(true, .shared, trace, kind: kind)
            }
            return fixture.oracle.finish()
        }
        #expect(run([0, 0, 1, 1]).isKept && run([0, 0, 1, 1]).windows == 2)
        let report = run([0, 1, 0, 0])
        #expect(report.breaks.first?.promise == .neverOver)
        #expect(report.breaks.first?.rule == rule + (byServer ? ", server a" : ", tool f_a"))
    }
}

extension OracleFixture {
    /// A charge, and what is given back of it.
    mutating func charge(
        _ cost: Int64, isAllowed: Bool = true, source: ReplySource = .shared, refunding: Int64? = nil
    ) {
        func answer(_ cost: Int64) -> Oracle.Answer {
            let sentNs = nowNs + 1_000_000
            nowNs += 2_000_000
            return Oracle.Answer(
                subject: 0, sidecar: 0, kind: 1, isAllowed: isAllowed, source: source, cost: cost, sentNs: sentNs,
                receivedNs: nowNs)
        }
        let charge = answer(cost)
        oracle.charged(charge)
        guard let refunding else { return }
        let refund = Refund(
            target: CheckTarget(grant: 0, kind: 1), cost: refunding, chargeSentNs: charge.sentNs)
        oracle.refunding(refund, subject: 0, nowNs: nowNs)
        oracle.refunded(refund, answer(refunding))
    }
}
