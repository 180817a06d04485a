import DequeModule
import NIOCore
import NIOHTTP1
import SluiceEngine
import SluicePolicy
import SluiceProtocol

/// The door for HTTP: checks for programs without a Redis client, forward authorization for proxies, metrics, health
/// and the operators' page. All of its connections, and the checks that wait for their answers.
///
/// On the limiter's event loop, as everything that asks it.
final class HTTPDoor: Door {
    let host: LimiterHost
    let operators: OperatorCommands
    let facts: ServerFacts
    private var slot = 0
    private var connections: [ObjectIdentifier: HTTPConnection] = [:]
    /// What waits for an answer of the limiter, by its number.
    private var waiting: [UInt32: (Limiter.Completion.Answer) -> Void] = [:]
    private var lastNumber: UInt32 = 0
    private(set) var decisions = DoorDecisions()
    private var framer = RequestFramer()
    private var isSweeping = false
    private var whenDrained: (() -> Void)?
    /// The turn in which a report was last made, and what waits for a turn of its own.
    private var reportTurn: UInt64 = 0
    private var reports: Deque<() -> Void> = []
    var readiness = Readiness.starting

    let name = "http"

    /// Whether gateways should be sent here.
    enum Readiness: Equatable {
        /// The socket is not open yet. Becomes `ready`, or the process ends.
        case starting
        /// Becomes `draining`.
        case ready
        case draining
    }

    init(host: LimiterHost, operators: OperatorCommands, facts: ServerFacts) {
        self.host = host
        self.operators = operators
        self.facts = facts
        slot = host.add(self)
    }

    // MARK: - Connections

    var connectionCount: Int { connections.count }

    /// Whether there is room for another connection.
    var hasRoom: Bool {
        connections.count < ServerBounds.maxHTTPConnections && readiness != .draining
            && host.memory.hasRoom(
                for: ServerBounds.bytesPerHTTPConnection + ServerBounds.maxHTTPBodyBytes,
                tableBytes: host.limiter.heldBytes)
    }

    func add(_ connection: HTTPConnection) {
        connections[ObjectIdentifier(connection)] = connection
        sweepLater()
    }

    func remove(_ connection: HTTPConnection) {
        connections[ObjectIdentifier(connection)] = nil
        if connections.isEmpty { reportDrained() }
    }

    private func sweepLater() {
        guard !isSweeping, !connections.isEmpty else { return }
        isSweeping = true
        host.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.sweepIntervalNs)) { [weak self] in
            guard let self else { return }
            isSweeping = false
            let nowNs = SystemClock.monotonicNs()
            for connection in connections.values { connection.sweep(nowNs: nowNs) }
            sweepLater()
        }
    }

    /// Takes no more requests. Idle connections close, the others after their answers.
    func beginDrain() {
        readiness = .draining
        for connection in connections.values { connection.drain() }
    }

    /// Calls back when all connections have closed.
    func onDrained(_ completion: @escaping () -> Void) {
        whenDrained = completion
        if connections.isEmpty { reportDrained() }
    }

    private func reportDrained() {
        whenDrained?()
        whenDrained = nil
    }

    // MARK: - Reports

    /// Makes a report, which is as much work as hundreds of checks: one in a turn of the event loop, however many are
    /// asked for.
    func report(_ body: @escaping () -> Void) {
        host.openTurn()
        if reports.isEmpty && reportTurn != host.turns.number {
            reportTurn = host.turns.number
            return body()
        }
        reports.append(body)
        if reports.count == 1 { reportLater() }
    }

    private func reportLater() {
        host.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(ServerBounds.httpPauseNs)) { [weak self] in
            guard let self, let body = reports.popFirst() else { return }
            host.openTurn()
            reportTurn = host.turns.number
            body()
            if !reports.isEmpty { reportLater() }
        }
    }

    // MARK: - Asking the limiter

    /// What came of a question to the limiter.
    enum Outcome {
        case decision(Decision)
        case settled(Bool)
        case error(RequestError)
    }

    /// Asks the limiter with a command of the socket, so that every rule for its arguments is written once.
    func ask(_ words: [String], completion: @escaping (Outcome) -> Void) {
        let opened = host.openTurn()
        var now = opened ?? SystemClock.now()
        now.waitedNs = max(0, now.monotonicNs - host.turns.readableNs)
        var frame = Self.frame(words)
        framer = RequestFramer()
        guard let next = try? framer.nextRequest(in: &frame) else {
            return completion(.error(RequestError(.tooBig, "these names are too long together, send shorter ones")))
        }
        switch next {
        case .check(let check):
            host.gather(check, in: frame)
            decide(now: now, completion: completion)
        case .other(.charge(let charge)):
            host.gather(charge, .charge, in: frame)
            decide(now: now, completion: completion)
        case .other(.refund(let refund)):
            host.gather(refund, .refund, in: frame)
            decide(now: now, completion: completion)
        case .other(.settle(let request)): settle(request, in: frame, now: now, completion: completion)
        case .wrong(let error): completion(.error(error))
        case .other, .incomplete: completion(.error(RequestError(.error, "this is no question to the limiter")))
        }
    }

    /// Overrides a maximum with a command of the socket.
    func override(_ words: [String], by peer: PeerCredentials, completion: @escaping LimiterHost.OverrideCompletion) {
        var frame = Self.frame(words)
        framer = RequestFramer()
        switch try? framer.nextRequest(in: &frame) {
        case .other(.operators(.override(let request)))?:
            host.override(request, by: peer, door: name, completion: completion)
        case .wrong(let error)?: completion(.failure(error))
        default: completion(.failure(RequestError(.tooBig, "these names are too long together, send shorter ones")))
        }
    }

    /// Clears counters with a command of the socket.
    func clear(_ words: [String], by peer: PeerCredentials, completion: @escaping LimiterHost.ClearCompletion) {
        var frame = Self.frame(words)
        framer = RequestFramer()
        switch try? framer.nextRequest(in: &frame) {
        case .other(.operators(.clear(let request)))?:
            host.clear(request, by: peer, door: name, completion: completion)
        case .wrong(let error)?: completion(.failure(error))
        default: completion(.failure(RequestError(.tooBig, "these names are too long together, send shorter ones")))
        }
    }

    private static func frame(_ words: [String]) -> ByteBuffer {
        var frame = ByteBuffer()
        frame.writeString("*\(words.count)\r\n")
        for word in words { frame.writeString("$\(word.utf8.count)\r\n\(word)\r\n") }
        return frame
    }

    private func decide(now: ClockReading, completion: @escaping (Outcome) -> Void) {
        let number = nextNumber()
        host.decideGathered(slot: slot, now: now, next: { number }) { outcome in
            switch outcome {
            case .answered(let decision):
                decisions.count(decision)
                completion(.decision(decision))
            case .waiting: wait(number, completion)
            case .overloaded(let cause): completion(.error(.busy(cause)))
            case .mustReserve: completion(.error(.mustReserve))
            case .otherArguments: completion(.error(.otherArguments))
            }
        }
    }

    private func settle(
        _ request: SettleRequest, in frame: ByteBuffer, now: ClockReading, completion: @escaping (Outcome) -> Void
    ) {
        let number = nextNumber()
        switch host.settle(request, in: frame, slot: slot, number: number, now: now) {
        case .answered(let done): completion(.settled(done))
        case .waiting: wait(number, completion)
        case .overloaded: completion(.error(.busy(.waiting)))
        case .notSettled(let fault): completion(.error(.notSettled(fault)))
        case .storeUnavailable: completion(.error(.storeUnavailable))
        }
    }

    private func nextNumber() -> UInt32 {
        repeat { lastNumber &+= 1 } while waiting[lastNumber] != nil
        return lastNumber
    }

    private func wait(_ number: UInt32, _ completion: @escaping (Outcome) -> Void) {
        waiting[number] = { [self] answer in
            switch answer {
            case .decision(let decision):
                decisions.count(decision)
                completion(.decision(decision))
            case .settled(let done): completion(.settled(done))
            case .otherArguments: completion(.error(.otherArguments))
            case .overloaded(let cause): completion(.error(.busy(cause)))
            case .notSettled(let fault): completion(.error(.notSettled(fault)))
            case .storeUnavailable: completion(.error(.storeUnavailable))
            case .cleared, .overridden: preconditionFailure("clears have no place among a door's checks")
            }
        }
    }

    func complete(_ number: UInt32, _ answer: Limiter.Completion.Answer) {
        waiting.removeValue(forKey: number)?(answer)
    }
}
