import ArgumentParser
import SluiceClient
import SluiceTerminal

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows how a sidecar fares: Redis, counting, checks, and where answers came from.",
        discussion: """
            With --wait it first waits until the sidecar answers and counts in Redis (or answers at all, if it was started \
            without Redis), so that scripts can go on when it is ready. Checks per second are since the start, at \
            once; with --rate they are counted over one second.

            Policies that changed and have faults are refused, and the last good ones stay: that is shown, and ends with \
            3, so that a script that deploys them sees it. So is a gateways file. A sidecar that has a Redis and counts alone ends with 4: limits \
            then hold for each replica's share rather than for all together; "reason" has Redis' own words. With --wait \
            the question is only whether the sidecar is ready. With --alive it is only whether it answers: for a probe \
            that starts a hung sidecar again, and must not do so to all of them while Redis is away.

            Examples:
              sluicectl status
              sluicectl status --wait --timeout 30s && echo "start the gateway"
              sluicectl status --rate --json | jq .checks_per_s
              sluicectl status --alive >/dev/null || echo "it hangs"

            Exit codes: 0 done (with --wait: ready), 2 the sidecar could not be asked or was not ready in time, 3 it \
            refused newer policies or a newer gateways file (not with --wait or --alive), 4 it counts alone though it has a \
            Redis (the same), 64 wrong usage.
            """)

    @OptionGroup var sidecar: SidecarOptions
    @Flag(help: "Wait until the sidecar answers and counting is shared.")
    var wait = false
    @Option(
        help: ArgumentHelp("How long --wait waits, such as 500ms, 10s or 2m.", valueName: "duration"),
        transform: Self.duration)
    var timeout: Duration?
    @Flag(help: "Exit with 0 if the sidecar answers, whatever it says.")
    var alive = false
    @Flag(help: "Count the checks of one second.")
    var rate = false
    @Flag(help: "One line of JSON instead of tables.")
    var json = false

    static let defaultTimeout = Duration.seconds(10)

    private static func duration(_ text: String) throws -> Duration {
        guard let duration = DurationText.parse(text) else {
            throw ValidationError("expected \(DurationText.expected)")
        }
        return duration
    }

    func validate() throws {
        if timeout != nil && !wait { throw ValidationError("--timeout belongs to --wait") }
        if alive && wait { throw ValidationError("--alive asks at once, and --wait does not: give one of them") }
    }

    func run() async throws {
        let console = Console.current
        let path = sidecar.path(console)
        if wait {
            try await ReadinessWait(
                path: path, timeout: timeout ?? Self.defaultTimeout, isJSON: json, console: console
            ).run()
        }
        let samples = rate
        let report = try await sidecar.ask(console) { sluice throws(SluiceError) in
            let first = try await sluice.status()
            guard samples else { return StatusReport(socket: path, status: first) }
            do {
                try await Task.sleep(for: .seconds(1))
            } catch {
                throw SluiceError.cancelled
            }
            return StatusReport(socket: path, status: try await sluice.status(), earlier: first)
        }
        console.write(json ? report.json.line + "\n" : report.text(console.style))
        if wait || alive { return }
        if report.status.refusedPolicies != nil || report.status.refusedGateways != nil {
            throw ExitCode.policiesRefused
        }
        if !report.status.isReady { throw ExitCode.countingAlone }
    }
}

extension SluiceConnection {
    func status() async throws(SluiceError) -> SidecarStatus {
        let status = SidecarStatus(info: try await send(["INFO"]).string ?? "")
        guard status.isSidecar else { throw .malformedReply("expected the INFO of a sidecar") }
        return status
    }
}
