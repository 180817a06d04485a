import Synchronization
import Testing

@testable import sluicectl

@Suite struct OverrideTests {
    private static let rule = "/tools/run/limits/c"

    private static func page(
        _ count: Int = 1, changed: Int64 = 1, policyMax: Int64 = 10, isShared: Bool = true
    ) -> String {
        let row = StubSidecar.map([
            ("grant", StubSidecar.text("alice")), ("rule", StubSidecar.text(rule)), ("max", StubSidecar.integer(50)),
            ("policy_max", StubSidecar.integer(policyMax)), ("until_ms", StubSidecar.integer(1_700_000_040_000)),
            ("remaining_ms", StubSidecar.integer(3_600_000)),
        ])
        return StubSidecar.map([
            ("shared", StubSidecar.integer(isShared ? 1 : 0)), ("changed", StubSidecar.integer(changed)),
            ("overrides", StubSidecar.array(Array(repeating: row, count: count))),
        ])
    }

    private static let table = """
        grant  limit                max  policy  until                    ends in
        alice  /tools/run/limits/c   50      10  2023-11-14 22:14:00 UTC       1h

        """

    @Test func withYesItSets() async throws {
        let stub = try await StubSidecar { words in
            words == ["OVERRIDE", "alice", "c", "50", "3600"] ? Self.page() : nil
        }
        let run = await ControlRun.of("override", "alice", "c", "50", "--for", "1h", "--yes", "--socket", stub.path)
        #expect(run.exitCode == 0 && run.errors == "")
        #expect(run.output == Self.table + "\noverridden, for all sidecars\n")
        let json = try await ControlRun.of(
            "override", "alice", "c", "50", "--for", "1h", "--yes", "--json", "--socket", stub.path
        ).json()
        let first = try #require((json["overrides"] as? [[String: Any]])?.first)
        #expect(first["max"] as? Int == 50 && first["policy_max"] as? Int == 10 && json["changed"] as? Bool == true)
    }

    @Test func itAsksFirst() async throws {
        let asked = Mutex<[[String]]>([])
        let stub = try await StubSidecar { words in
            asked.withLock { $0.append(words) }
            return Self.page(changed: words.last == "DRYRUN" ? 0 : 1)
        }
        for (answer, exitCode) in [(false, Int32(1)), (true, 0)] {
            asked.withLock { $0 = [] }
            let run = await ControlRun.of(
                ["override", "alice", "c", "50", "--for", "90s", "--socket", stub.path],
                ask: { question in
                    #expect(question == "Override this maximum? [y/N] ")
                    return answer
                })
            #expect(run.exitCode == exitCode)
            #expect(
                run.output == Self.table + "\n" + (answer ? "overridden, for all sidecars\n" : "nothing was changed\n"))
            let words = ["OVERRIDE", "alice", "c", "50", "90"]
            #expect(asked.withLock { $0 } == [words + ["DRYRUN"]] + (answer ? [words] : []))
        }
    }

    @Test func listsAndEnds() async throws {
        let stub = try await StubSidecar { words in
            switch words {
            case ["OVERRIDE"], ["OVERRIDE", "alice"]: Self.page(changed: 0)
            case ["OVERRIDE", "bob"]: Self.page(0, changed: 0)
            case ["OVERRIDE", "alice", "c", "OFF"]: Self.page(0)
            case ["OVERRIDE", "bob", "c", "OFF"]: Self.page(0, changed: 0)
            default: nil
            }
        }
        for words in [["override"], ["override", "alice"]] {
            let run = await ControlRun.of(words + ["--socket", stub.path])
            #expect(run.exitCode == 0 && run.output == Self.table)
        }
        let none = await ControlRun.of("override", "bob", "--socket", stub.path)
        #expect(none.exitCode == 0 && none.output == "no maximum of bob is overridden\n")
        let off = await ControlRun.of("override", "alice", "c", "--off", "--yes", "--socket", stub.path)
        #expect(off.exitCode == 0 && off.output == "ended, for all sidecars\n")
        let nothing = await ControlRun.of("override", "bob", "c", "--off", "--yes", "--socket", stub.path)
        #expect(nothing.exitCode == 1 && nothing.output == "nothing is overridden there\n")
    }

    @Test func whileRedisIsAwayTheExitCodeIsAnother() async throws {
        let away = try await StubSidecar { _ in StubSidecar.error("BUSY nothing was changed") }
        let run = await ControlRun.of("override", "alice", "c", "5", "--for", "1h", "--yes", "--socket", away.path)
        #expect(run.exitCode == 69 && run.errors == "sluicectl: the sidecar refused: nothing was changed (BUSY)\n")
        let unknown = try await StubSidecar { _ in StubSidecar.error("BADARG no such limit") }
        let wrong = await ControlRun.of(
            "override", "alice", "x", "5", "--for", "1h", "--yes", "--socket", unknown.path)
        #expect(wrong.exitCode == 64 && wrong.errors == "sluicectl: no such limit\n")
    }

    @Test(arguments: [
        (["override", "alice", "c"], "say the maximum"), (["override", "alice", "c", "5"], "say for how long"),
        (["override", "alice", "c", "5", "--off"], "--off ends it"),
        (["override", "--off"], "name a grant and a RULE"),
        (["override", "alice", "c", "5", "--for", "8d"], "expected 1s to 168h"),
        (["override", "alice", "c", "5", "--for", "200h"], "expected 1s to 168h"),
        (["override", "alice", "c", "5", "--for", "1h", "--json"], "--json asks nothing"),
        (["override", "alice", "c", "5", "--for", "1h"], "add --yes"),
    ])
    func wrongUsage(words: [String], message: String) async throws {
        let run = await ControlRun.of(words, environment: ["SLUICE_SOCKET": "/nonexistent/s.sock"])
        #expect(run.exitCode == 64 && (run.errors + run.output).contains(message), "\(run)")
    }
}
