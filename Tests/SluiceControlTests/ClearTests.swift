import SluiceTerminal
import Synchronization
import Testing

@testable import sluicectl

@Suite struct ClearTests {
    private static func page(_ held: Int64, cursor: String = "", fault: String = "", isShared: Bool = true) -> String {
        let counter = StubSidecar.map([
            ("grant", StubSidecar.text("alice")), ("tool", StubSidecar.text("run")), ("server", StubSidecar.text("")),
            ("group", StubSidecar.text("")), ("counter", StubSidecar.text("c\(cursor)")),
            ("subject", StubSidecar.text("")), ("algorithm", StubSidecar.text("fixed_window")),
            ("window", StubSidecar.text("60s")), ("rule", StubSidecar.text("/tools/run/limits/c")),
            ("fault", StubSidecar.text(fault)), ("held", StubSidecar.integer(fault.isEmpty ? held : -1)),
            ("max", StubSidecar.integer(10)),
        ])
        let kept = StubSidecar.map([
            ("rule", StubSidecar.text("/all_tools/limits/all")), ("counter", StubSidecar.text("all")),
            ("reason", StubSidecar.text("shared")),
        ])
        return StubSidecar.map([
            ("shared", StubSidecar.integer(isShared ? 1 : 0)), ("cursor", StubSidecar.text(cursor)),
            ("cleared", StubSidecar.array(held == 0 ? [] : [counter])), ("kept", StubSidecar.array([kept])),
        ])
    }

    private static let left = "left: /all_tools/limits/all (grants share its counter)\n"

    @Test func withYesItClearsPageAfterPage() async throws {
        let stub = try await StubSidecar { words in
            switch words {
            case ["CLEAR", "alice", "run"]: Self.page(10, cursor: "0.s5")
            case ["CLEAR", "alice", "run", "CURSOR", "0.s5"]: Self.page(7)
            default: nil
            }
        }
        let run = await ControlRun.of("clear", "alice", "run", "--yes", "--socket", stub.path)
        #expect(run.exitCode == 0 && run.errors == "")
        #expect(
            run.output == """
                tool  counter  window  held  max
                run   c0.s5        1m    10   10
                run   c            1m     7   10

                cleared 2 counters of alice for run, for all sidecars
                \(Self.left)
                """)
        let json = try await ControlRun.of("clear", "alice", "run", "--yes", "--json", "--socket", stub.path).json()
        #expect((json["cleared"] as? [[String: Any]])?.compactMap { $0["held"] as? Int } == [10, 7])
        #expect((json["kept"] as? [[String: Any]])?.count == 1 && json["shared"] as? Bool == true)
    }

    @Test func itAsksFirst() async throws {
        let asked = Mutex<[[String]]>([])
        let stub = try await StubSidecar { words in
            asked.withLock { $0.append(words) }
            return Self.page(10)
        }
        for (answer, exitCode) in [(false, Int32(1)), (true, 0)] {
            asked.withLock { $0 = [] }
            let questions = Mutex<[String]>([])
            let run = await ControlRun.of(
                ["clear", "alice", "--socket", stub.path],
                ask: { question in
                    questions.withLock { $0.append(question) }
                    return answer
                })
            #expect(run.exitCode == exitCode && questions.withLock { $0 } == ["Set 1 counter to 0? [y/N] "])
            #expect(run.output.hasSuffix(answer ? Self.left : "nothing was cleared\n"))
            let planned = ["CLEAR", "alice", "DRYRUN"]
            #expect(asked.withLock { $0 } == (answer ? [planned, ["CLEAR", "alice"]] : [planned]))
        }
    }

    @Test func whereNothingIsCountedItDoesNotAsk() async throws {
        let stub = try await StubSidecar { _ in Self.page(0) }
        let run = await ControlRun.of(
            ["clear", "alice", "--socket", stub.path],
            ask: { _ in
                Issue.record("it asks")
                return false
            })
        #expect(run.exitCode == 0 && run.output == "nothing is counted of alice\n" + Self.left)
    }

    @Test func withoutATerminalItNeedsYes() async throws {
        let run = await ControlRun.of("clear", "alice")
        #expect(run.exitCode == 64 && run.errors.contains("add --yes"))
        let json = await ControlRun.of("clear", "alice", "--json")
        #expect(json.exitCode == 64 && json.output.contains("--json asks nothing: add --yes"))
    }

    @Test func whatCannotBeClearedIsAFailure() async throws {
        let stub = try await StubSidecar { _ in Self.page(1, fault: "WRONGTYPE") }
        let run = await ControlRun.of("clear", "alice", "--yes", "--socket", stub.path)
        #expect(run.exitCode == 1 && run.output.contains("WRONGTYPE"))
        let away = try await StubSidecar { _ in StubSidecar.error("BUSY nothing was cleared") }
        let refused = await ControlRun.of("clear", "alice", "--yes", "--socket", away.path)
        #expect(refused.exitCode == 2)
        #expect(refused.errors == "sluicectl: the sidecar refused: nothing was cleared (BUSY)\n")
    }
}
