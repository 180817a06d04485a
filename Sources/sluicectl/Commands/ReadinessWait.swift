import ArgumentParser
import SluiceClient
import SluiceTerminal

/// Waits until a sidecar is ready, and reports what it waits for if that takes long.
struct ReadinessWait {
    let path: String
    let timeout: Duration
    /// Whether progress is reported as lines of JSON.
    let isJSON: Bool
    let console: Console

    /// Time between two requests: a sidecar becomes ready within some of these, and a request costs it microseconds.
    private static let pause = Duration.milliseconds(100)
    /// Most time for one request, so that a stuck sidecar does not use up the whole wait silently.
    private static let lookLimit = Duration.seconds(1)
    /// After how long, and how often, progress is reported.
    private static let progressPause = Duration.seconds(2)

    /// - Throws: what was missing at the end.
    func run() async throws {
        let start = ContinuousClock.now
        let deadline = start + timeout
        var nextProgress = start + Self.progressPause
        // The time may end during a request: then what the sidecar said before is the reason.
        var said: String?
        while true {
            let missing: String
            switch await look(until: deadline) {
            case .ready: return
            case .missing(let text): (missing, said) = (text, text)
            case .noAnswer(let text): missing = text
            }
            let now = ContinuousClock.now
            if now >= deadline {
                throw ControlFailure(
                    "not ready after \(DurationText.format(timeout)): \(said ?? missing)", exitCode: .couldNotAsk)
            }
            if now >= nextProgress {
                nextProgress = now + Self.progressPause
                report(missing, waited: now - start)
            }
            try await Task.sleep(until: min(now + Self.pause, deadline))
        }
    }

    private func report(_ missing: String, waited: Duration) {
        if isJSON {
            let line: JSONText = [
                "waited_ms": .integer(Self.milliseconds(waited)),
                "timeout_ms": .integer(Self.milliseconds(timeout)),
                "missing": .string(missing),
            ]
            return console.writeError(line.line + "\n")
        }
        let text = "waiting, \(waited.components.seconds)s of \(DurationText.format(timeout)): \(missing)"
        console.writeError(console.errorStyle.apply(.faint, to: text) + "\n")
    }

    private enum Finding {
        case ready
        /// What the sidecar says is missing.
        case missing(String)
        /// Why there was no answer.
        case noAnswer(String)
    }

    private func look(until deadline: ContinuousClock.Instant) async -> Finding {
        let limit = max(.milliseconds(50), min(Self.lookLimit, deadline - .now))
        do throws(SluiceError) {
            let sluice = try await SluiceConnection.connect(path: path, timeout: limit, requestTimeout: limit)
            let status = try await sluice.status()
            await sluice.close()
            if status.isReady { return .ready }
            let away = status.masters.first { !$0.isShared }?.address.map { ", not \(TerminalText.visible($0))" } ?? ""
            let redis = TerminalText.visible(status.text("redis_address"))
            let reason = status.redisError.map { " (\(TerminalText.visible($0)))" } ?? ""
            let time = status.unavailableMs.map { ", for \(DurationText.format(milliseconds: $0))" } ?? ""
            return .missing(
                "counting is \(TerminalText.visible(status.text("counting"))), Redis at \(redis): "
                    + "\(TerminalText.visible(status.redisState))\(away)\(reason)\(time)")
        } catch {
            return .noAnswer(ControlFailure(error, socket: path).line)
        }
    }

    private static func milliseconds(_ duration: Duration) -> Int64 { Int64(duration / .milliseconds(1)) }
}
