import Foundation
@testable import sluice_load
import Support
import Testing

@Suite struct TraceTests {
    private static let text = """
        # What a gateway asked.
        12.375 bob opencode_run cost 5 session s-1

        0 alice%20laptop opencode_run
        20 bob build reserve
        """

    @Test func readsChecksByTime() throws {
        let trace = try Trace(text: Self.text)
        #expect(trace.grants == ["bob", "alice laptop"] && trace.sessions == ["s-1", ""])
        #expect(trace.entries.map(\.atNs) == [0, 12_375_000, 20_000_000] && trace.durationNs == 20_000_000)
        #expect(trace.entries.map(\.target.grant) == [1, 0, 0])
        let kinds = trace.entries.map { trace.kinds[Int($0.target.kind)] }
        #expect(kinds.map(\.tool) == ["opencode_run", "opencode_run", "build"] && kinds.map(\.cost) == [1, 5, 1])
        #expect(kinds.map(\.reserves) == [false, false, true] && kinds.map(\.hasSession) == [false, true, false])
    }

    @Test func whatIsWrittenReadsTheSame() throws {
        let trace = try Trace(text: Self.text)
        var settings = LoadSettings(socketPaths: ["a"])
        settings.replay = trace
        settings.kinds = trace.kinds
        settings.sessionCount = trace.sessions.count
        let again = try Trace(text: Trace.text(of: trace.entries, settings))
        #expect(again.entries.count == 3 && again.grants == ["alice laptop", "bob"])
        #expect(Trace.text(of: trace.entries, settings).contains("0.000 alice%20laptop opencode_run\n"))
        #expect(Trace.text(of: trace.entries, settings).contains("12.375 bob opencode_run cost 5 session s-1\n"))
    }

    @Test(arguments: [
        ("soon bob t", "expected ms grant tool, such as '12.375 alice opencode_run cost 5'"),
        ("1 bob", "expected ms grant tool, such as '12.375 alice opencode_run cost 5'"),
        ("1 bob t cost 0", "cost is '0', expected 1 to 1000000000000"),
        ("1 bob t cost", "'cost' is not known here, expected cost n, session name or reserve"),
        ("1 bob%0 t", "'bob%0' is no name of 1 to 256 bytes"),
    ])
    func saysWhatIsWrongAndWhere(line: String, expected: String) {
        #expect(throws: LineFault(line: 2, problem: expected)) { try Trace(text: "0 g t\n\(line)\n") }
    }

    @Test func aRunSendsWhatATraceSays() async throws {
        let folder = try TemporaryFolder()
        let stub = try await StubSidecar(path: folder.path("a.sock"))
        let lines = (0..<40).map { "\($0) grant-\($0 % 3) t" }.joined(separator: "\n")
        let trace = try folder.write(lines, to: "trace")
        let record = folder.path("record")
        let arguments = ["--socket", folder.path("a.sock"), "--trace", trace, "--record", record]
        #expect(await LoadProgram.run(arguments: arguments) == LoadProgram.ExitCode.ok)
        #expect(stub.checkCount == 40)
        let recorded = try Trace(text: String(contentsOfFile: record, encoding: .utf8))
        #expect(recorded.entries.map(\.atNs) == (0..<40).map { $0 * 1_000_000 })
        #expect(recorded.grants.sorted() == ["grant-0", "grant-1", "grant-2"])
        try await stub.stop()
    }
}
