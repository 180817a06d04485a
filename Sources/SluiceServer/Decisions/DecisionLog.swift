import NIOCore
import SluiceDecisionLog
import SluiceEngine
import SluiceProtocol

/// Where decisions are logged, and which.
package struct DecisionLogConfiguration: Sendable {
    package var file: LineFile
    /// Denials are always logged; of the checks that were allowed one in so many, 0: none. With 1, settlements are, too.
    package var sample: Int64
    /// With which grants and what else may name a person are hashed; nil: they are written as they are.
    package var identityKey: IdentityKey?

    package init(file: LineFile, sample: Int64, identityKey: IdentityKey? = nil) {
        self.file = file
        self.sample = sample
        self.identityKey = identityKey
    }
}

/// What was asked and answered, a line for each decision: for the decision log, and for operators who listen (`TAIL`).
///
/// A question is encoded while its request is in the buffer, and kept under its ticket while the check waits for the store.
/// What cannot be written or kept is dropped and counted; no check ever waits for it. It is there only while somebody wants
/// lines. Confined to the host's loop.
final class DecisionLog {
    /// A question, and which listeners may want its answer. No bytes if none of them has room for a line.
    private struct Question {
        var bytes: ArraySlice<UInt8>
        var listeners: DecisionListeners.Members
    }

    /// nil: nothing is written to a file.
    private let writer: LineWriter?
    private let sample: Int64
    private let hashesGrants: Bool
    private var listeners = DecisionListeners()
    private var time = DecisionLogTime()
    private var allowedCount: Int64 = 0
    /// The questions of the gathered checks, one after the other, and where each ends.
    private var gathered: [UInt8] = []
    private var gatheredEnds: [(end: Int, listeners: DecisionListeners.Members)] = []
    /// Questions and settlements that wait for the store.
    private var waiting: [UInt64: Question] = [:]
    private var waitingBytes = 0
    private var line: [UInt8] = []
    private(set) var lineCount: Int64 = 0
    /// Lines that are missing because they were not written.
    var droppedCount: Int64 { writer?.droppedCount ?? 0 }

    init(_ configuration: DecisionLogConfiguration, writer: LineWriter) {
        sample = configuration.sample
        hashesGrants = configuration.identityKey != nil
        self.writer = writer
        begin()
    }

    /// For listeners alone.
    init() {
        sample = 0
        hashesGrants = false
        writer = nil
    }

    /// Marks in the file that this process writes from here on, and which decisions.
    private func begin() {
        guard let writer else { return }
        beginLine(ms: SystemClock.now().wallMs)
        DecisionLogLine.append("sample", sample, to: &line)
        if hashesGrants { DecisionLogLine.append("grants", "hash", to: &line) }
        DecisionLogLine.end(&line)
        writer.append(line)
    }

    /// Writes to a new file of the same name, if the old one was moved away.
    func reopen() {
        writer?.reopen()
        begin()
    }

    /// Writes what is left. - Parameter completion: called on the loop.
    func close(_ completion: @escaping () -> Void) { writer.map { $0.close(completion) } ?? completion() }

    // MARK: - Listeners

    var isNeeded: Bool { writer != nil || !listeners.isEmpty }
    var listenerCount: Int { listeners.count }

    /// - Returns: whether there was room.
    func add(_ listener: DecisionListener) -> Bool { listeners.add(listener) }

    func remove(_ listener: DecisionListener) {
        // Its place may be another's when these are answered.
        let left = listeners.remove(listener)
        for ticket in waiting.keys { waiting[ticket]?.listeners &= ~left }
    }

    // MARK: - Questions

    /// The next of the gathered checks.
    func gather(_ check: CheckRequest, _ action: CheckAction, in input: ByteBuffer) {
        let members = listeners.isEmpty ? 0 : listeners.matching(check, in: input.readableBytesUInt8Span)
        if writer != nil || listeners.haveRoom(members, nowNs: SystemClock.monotonicNs()) {
            let logged: DecisionLogLine.Action =
                switch action {
                case .check: check.isPeek ? .peek : .check
                case .charge: .charge
                case .refund: .refund
                }
            DecisionLogLine.append(check, logged, in: input, to: &gathered)
        }
        gatheredEnds.append((gathered.count, members))
    }

    /// The outcome of the gathered check with this index.
    func decided(_ index: Int, _ outcome: Limiter.CheckOutcome, _ ticket: Ticket, door: String, now: ClockReading) {
        let question = Question(
            bytes: gathered[(index == 0 ? 0 : gatheredEnds[index - 1].end)..<gatheredEnds[index].end],
            listeners: gatheredEnds[index].listeners)
        switch outcome {
        case .answered(let decision): write(question, decision, door: door, now: now)
        case .overloaded: writeBusy(question, door: door, now: now)
        case .waiting: hold(question, ticket)
        case .mustReserve, .otherArguments: break
        }
    }

    /// All gathered checks have their outcomes.
    func endGathered() {
        gathered.removeAll(keepingCapacity: true)
        gatheredEnds.removeAll(keepingCapacity: true)
    }

    func settled(
        _ request: SettleRequest, in input: ByteBuffer, _ outcome: Limiter.SettleOutcome, _ ticket: Ticket,
        door: String,
        now: ClockReading
    ) {
        guard sample == 1 else { return }
        var settlement: [UInt8] = []
        DecisionLogLine.append(request, in: input, to: &settlement)
        switch outcome {
        case .answered(let isDone): write(settlement[...], isDone: isDone, door: door, now: now)
        case .waiting: hold(Question(bytes: settlement[...], listeners: 0), ticket)
        case .overloaded, .notSettled, .storeUnavailable: break
        }
    }

    private func hold(_ question: Question, _ ticket: Ticket) {
        guard !question.bytes.isEmpty || question.listeners != 0 else { return }
        guard waitingBytes + question.bytes.count <= ServerBounds.maxWaitingDecisionBytes else {
            return drop(question)
        }
        waitingBytes += question.bytes.count
        // A slice would keep all of the gathered questions.
        let held = Question(bytes: Array(question.bytes)[...], listeners: question.listeners)
        // The one before was of a connection that has closed.
        if let other = waiting.updateValue(held, forKey: ticket.rawValue) {
            waitingBytes -= other.bytes.count
            drop(other)
        }
    }

    /// The answer is not known, or not written.
    private func drop(_ question: Question) {
        writer?.drop(1)
        let nowNs = SystemClock.monotonicNs()
        for listener in listeners.wanting(question.listeners, isDenial: false) { listener.leaveOut(nowNs: nowNs) }
    }

    /// The answer to something that waited.
    func completed(_ ticket: Ticket, _ answer: Limiter.Completion.Answer, door: String, now: ClockReading) {
        guard let question = waiting.removeValue(forKey: ticket.rawValue) else { return }
        waitingBytes -= question.bytes.count
        switch answer {
        case .decision(let decision): write(question, decision, door: door, now: now)
        case .overloaded: writeBusy(question, door: door, now: now)
        case .settled(let isDone): write(question.bytes, isDone: isDone, door: door, now: now)
        case .otherArguments, .notSettled, .storeUnavailable, .cleared, .overridden: break
        }
    }

    /// An operator cleared counters: logged in any case.
    func cleared(_ page: ClearedPage, by peer: PeerCredentials, now: ClockReading) {
        guard writer != nil else { return }
        beginLine(ms: now.wallMs, door: page.door)
        DecisionLogLine.append(
            grant: page.grant, tool: page.tool, cleared: page.heldCount, userID: peer.userID, to: &line)
        endLine(isLogged: true, [], now: now)
    }

    /// An operator overrode a maximum, or ended that: logged in any case.
    func overridden(_ change: OverrideChange, by peer: PeerCredentials, door: String, now: ClockReading) {
        guard writer != nil else { return }
        beginLine(ms: now.wallMs, door: door)
        DecisionLogLine.append(
            grant: change.grant, rule: change.rule, max: change.forMs > 0 ? change.max : nil,
            seconds: change.forMs / 1_000, userID: peer.userID, to: &line)
        endLine(isLogged: true, [], now: now)
    }

    // MARK: - Lines

    private func write(_ question: Question, _ decision: Decision, door: String, now: ClockReading) {
        let isLogged = writer != nil && (!decision.allowed || isSampled())
        let takers = takers(of: question, isDenial: !decision.allowed, now: now)
        guard isLogged || !takers.isEmpty else { return }
        beginLine(ms: now.wallMs, door: door)
        line += question.bytes
        DecisionLogLine.append("verdict", ReplyVerdict(decision.verdict).rawValue, to: &line)
        DecisionLogLine.append("rule", decision.rule, to: &line)
        DecisionLogLine.append("source", ReplySource(decision.source).rawValue, to: &line)
        if decision.limit >= 0 {
            DecisionLogLine.append("used", decision.limit - max(0, decision.remaining), to: &line)
            DecisionLogLine.append("max", decision.limit, to: &line)
            DecisionLogLine.append("remaining", decision.remaining, to: &line)
        }
        if !decision.allowed, decision.retryAfterMs >= 0 {
            DecisionLogLine.append("retry_after_ms", decision.retryAfterMs, to: &line)
        }
        if let reservation = decision.reservation, !reservation.isEmpty {
            DecisionLogLine.append("reservation", reservation, to: &line)
        }
        endLine(isLogged: isLogged, takers, now: now)
    }

    /// Whether this one of the allowed decisions is logged.
    private func isSampled() -> Bool {
        guard sample > 0 else { return false }
        allowedCount += 1
        return allowedCount % sample == 0
    }

    /// The listeners that get the line of a question. It is left out for the others that want it.
    private func takers(of question: Question, isDenial: Bool, now: ClockReading) -> [DecisionListener] {
        let wanting = listeners.wanting(question.listeners, isDenial: isDenial)
        guard question.bytes.isEmpty else { return wanting }
        for listener in wanting { listener.leaveOut(nowNs: now.monotonicNs) }
        return []
    }

    private func writeBusy(_ question: Question, door: String, now: ClockReading) {
        let takers = takers(of: question, isDenial: true, now: now)
        guard writer != nil || !takers.isEmpty else { return }
        beginLine(ms: now.wallMs, door: door)
        line += question.bytes
        DecisionLogLine.append("verdict", DecisionLogLine.busy, to: &line)
        endLine(isLogged: writer != nil, takers, now: now)
    }

    private func write(_ settlement: ArraySlice<UInt8>, isDone: Bool, door: String, now: ClockReading) {
        beginLine(ms: now.wallMs, door: door)
        line += settlement
        DecisionLogLine.append("done", isDone, to: &line)
        endLine(isLogged: writer != nil, [], now: now)
    }

    private func beginLine(ms: Int64, door: String? = nil) {
        line.removeAll(keepingCapacity: true)
        line += #"{"time":""#.utf8
        time.append(ms: max(0, ms), to: &line)
        line += #"","#.utf8
        if let door { DecisionLogLine.append("door", door, to: &line) }
    }

    private func endLine(isLogged: Bool, _ takers: [DecisionListener], now: ClockReading) {
        DecisionLogLine.end(&line)
        if isLogged, let writer {
            lineCount += 1
            writer.append(line)
        }
        for listener in takers { listener.append(line, nowNs: now.monotonicNs) }
    }
}

extension LimiterHost {
    /// What a log names the door of this slot.
    func doorName(ofSlot slot: Int) -> String {
        slot < Self.firstDoorSlot || slot == Self.operatorSlot ? "socket" : doors[slot - Self.firstDoorSlot].name
    }

    func log(_ completions: [Limiter.Completion], _ log: DecisionLog) {
        let now = SystemClock.now()
        for completion in completions {
            log.completed(
                completion.ticket, completion.answer, door: doorName(ofSlot: completion.ticket.slot), now: now)
        }
    }

    /// Writes the rest of the decision log, and calls back.
    func closeDecisionLog(_ completion: @escaping () -> Void) {
        guard let log = decisionLog else { return completion() }
        log.close(completion)
    }
}
