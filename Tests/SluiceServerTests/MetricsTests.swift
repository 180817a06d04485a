import Foundation
import SluiceEngine
import SluicePolicy
import Support
import Testing

@testable import SluiceServer

@Suite struct MetricsTests {
    private func rigWithChecks() throws -> HTTPRig {
        let rig = try HTTPRig()
        let peer = try rig.rig.connect()
        try peer.send("CHECK secret-grant run\r\nCHECK secret-grant free\r\nPEEK secret-grant other\r\n")
        rig.rig.answerAll()
        _ = try rig.check("/v1/check", #"{"grant": "secret-grant", "tool": "run", "session": "secret-session"}"#)
        return rig
    }

    @Test func decisionsAreThereByRuleVerdictSourceAndDoor() throws {
        let rig = try rigWithChecks()
        let reply = try rig.ask("GET", "/metrics")
        #expect(reply.status == 200)
        #expect(reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
        let lines = Set(reply.body.split(separator: "\n").map(String.init))
        for line in [
            "# TYPE sluice_decisions_total counter",
            #"sluice_decisions_total{rule="/tools/run/limits/runs",verdict="allow",source="shared"} 2"#,
            #"sluice_decisions_total{rule="/tools/free",verdict="allow",source="policy"} 1"#,
            #"sluice_decisions_total{rule="(default deny)",verdict="deny",source="policy"} 1"#,
            #"sluice_door_decisions_total{door="socket",verdict="allow"} 2"#,
            #"sluice_door_decisions_total{door="socket",verdict="deny"} 1"#,
            #"sluice_door_decisions_total{door="http",verdict="allow"} 1"#,
            "# TYPE sluice_decision_duration_seconds histogram",
            #"sluice_decision_duration_seconds_count{source="shared"} 2"#,
            #"sluice_decision_duration_seconds_count{source="policy"} 2"#,
            #"sluice_decision_duration_seconds_bucket{source="shared",le="+Inf"} 2"#,
            "sluice_counting_shared 1", #"sluice_redis_state{state="closed"} 1"#,
            #"sluice_redis_state{state="open"} 0"#, #"sluice_connections{door="socket"} 1"#,
            #"sluice_busy_total{cause="waiting"} 0"#, #"sluice_build_info{version="1.2.3"} 1"#,
        ] { #expect(lines.contains(line), "\(line)") }
        #expect(!reply.body.contains("secret"))
        let memory = reply.body.firstMatch(of: /\nprocess_resident_memory_bytes (\d+)/).flatMap { Int($0.output.1) }
        #expect(memory ?? 0 > 1_000_000)
    }

    /// Labels hold what a policy's author wrote.
    @Test func labelsAreEscaped() {
        var text = ""
        Metric.counter("n_total", "A \\ help\n\"text\".", [Metric.Sample("rule", "a\"b\\c\nd", 1)]).write(to: &text)
        #expect(
            text
                == "# HELP n_total A \\\\ help\\n\"text\".\n# TYPE n_total counter\nn_total{rule=\"a\\\"b\\\\c\\nd\"} 1\n"
        )
    }

    @Test func anEmptyMetricIsLeftOut() {
        var text = ""
        Metric.counter("n_total", "Nothing.", []).write(to: &text)
        #expect(text == "")
    }

    @Test func namesFollowTheConventions() throws {
        let rig = try rigWithChecks()
        let all = MetricsReport(host: rig.rig.host, facts: rig.door.facts, now: SystemClock.now()).all
        #expect(Set(all.map(\.name)).count == all.count)
        for metric in all {
            #expect(metric.name.wholeMatch(of: /(sluice|process)_[a-z_]+/) != nil, "\(metric.name)")
            #expect((metric.kind == .counter) == metric.name.hasSuffix("_total"), "\(metric.name)")
            #expect(metric.help.hasSuffix("."), "\(metric.name)")
            for unit in ["_ms", "_ns", "_milliseconds", "_mib"] {
                #expect(!metric.name.contains(unit), "\(metric.name)")
            }
        }
    }

    // MARK: - Pages

    private static func file(_ path: String) throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../..")
        return try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    /// The table of metrics has every metric with its type and its labels, and no other.
    @Test func thePageListsEveryMetric() throws {
        let rig = try rigWithChecks()
        let report = MetricsReport(host: rig.rig.host, facts: rig.door.facts, now: SystemClock.now())
        let rows = try Self.file("Sources/SluiceServer/README.md").split(separator: "\n")
            .compactMap { $0.wholeMatch(of: /\| `((?:sluice|process)_[a-z_]+)` \| (counter|gauge|histogram) \| .*\|/) }
            .map { "\($0.output.1) \($0.output.2)" }
        #expect(rows == report.all.map { "\($0.name) \($0.kind.rawValue)" })
    }

    /// What alerts and the dashboard ask for exists.
    @Test(
        arguments: [
            "deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml", "deploy/prometheus/dashboard.json",
        ])
    func nothingAsksForAMetricThatIsNotThere(path: String) throws {
        let rig = try rigWithChecks()
        let report = MetricsReport(host: rig.rig.host, facts: rig.door.facts, now: SystemClock.now())
        var names = Set(report.all.filter { $0.kind != .histogram }.map(\.name))
        for metric in report.all where metric.kind == .histogram {
            for end in ["_bucket", "_sum", "_count"] { names.insert(metric.name + end) }
        }
        let asked = try Self.file(path).matches(of: /\b(sluice_[a-z_]+|process_[a-z_]+)\b/).map { String($0.output.1) }
        #expect(asked.count > 5)
        for name in asked { #expect(names.contains(name), "\(name)") }
    }
}
