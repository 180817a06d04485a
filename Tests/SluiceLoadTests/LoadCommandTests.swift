import ArgumentParser
@testable import sluice_load
import Testing

@Suite struct LoadCommandTests {
    private func settings(_ arguments: String) throws -> LoadSettings {
        try LoadCommand.parse(arguments.split(separator: " ").map(String.init)).settings(chance: 99)
    }

    /// The one line that a person gets.
    private func complaint(_ arguments: String) -> String {
        do {
            _ = try settings(arguments)
            return "valid"
        } catch {
            return LoadCommand.message(for: error)
        }
    }

    @Test func hasDefaults() throws {
        let settings = try settings("--socket a")
        var expected = LoadSettings(socketPaths: ["a"])
        expected.seed = 99
        #expect(settings == expected)
        #expect(settings.connectionsPerSocket == 16 && settings.pipeline == 16 && settings.grantCount == 50)
        #expect(settings.durationNs == 10_000_000_000 && settings.ratePerSecond == nil && settings.usesOracle)
    }

    @Test func takesEveryOption() throws {
        let settings = try settings(
            """
            --socket a --socket b --connections 3 --pipeline 4 --grants 5 --grant-prefix x --skew 1.5 --tool t --cost 6 \
            --sessions 7 --duration 2m --warm-up 250ms --rate 1000 --threads 2 --seed 8 --replicas 9 --budget 5ms \
            --no-oracle --json --scope grant
            """)
        var expected = LoadSettings(socketPaths: ["a", "b"])
        expected.connectionsPerSocket = 3
        expected.pipeline = 4
        expected.grantCount = 5
        expected.grantPrefix = "x"
        expected.skew = 1.5
        expected.kinds = [CheckKind(tool: "t", cost: 6)]
        expected.sessionCount = 7
        expected.durationNs = 120_000_000_000
        expected.warmUpNs = 250_000_000
        expected.ratePerSecond = 1000
        expected.threadCount = 2
        expected.seed = 8
        expected.replicaCount = 9
        expected.budgetNs = 5_000_000
        expected.usesOracle = false
        #expect(settings == expected)
    }

    @Test func takesWeightsAndReservations() throws {
        let settings = try settings(
            "--socket a --tool x=3 --tool y --cost 1=9 --cost 5 --reserve 25 --cancel 10 --hold 5ms")
        #expect(settings.kinds.count == 8)
        #expect(settings.kinds[0] == CheckKind(tool: "x", cost: 1, weight: 3 * 9 * 0.75))
        #expect(settings.kinds[7] == CheckKind(tool: "y", cost: 5, reserves: true, weight: 0.25))
        #expect(settings.reservations.share == 0.25 && settings.reservations.cancelShare == 0.1)
        #expect(settings.reservations.holdNs == 5_000_000)
    }

    @Test func takesRates() throws {
        let ramp = try settings("--socket a --ramp 1000:5000:30s")
        #expect(ramp.ratePerSecond == 1000 && ramp.rampToPerSecond == 5000 && ramp.durationNs == 30_000_000_000)
        #expect(ramp.schedule?.rate(atNs: 16_000_000_000) == 3000)
        let search = try settings("--socket a --find-rate --p99 3ms")
        #expect(search.search?.goalNs == 3_000_000 && search.search?.nextRate == 1000)
        let burst = try settings("--socket a --burst 500@60s")
        #expect(burst.burst == LoadSettings.Burst(count: 500, periodNs: 60_000_000_000) && burst.schedule == nil)
    }

    @Test func takesBaselines() throws {
        let settings = try settings("--target redis --socket tcp://localhost:6379")
        #expect(settings.target == .redis && !settings.usesOracle)
    }

    @Test func replicasAreTheSocketsAndScopeIsTheSessionUnlessSaid() throws {
        #expect(try settings("--socket a --socket b --socket c").replicaCount == 3)
        #expect(try settings("--socket a").scope == .grant)
        #expect(try settings("--socket a --sessions 2").scope == .session)
        #expect(try settings("--socket a --sessions 2 --scope global").scope == .global)
    }

    @Test(arguments: [
        ("1", 1_000_000_000), ("0.5", 500_000_000), ("10s", 10_000_000_000), ("2m", 120_000_000_000),
        ("1h", 3_600_000_000_000), ("500ms", 500_000_000), ("1.5s", 1_500_000_000),
    ])
    func readsTimes(text: String, ns: Int64) throws {
        #expect(try settings("--socket a --duration \(text)").durationNs == ns)
    }

    @Test(arguments: [
        ("", "--socket is missing: give the path of a sidecar's socket, or --spawn"),
        ("--socket a --faults f", "--faults needs --spawn: it is for processes that the driver started"),
        ("--spawn --socket a", "--spawn and --socket exclude each other"),
        ("--spawn --sidecars 17", "--sidecars is 17, expected 1 to 16"),
        (
            "--socket \(String(repeating: "x", count: 104))",
            "--socket is 104 bytes long, a socket's path has 1 to 103: choose a shorter one"
        ),
        ("--socket a --connections 0", "--connections is 0, expected 1 to 10000"),
        (
            "--socket a --socket b --connections 6000",
            "--connections is 12000 over all sockets, expected 1 to 10000 over all sockets"
        ),
        ("--socket a --pipeline 1025", "--pipeline is 1025, expected 1 to 1024"),
        ("--socket a --grants 0", "--grants is 0, expected 1 to 1000000"),
        (
            "--socket a --grants 1000 --sessions 1001",
            "--sessions is 1001000 times --grants, expected 1 to 1000000 times --grants"
        ),
        ("--socket a --cost 0", "--cost is 0, expected 1 to 1000000000000"),
        ("--socket a --cost x", "--cost is 'x', expected a whole number, or one and =weight"),
        ("--socket a --tool t=0", "a weight is 0.0, expected more than 0"),
        ("--socket a --target disk", "--target is 'disk', expected sluice, redis or ping"),
        (
            "--socket a --target redis --reserve 5",
            "--reserve needs --target sluice: nobody else knows reservations"
        ),
        ("--socket a --reserve 101", "--reserve is 101.0, expected 0 to 100"),
        ("--socket a --ramp 1:2", "--ramp is '1:2', expected two rates and a time, such as 1000:50000:1m"),
        (
            "--socket a --ramp 1:2:3s --rate 5",
            "--ramp has its own rates and duration, leave out --rate and --duration"
        ),
        ("--socket a --p99 5ms", "--p99 needs --find-rate"),
        ("--socket a --find-rate --ramp 1:2:3s", "--find-rate and --ramp exclude each other"),
        ("--socket a --burst 5", "--burst is '5', expected how many and how often, such as 500@60s"),
        ("--socket a --skew=-1", "--skew is -1.0, expected 0 to 10.0"),
        ("--socket a --skew nan", "--skew is nan, expected 0 to 10.0"),
        ("--socket a --rate 0", "--rate is 0 checks a second, expected 1 to 20000000 checks a second"),
        ("--socket a --duration 0", "--duration is 0, expected more"),
        ("--socket a --scope tool --sessions 1", "--scope is 'tool', expected grant, session or global"),
        ("--socket a --scope session", "--scope session needs --sessions: without one, a check counts for its grant"),
        (
            "--socket a --threads 17",
            "--threads is 17 (at most one for each connection), expected 1 to 16 (at most one for each connection)"
        ),
        (
            "--socket a --duration 5x",
            "The value '5x' is invalid for '--duration <time>': '5x' is not a time, write seconds or 500ms, 10s, 2m, 1h"
        ),
        (
            "--socket a --duration 8d",
            "The value '8d' is invalid for '--duration <time>': '8d' is not a time, write seconds or 500ms, 10s, 2m, 1h"
        ),
        (
            "--socket a --duration 999h",
            "The value '999h' is invalid for '--duration <time>': '999h' is longer than a week"
        ),
    ])
    func saysWhatIsWrong(arguments: String, expected: String) {
        #expect(complaint(arguments) == expected)
    }

    @Test func theWorldsLongestNameIsRefused() {
        #expect(
            complaint("--socket a --tool \(String(repeating: "x", count: 257))").hasPrefix("--tool makes a name of 257")
        )
        #expect(
            complaint("--socket a --grant-prefix \(String(repeating: "x", count: 255))").hasPrefix(
                "--grant-prefix makes"))
        #expect(complaint("--socket a --grant-prefix \(String(repeating: "x", count: 254))") == "valid")
    }

    @Test func wrongUsageEndsWith64AndHelpWith0() async {
        #expect(await LoadProgram.run(arguments: ["--nonsense"]) == 64)
        #expect(await LoadProgram.run(arguments: ["--socket", "a", "--cost", "0"]) == 64)
        #expect(await LoadProgram.run(arguments: ["--help"]) == 0)
    }

    @Test func namesSubjectsByScope() throws {
        let session = try settings("--socket a --sessions 3")
        #expect(session.subjectCount == 150)
        let subject = session.subject(of: CheckTarget(grant: 4, session: 2))
        #expect(session.subjectName(subject) == "grant load-4, session session-2")
        let grant = try settings("--socket a")
        #expect(grant.subjectName(grant.subject(of: CheckTarget(grant: 4))) == "grant load-4")
        #expect(try settings("--socket a --scope global").subjectName(0) == "all grants")
    }
}
