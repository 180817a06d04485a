import SluiceTerminal
import Testing

@Suite struct SettleTests {
    @Test(arguments: [
        (["commit", "alice", "r1", "2"], ["COMMIT", "alice", "r1", "2"], "committed"),
        (["cancel", "alice", "r1"], ["CANCEL", "alice", "r1"], "cancelled"),
        (["release", "alice", "r1"], ["RELEASE", "alice", "r1"], "released"),
    ])
    func aReservationIsSettledOnce(words: [String], request: [String], done: String) async throws {
        let stub = try await StubSidecar { $0 == request ? StubSidecar.integer(1) : nil }
        let run = await ControlRun.of(words + ["--socket", stub.path])
        #expect(run.exitCode == 0 && run.errors == "" && run.output == done + "\n")
        let json = await ControlRun.of(words + ["--socket", stub.path, "--json"])
        #expect(json.exitCode == 0 && json.output == #"{"done":true}"# + "\n")

        let settled = try await StubSidecar { $0 == request ? StubSidecar.integer(0) : nil }
        let again = await ControlRun.of(words + ["--socket", settled.path])
        #expect(again.exitCode == 1 && again.errors == "")
        #expect(
            again.output == "nothing changed: the grant has no such reservation, or it was settled before\n")
        let jsonAgain = await ControlRun.of(words + ["--socket", settled.path, "--json"])
        #expect(jsonAgain.exitCode == 1 && jsonAgain.output == #"{"done":false}"# + "\n")
    }

    @Test func aCostBelowZeroIsWrongUsage() async throws {
        let run = await ControlRun.of("commit", "alice", "r1", "--", "-1")
        #expect(run.exitCode == 64 && run.errors.contains("<n>: found -1, expected a whole number from 0 to 10^12"))
    }

    @Test func aCheckShowsItsReservation() async throws {
        let answer = StubSidecar.array([
            StubSidecar.integer(1), StubSidecar.integer(10), StubSidecar.integer(5), StubSidecar.integer(0),
            StubSidecar.integer(42_100), StubSidecar.text("allow"), StubSidecar.text("/tools/run/limits/c"),
            StubSidecar.text("shared"), StubSidecar.text(""), StubSidecar.text("219168da3fb162db175a846fe0325ec5"),
            StubSidecar.array([]),
        ])
        let request = ["CHECK", "alice", "run", "COST", "5", "RESERVE", "ID", "call-17", "TRACE"]
        let stub = try await StubSidecar { $0 == request ? answer : StubSidecar.error("ERR other words: \($0)") }
        let words = ["check", "alice", "run", "--cost", "5", "--reserve", "--id", "call-17", "--socket", stub.path]
        let run = await ControlRun.of(words)
        #expect(run.exitCode == 0 && run.errors == "")
        #expect(run.output.contains("reservation  219168da3fb162db175a846fe0325ec5\n"))
        let json = try await ControlRun.of(words + ["--json"]).json()
        #expect(json["reservation"] as? String == "219168da3fb162db175a846fe0325ec5")
    }
}
