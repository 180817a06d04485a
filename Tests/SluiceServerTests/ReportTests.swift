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
            "redis_clock_behind_ms:0", "redis_clock_follows:0", "redis_unavailable_since_ms:0",
            "redis_unavailable_ms:0", "redis_limitations:1", "redis_limitation_1:a\\u000ab", "ready:1", "checks:3",
            "waiting:0", "late:0",
            "answers_shared_allow:1", "answers_policy_allow:1",
            "answers_policy_deny:1", "max_connections:100", "budget_ms:10000", "replicas:1",
        ] { #expect(text.contains("\(line)\r\n"), "\(line)") }
        for word in ["all", "default", "everything"] { #expect(report.text(sections: [word]) == text) }
        withExtendedLifetime(rig) {}
    }

    @Test func othersSeeFiguresOnly() throws {
        let (all, first) = try report()
        let (report, rig) = try report(isForOperators: false)
        let lines = { (report: InfoReport) in
            report.text(sections: []).split(separator: "\r\n").map { $0.prefix { $0 != ":" } }
        }
        let hidden: Set = [
            "policy", "policy_last_refusal", "redis_address", "redis_last_error", "subscription_last_error",
            "key_last_fault", "redis_limitation_1", "state_dir",
        ]
        #expect(lines(report) == lines(all).filter { !hidden.contains(String($0)) })
        #expect(lines(all).count == lines(report).count + hidden.count)
        withExtendedLifetime((first, rig)) {}
    }

    @Test func onlyTheNamedSectionsAreShown() throws {
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
        #expect(try TextFile.read(path, maxBytes: 200_000).bytes == Array(text.utf8))
        #expect(try TextFile.read("/proc/self/comm", maxBytes: 100).bytes.isEmpty == false)
        #expect(throws: FileReadError(path: path, reason: "is too large, at most 199999 bytes are read")) {
            try TextFile.read(path, maxBytes: 199_999)
        }
        #expect(throws: FileReadError(path: folder.path("none"), reason: "cannot be opened: No such file or directory"))
        {
            try TextFile.read(folder.path("none"), maxBytes: 1)
        }
        #expect(throws: FileReadError(path: folder.path, reason: "cannot be read: Is a directory")) {
            try TextFile.read(folder.path, maxBytes: 1)
        }
        #expect(throws: FileReadError(path: "/dev/zero", reason: "is not a regular file")) {
            try TextFile.read("/dev/zero", maxBytes: 1)
        }
    }

    @Test func whoMayReadItIsKnown() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("secret", to: "file")
        for (mode, isReadableByAll) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
            chmod(path, mode_t(mode))
            #expect(try TextFile.read(path, maxBytes: 100).isReadableByAll == isReadableByAll)
        }
    }
}

@Suite struct LogOutputTests {
    private let ends: [Int32]

    init() throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw SupportError("pipe") }
        self.ends = ends
    }

    /// So many bytes at most that are there.
    private func read(_ most: Int) -> String {
        var bytes = [UInt8](repeating: 0, count: most)
        let count = Glibc.read(ends[0], &bytes, most)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    private func readAll() -> String {
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        var text = ""
        while case let part = read(100_000), !part.isEmpty { text += part }
        return text
    }

    private func end() { for end in ends { close(end) } }

    /// A stopped reader costs lines, and never time; the number of lost lines is reported when there is room.
    @Test(.timeLimit(.minutes(1)))
    func aReaderWhoHasStoppedIsNotWaitedFor() {
        let output = LogOutput(descriptor: ends[1])
        let line = String(repeating: "x", count: 99) + "\n"
        for _ in 1...2_000 { output.write(line) }
        let lines = readAll().split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        #expect(lines.count > 300 && lines.count < 2_000 && lines.allSatisfy { $0.count == 99 })
        output.write("again\n")
        #expect(readAll() == "(\(2_000 - lines.count) lines of the log were dropped: nobody read them)\nagain\n")
        output.write("and again\n")
        #expect(readAll() == "and again\n")
        end()
    }

    /// A line for which there is room in part is ended before the next.
    @Test(.timeLimit(.minutes(1)))
    func aLineThatWasCutIsEnded() {
        let output = LogOutput(descriptor: ends[1])
        output.write(String(repeating: "y", count: 1_000_000) + "\n")
        let cut = readAll()
        #expect(cut.count >= 4_096 && cut.count < 1_000_000 && cut.allSatisfy { $0 == "y" })
        output.write("next\n")
        #expect(readAll() == "\n(1 lines of the log were dropped: nobody read them)\nnext\n")
        end()
    }

    /// Nobody is there to read at all.
    @Test func aClosedEndIsNoFault() {
        signal(SIGPIPE, SIG_IGN)
        close(ends[0])
        LogOutput(descriptor: ends[1]).write("line\n")
        close(ends[1])
    }
}
