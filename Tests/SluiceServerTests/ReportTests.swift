import Foundation
import Logging
import SluiceEngine
import Support
import Testing

@testable import SluiceServer

@Suite struct InfoReportTests {
    private func report(isForOperators: Bool = true) throws -> (InfoReport, ServerRig) {
        let rig = try ServerRig()
        let peer = try rig.connect()
        try peer.send("CHECK g run\r\nCHECK g free\r\nPEEK g other\r\n")
        rig.answerAll()
        var now = SystemClock.now()
        let facts = ServerRig.facts(now)
        now.monotonicNs += 5_000_000_000
        return (InfoReport(host: rig.host, facts: facts, now: now, isForOperators: isForOperators), rig)
    }

    @Test func everySectionIsThere() throws {
        let (report, rig) = try report()
        let text = report.text(sections: [])
        for section in ["Server", "Policy", "Redis", "Checks", "Answers", "Limits"] {
            #expect(text.contains("# \(section)\r\n"))
        }
        for line in [
            "sluice_version:1.2.3", "replica_id:1f", "uptime_ms:5000", "connected_clients:1", "policy:policy.json",
            "redis_address:unix:///r.sock", "redis_state:closed", "redis_server:model", "counting:shared",
            "checks:3", "waiting:0", "late:0", "answers_shared_allow:1", "answers_policy_allow:1",
            "answers_policy_deny:1", "max_connections:100", "budget_ms:10000", "replicas:1",
        ] { #expect(text.contains("\(line)\r\n"), "\(line)") }
        for word in ["all", "default", "everything"] { #expect(report.text(sections: [word]) == text) }
        withExtendedLifetime(rig) {}
    }

    @Test func othersAreToldFiguresOnly() throws {
        let (all, first) = try report()
        let (report, rig) = try report(isForOperators: false)
        let lines = { (report: InfoReport) in
            report.text(sections: []).split(separator: "\r\n").map { $0.prefix { $0 != ":" } }
        }
        let hidden: Set = ["policy", "policy_last_refusal", "redis_address", "redis_last_error", "state_dir"]
        #expect(lines(report) == lines(all).filter { !hidden.contains(String($0)) })
        #expect(lines(all).count == lines(report).count + hidden.count)
        withExtendedLifetime((first, rig)) {}
    }

    @Test func onlyTheNamedSectionsAreTold() throws {
        let (report, rig) = try report()
        #expect(
            report.text(sections: ["policy"])
                == "# Policy\r\npolicy:policy.json\r\npolicy_reloads:0\r\npolicy_refusals:0\r\n"
                + "policy_last_refusal:\r\n")
        #expect(report.text(sections: ["policy", "server"]).hasPrefix("# Server\r\n"))
        #expect(report.text(sections: ["nonsense"]) == "")
        withExtendedLifetime(rig) {}
    }
}

@Suite struct JSONLogHandlerTests {
    private func fields(_ message: String, _ metadata: Logger.Metadata) throws -> (String, [String: Any]) {
        var handler = JSONLogHandler(label: "a \"label\"", output: LogOutput(descriptor: STDERR_FILENO))
        handler[metadataKey: "kept"] = "own"
        let event = LogEvent(
            level: .warning, message: "\(message)", metadata: metadata, source: nil, file: "", function: "", line: 1)
        let line = handler.line(for: event)
        let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        return (line, object ?? [:])
    }

    /// Whatever is in a message or in metadata, it comes out as it was, on one line.
    @Test func everythingIsEscaped() throws {
        let odd = "quote\" backslash\\ line\n return\r tab\t null\u{0} unit\u{1f} delete\u{7f} é 🙂 </script> \u{2028}"
        let (line, object) = try fields(odd, ["key \"\n": "\(odd)", "list": ["a", "b"]])
        #expect(line.utf8.count { $0 == UInt8(ascii: "\n") } == 1 && line.hasSuffix("}\n"))
        #expect(object["message"] as? String == odd)
        #expect(object["key \"\n"] as? String == odd)
        #expect(object["level"] as? String == "warning" && object["logger"] as? String == "a \"label\"")
        #expect(object["kept"] as? String == "own" && object["time_ms"] is Int)
    }

    @Test func anEventsMetadataGoesOverTheLoggers() throws {
        let (_, object) = try fields("m", ["kept": "event's"])
        #expect(object["kept"] as? String == "event's")
    }
}

@Suite struct OpenFileLimitTests {
    @Test(arguments: [(0, 1), (64, 1), (65, 1), (164, 100), (1_024, 960), (10_064, 10_000), (1_048_576, 10_000)])
    func connectionsLeaveRoomForTheRest(files: UInt64, connections: Int) {
        #expect(OpenFileLimit.connections(fitting: files) == connections)
    }

    @Test func noLimitIsEnough() {
        #expect(OpenFileLimit.connections(fitting: .max) == ServerBounds.maxConnections)
    }
}

@Suite struct TextFileTests {
    @Test func aFileIsReadWholeAndBounded() throws {
        let folder = try TemporaryFolder()
        let text = String(repeating: "0123456789", count: 20_000)
        let path = try folder.write(text, to: "file")
        #expect(try TextFile.read(path, maxBytes: 200_000) == Array(text.utf8))
        #expect(throws: FileReadError(reason: "is too large, at most 199999 bytes are read")) {
            try TextFile.read(path, maxBytes: 199_999)
        }
        #expect(throws: FileReadError(reason: "cannot be opened: No such file or directory")) {
            try TextFile.read(folder.path("none"), maxBytes: 1)
        }
        #expect(throws: FileReadError(reason: "cannot be read: Is a directory")) {
            try TextFile.read(folder.path, maxBytes: 1)
        }
    }
}
