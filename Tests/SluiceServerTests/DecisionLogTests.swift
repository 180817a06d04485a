import Foundation
import Logging
import NIOCore
import NIOEmbedded
import SluiceDecisionLog
import SluiceEngine
import SluicePolicy
import SluiceProtocol
import Support
import Testing

@testable import SluiceServer

@Suite struct DecisionLogTests {
    /// A rig whose decisions are logged to a file.
    private final class Rig {
        let folder: TemporaryFolder
        let server: ServerRig
        let log: DecisionLog
        let writer: LineWriter
        let writerLoop = PolledLoop()
        var path: String { folder.path("decisions.jsonl") }

        init(sample: Int64) throws {
            folder = try TemporaryFolder()
            server = try ServerRig()
            let file = try LineFile(folder.path("decisions.jsonl"))
            let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            writer = LineWriter(file, eventLoop: writerLoop, logger: logger)
            log = DecisionLog(DecisionLogConfiguration(file: file, sample: sample), writer: writer)
            server.host.decisionLog = log
        }

        /// Waits until everything is in the file.
        func lines(_ name: String = "decisions.jsonl") async throws -> [[String: Any]] {
            nonisolated(unsafe) var isWritten = false
            log.close { isWritten = true }
            try await waitUntil("the lines are written") {
                writerLoop.run()
                return isWritten
            }
            return try String(contentsOfFile: folder.path(name), encoding: .utf8).split(separator: "\n").map {
                try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
            }
        }
    }

    private static func words(_ lines: [[String: Any]], _ name: String) -> [String] {
        lines.map { $0[name] as? String ?? "-" }
    }

    /// RFC 4231, test case 1, of which 16 bytes are left.
    @Test func theHashIsHMACOfSHA256() throws {
        let key = try #require(IdentityKey(String(repeating: "\u{b}", count: 20)))
        #expect(String(decoding: key.pseudonym("Hi There".utf8), as: UTF8.self) == "b0344c61d8db38535ca8afceaf0bf12b")
        #expect(IdentityKey("fifteen bytes..") == nil && IdentityKey("sixteen bytes...") != nil)
    }

    @Test(arguments: [
        (
            #"{"time":"T","action":"check","grant":"a","tool":"t","session":"s","id":"i","verdict":"deny"}"#,
            #"{"time":"T","action":"check","grant":"<a>","tool":"t","session":"<s>","id":"<i>","verdict":"deny"}"#
        ),
        (
            #"{"grant":"a\"\\\u0001é","server":"a","attributes":{"k":"v","grant":"w\""},"cost":7}"#,
            "{\"grant\":\"<a\"\\\u{1}é>\",\"server\":\"a\",\"attributes\":{\"k\":\"<v>\",\"grant\":\"<w\">\"},\"cost\":7}"
        ),
        (
            #"{"action":"commit","grant":"g","reservation":"0f","cost":2,"done":true}"#,
            #"{"action":"commit","grant":"<g>","reservation":"0f","cost":2,"done":true}"#
        ),
        (#"{"time":"T","sample":1,"grants":"hash"}"#, #"{"time":"T","sample":1,"grants":"hash"}"#),
        (#"{"dropped":3}"#, #"{"dropped":3}"#), ("", ""),
        // Never as it is.
        (#"{"grant":"alice"#, #"{"dropped":1}"#), (#"{"grant":["alice"]}"#, #"{"dropped":1}"#),
        (#"{"tool":"t"} alice"#, #"{"dropped":1}"#), ("alice", #"{"dropped":1}"#),
    ])
    func namesAreReplacedInLines(line: String, replaced: String) {
        let identities = DecisionLogIdentities { Array("<".utf8) + $0 + Array(">".utf8) }
        let text = { (lines: String) in String(decoding: identities.replaced(in: Array(lines.utf8)), as: UTF8.self) }
        #expect(text("\(line)\n") == "\(replaced)\n")
        #expect(text("\n\(line)\n{\"grant\":\"z\"}\n\(line)") == "\n\(replaced)\n{\"grant\":\"<z>\"}\n\(replaced)")
    }

    @Test func denialsAreLoggedAndAllowedChecksAreNot() async throws {
        let rig = try Rig(sample: 0)
        let peer = try rig.server.connect()
        try peer.send(["CHECK", "g", "run"])
        try peer.send(["CHECK", "g\"\\\u{1}é", "none", "SERVER", "s", "SESSION", "t", "ATTR", "a", "b", "COST", "7"])
        rig.server.answerAll()
        let lines = try await rig.lines()
        #expect(lines.count == 2)
        #expect(lines[0]["sample"] as? Int == 0)
        let denial = lines[1]
        #expect(denial["grant"] as? String == "g\"\\\u{1}é")
        #expect(denial["tool"] as? String == "none")
        #expect(denial["server"] as? String == "s")
        #expect(denial["session"] as? String == "t")
        #expect(denial["attributes"] as? [String: String] == ["a": "b"])
        #expect(denial["cost"] as? Int == 7)
        #expect(denial["verdict"] as? String == "deny")
        #expect(denial["rule"] as? String == "(default deny)")
        #expect(denial["source"] as? String == "policy")
        #expect(denial["door"] as? String == "socket")
        #expect(denial["max"] == nil)
    }

    @Test func everyDecisionAndSettlementIsLoggedWithItsAnswer() async throws {
        let rig = try Rig(sample: 1)
        let peer = try rig.server.connect()
        try peer.send(["CHECK", "g", "run", "COST", "5", "RESERVE", "ID", "i"])
        rig.server.answerAll()
        let id = try #require(try peer.received().split(separator: "\r\n").last).description
        try peer.send(["COMMIT", "g", id, "2"])
        rig.server.answerAll()
        try peer.send(["CANCEL", "g", id])
        try peer.send(["PEEK", "g", "run"])
        try peer.send(["CHARGE", "g", "run", "1000000"])
        try peer.send(["REFUND", "g", "run", "3"])
        rig.server.answerAll()
        let lines = try await rig.lines().dropFirst()
        #expect(Self.words(Array(lines), "action") == ["check", "commit", "cancel", "peek", "charge", "refund"])
        #expect(Self.words(Array(lines), "verdict") == ["allow", "-", "-", "allow", "limit", "allow"])
        #expect(lines.map { $0["done"] as? Bool } == [nil, true, false, nil, nil, nil])
        let check = try #require(lines.first)
        #expect(check["reservation"] as? String == id)
        #expect(check["reserve"] as? Bool == true)
        #expect(check["id"] as? String == "i")
        #expect(check["source"] as? String == "shared")
        #expect(check["used"] as? Int == 5)
        #expect(check["max"] as? Int == 1_000_000)
        #expect(check["remaining"] as? Int == 999_995)
        #expect(rig.log.lineCount == 6)
    }

    @Test func oneInSoManyOfTheAllowedIsLogged() async throws {
        let rig = try Rig(sample: 4)
        let peer = try rig.server.connect()
        for _ in 0..<10 { try peer.send(["CHECK", "g", "free"]) }
        try peer.send(["CHECK", "g", "none"])
        let lines = try await rig.lines()
        #expect(Self.words(lines, "verdict") == ["-", "allow", "allow", "deny"])
    }

    @Test func aFileThatWasMovedAwayIsLeft() async throws {
        let rig = try Rig(sample: 0)
        let peer = try rig.server.connect()
        try peer.send(["CHECK", "g", "none"])
        #expect(try await rig.lines().count == 2)
        try FileManager.default.moveItem(atPath: rig.path, toPath: rig.folder.path("old"))
        rig.log.reopen()
        try peer.send(["CHECK", "g", "other"])
        #expect(Self.words(try await rig.lines(), "tool") == ["-", "other"])
        #expect(try await rig.lines("old").count == 2)
    }

    /// What every line says is what is read again.
    @Test func linesAreReadAsTheyWereWritten() async throws {
        let rig = try Rig(sample: 1)
        let peer = try rig.server.connect()
        try peer.send([
            "CHECK", "g\"\\\t\u{7F}ü", "run", "COST", "5", "ATTR", "n\n", "v", "SESSION", "s", "APPROVED", "ID", "i",
        ])
        rig.server.answerAll()
        _ = try await rig.lines()
        var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: rig.path)))
        let first = try #require(bytes.firstIndex(of: UInt8(ascii: "\n")))
        var record = DecisionLogRecord()
        #expect(record.read(&bytes, 0..<first) == .sample(1))
        #expect(record.read(&bytes, first + 1..<bytes.count - 1) == .decision)
        #expect(bytes.text(record.grant) == "g\"\\\t\u{7F}ü")
        #expect(bytes.text(record.attributes[0].name) == "n\n" && bytes.text(record.attributes[0].value) == "v")
        #expect(record.session.map { bytes.text($0) } == "s" && record.id.map { bytes.text($0) } == "i")
        #expect(record.isApproved && !record.reserves && record.server == nil)
        #expect(record.cost == 5 && record.used == 5 && record.max == 1_000_000)
        #expect(abs(record.timeMs - SystemClock.now().wallMs) < 600_000)
        // Cut anywhere, it is malformed rather than another record.
        let line = Array(bytes[(first + 1)...].dropLast())
        for end in 0..<line.count {
            var cut = Array(line[..<end])
            #expect(record.read(&cut, 0..<end) == .malformed)
        }
    }

    @Test(arguments: [0, 1_000, 951_827_696_789, 1_709_164_799_999, 1_709_208_000_000, 4_102_444_800_250])
    func timesAreThoseOfTheCalendar(_ ms: Int64) {
        var text: [UInt8] = []
        var time = DecisionLogTime()
        time.append(ms: ms, to: &text)
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        #expect(
            String(decoding: text, as: UTF8.self) == Date(timeIntervalSince1970: Double(ms) / 1000).formatted(style))
    }

    @Test func whatHasNoRoomIsCountedAndSaid() async throws {
        let folder = try TemporaryFolder()
        let loop = PolledLoop()
        let path = folder.path("l")
        let writer = LineWriter(
            try LineFile(path), eventLoop: loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let line = [UInt8](repeating: UInt8(ascii: "x"), count: 99_999) + [UInt8(ascii: "\n")]
        // Nothing is written while the loop stands still.
        for _ in 0..<15 { writer.append(line) }
        #expect(writer.droppedCount == 5)
        nonisolated(unsafe) var isWritten = false
        writer.close { isWritten = true }
        try await waitUntil("written") {
            loop.run()
            return isWritten
        }
        writer.append(line)
        isWritten = false
        writer.close { isWritten = true }
        try await waitUntil("written") {
            loop.run()
            return isWritten
        }
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        #expect(lines.count == 12 && lines[10] == #"{"dropped":5}"#)
    }

    @Test func onlyRegularFilesAreTaken() throws {
        let folder = try TemporaryFolder()
        try #require(mkfifo(folder.path("fifo"), 0o600) == 0)
        try #require(symlink(folder.path("file"), folder.path("link")) == 0)
        for (name, reason) in [
            ("fifo", "cannot be opened: No such device or address"),
            ("link", "cannot be opened: Too many levels of symbolic links"),
            ("none/x", "cannot be opened: No such file or directory"), (".", "cannot be opened: Is a directory"),
        ] {
            #expect(throws: FileReadError(path: folder.path(name), reason: reason)) { try LineFile(folder.path(name)) }
        }
        _ = try LineFile(folder.path("file"))
        var status = stat()
        #expect(stat(folder.path("file"), &status) == 0 && status.st_mode & 0o027 == 0)
    }
}
