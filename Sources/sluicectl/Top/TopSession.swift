import Dispatch
import SluiceClient
import SluiceTerminal
import Synchronization
import UnixSignals

/// Feeds the model of `top` from a sidecar, and shows it. It only moves bytes.
final class TopSession: Sendable {
    private enum Event: Sendable {
        case keys([UInt8])
        /// The sidecar answered, or something else is to be shown.
        case changed
        case resized
        case end
    }

    private let path: String
    private let console: Console
    private let interval: Duration
    private let model: Mutex<TopModel>

    /// How long after a failure the sidecar is asked again.
    private static let retryPause = Duration.seconds(2)
    /// How often the counters are read.
    private static let countersPause = Duration.seconds(3)
    /// How many counters are kept.
    private static let countersLimit = 200

    init(path: String, console: Console, interval: Duration, columns: Int, rows: Int) {
        self.path = path
        self.console = console
        self.interval = interval
        model = Mutex(TopModel(socket: path, columns: columns, rows: rows))
    }

    // MARK: - Once

    /// Watches for one interval.
    func watchOnce() async throws {
        try await readStatus()
        await withTaskGroup(of: Void.self) { group in
            feedStreams(&group) {}
            group.addTask { [self] in await readCounters() }
            try? await Task.sleep(for: interval)
            group.cancelAll()
        }
        try await readStatus()
    }

    func frame(_ style: Style) -> [String] { model.withLock { $0.frame(style, time: Self.time()) } }
    var json: JSONText { model.withLock { $0.json } }

    // MARK: - Live

    func run(_ terminal: Terminal) async throws {
        try await readStatus()
        let (events, continuation) = AsyncStream.makeStream(of: Event.self, bufferingPolicy: .bufferingOldest(1_024))
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup, .sigwinch, .sigcont)
        terminal.enter()
        defer { terminal.leave() }
        let keys = Self.keys(of: terminal, continuation)
        defer { keys.cancel() }
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await signal in signals {
                    continuation.yield(signal == .sigwinch || signal == .sigcont ? .resized : .end)
                }
            }
            group.addTask { [self] in await keepStatus { continuation.yield(.changed) } }
            group.addTask { [self] in await keepCounters() }
            feedStreams(&group) { continuation.yield(.changed) }
            await show(events, terminal)
            group.cancelAll()
        }
    }

    private func show(_ events: AsyncStream<Event>, _ terminal: Terminal) async {
        var keys = TopKeys()
        resize(terminal)
        terminal.show(frame(console.style))
        for await event in events {
            switch event {
            case .end: return
            case .changed: break
            case .resized: resize(terminal)
            case .keys(let bytes):
                let pressed = keys.take(bytes)
                let quits = model.withLock { model in pressed.contains { model.press($0) == .quit } }
                if quits { return }
            }
            terminal.show(frame(console.style))
        }
    }

    private func resize(_ terminal: Terminal) {
        guard let size = terminal.size else { return }
        model.withLock { ($0.columns, $0.rows) = size }
    }

    private static func keys(
        of terminal: Terminal, _ continuation: AsyncStream<Event>.Continuation
    ) -> any DispatchSourceRead {
        let source = DispatchSource.makeReadSource(fileDescriptor: terminal.inputDescriptor, queue: .global())
        source.setEventHandler {
            let bytes = terminal.read()
            // At the end of the input its terminal has gone.
            continuation.yield(bytes.isEmpty ? .end : .keys(bytes))
            if bytes.isEmpty { source.cancel() }
        }
        source.resume()
        return source
    }

    // MARK: - The sidecar

    private func readStatus() async throws(ControlFailure) {
        let status = try await ask { sluice throws(SluiceError) in try await sluice.status() }
        let nowMs = Self.nowMs()
        model.withLock { $0.data.take(status, nowMs: nowMs) }
    }

    private func keepStatus(changed: () -> Void) async {
        while !Task.isCancelled {
            do throws(ControlFailure) {
                try await readStatus()
                note(nil, of: "sidecar")
            } catch {
                note(error.line, of: "sidecar")
            }
            changed()
            try? await Task.sleep(for: interval)
        }
    }

    /// - Parameter isFirst: whether what is read so far is shown, since nothing else is.
    private func readCounters(isFirst: Bool = true) async {
        do throws(ControlFailure) {
            let report = try await ask { [self] sluice throws(SluiceError) in
                var reading = CountersReading(order: .remaining, limit: Self.countersLimit)
                try await sluice.read(&reading) { page in
                    if isFirst { model.withLock { $0.data.take(page) } }
                }
                return reading.report
            }
            model.withLock {
                $0.data.take(report)
                $0.data.note(nil, of: "counters")
            }
        } catch {
            note(error.line, of: "counters")
        }
    }

    private func keepCounters() async {
        var isFirst = true
        while !Task.isCancelled {
            let began = ContinuousClock.now
            await readCounters(isFirst: isFirst)
            isFirst = false
            // A million counters take some time: Redis has twice as long for itself.
            try? await Task.sleep(for: max(Self.countersPause, began.duration(to: .now) * 2))
        }
    }

    private func ask<Answer: Sendable>(
        _ question: @Sendable (SluiceConnection) async throws(SluiceError) -> Answer
    ) async throws(ControlFailure) -> Answer {
        do throws(SluiceError) {
            let sluice = try await SluiceConnection.connect(
                path: path, timeout: console.answerLimit, requestTimeout: console.answerLimit)
            return try await question(sluice)
        } catch {
            throw ControlFailure(error, socket: path)
        }
    }

    private func feedStreams(_ group: inout TaskGroup<Void>, changed: @escaping @Sendable () -> Void) {
        group.addTask { [self] in await feed(["TAIL"], changed) { $0.takeDecision($1) } }
        group.addTask { [self] in await feed(["TAIL", "DENIED"], changed) { $0.takeDenial($1) } }
    }

    private func feed(
        _ words: [String], _ changed: @Sendable () -> Void, _ take: @escaping @Sendable (inout TopData, String) -> Void
    ) async {
        while !Task.isCancelled {
            do throws(SluiceError) {
                try await SluiceStream.run(path: path, timeout: console.answerLimit, words) { [self] in
                    note(nil, of: "decisions")
                } receive: { [self] reply in
                    model.withLock { take(&$0.data, reply.string ?? "") }
                    return true
                }
            } catch {
                if case .cancelled = error { return }
                note(ControlFailure(error, socket: path).line, of: "decisions")
                changed()
            }
            try? await Task.sleep(for: Self.retryPause)
        }
    }

    private func note(_ trouble: String?, of what: String) { model.withLock { $0.data.note(trouble, of: what) } }

    // MARK: - Time

    private static func nowMs() -> Int64 {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        return seconds * 1000 + attoseconds / 1_000_000_000_000_000
    }

    private static let start = ContinuousClock.now

    private static func time() -> String {
        String(DateText.timeOfDay(milliseconds: DateText.nowMs()).dropLast(4)) + " UTC"
    }
}
