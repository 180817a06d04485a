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

/// The decision log: what was asked and answered, a line for each decision, for those who ask later why.
///
/// A question is encoded while its request is in the buffer, and kept under its ticket while the check waits for the store.
/// What cannot be written or kept is dropped and counted; no check ever waits for it. Confined to the host's loop.
final class DecisionLog {
    private let sample: Int64
    private let hashesGrants: Bool
    private let writer: LineWriter
    private var time = DecisionLogTime()
    private var allowedCount: Int64 = 0
    /// The questions of the gathered checks, one after the other, and where each ends.
    private var gathered: [UInt8] = []
    private var gatheredEnds: [Int] = []
    /// Questions and settlements that wait for the store.
    private var waiting: [UInt64: [UInt8]] = [:]
    private var waitingBytes = 0
    private var line: [UInt8] = []
    private(set) var lineCount: Int64 = 0
    /// Lines that are missing because they were not written.
    var droppedCount: Int64 { writer.droppedCount }

    init(_ configuration: DecisionLogConfiguration, writer: LineWriter) {
        sample = configuration.sample
        hashesGrants = configuration.identityKey != nil
        self.writer = writer
        begin()
    }

    /// Marks in the file that this process writes from here on, and which decisions.
    private func begin() {
        beginLine(ms: SystemClock.now().wallMs)
        DecisionLogLine.append("sample", sample, to: &line)
        if hashesGrants { DecisionLogLine.append("grants", "hash", to: &line) }
        endLine()
        lineCount -= 1
    }

    /// Writes to a new file of the same name, if the old one was moved away.
    func reopen() {
        writer.reopen()
        begin()
    }

    /// Writes what is left. - Parameter completion: called on the loop.
    func close(_ completion: @escaping () -> Void) { writer.close(completion) }

    // MARK: - Questions

    /// The next of the gathered checks.
    func gather(_ check: CheckRequest, _ action: CheckAction, in input: ByteBuffer) {
        let logged: DecisionLogLine.Action =
            switch action {
            case .check: check.isPeek ? .peek : .check
            case .charge: .charge
            case .refund: .refund
            }
        DecisionLogLine.append(check, logged, in: input, to: &gathered)
        gatheredEnds.append(gathered.count)
    }

    /// The outcome of the gathered check with this index.
    func decided(_ index: Int, _ outcome: Limiter.CheckOutcome, _ ticket: Ticket, door: String, now: ClockReading) {
        let question = gathered[(index == 0 ? 0 : gatheredEnds[index - 1])..<gatheredEnds[index]]
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
        case .waiting: hold(settlement[...], ticket)
        case .overloaded, .notSettled, .storeUnavailable: break
        }
    }

    private func hold(_ question: ArraySlice<UInt8>, _ ticket: Ticket) {
        guard waitingBytes + question.count <= ServerBounds.maxWaitingDecisionBytes else { return writer.drop(1) }
        waitingBytes += question.count
        // The one before was of a connection that has closed.
        if let other = waiting.updateValue(Array(question), forKey: ticket.rawValue) {
            waitingBytes -= other.count
            writer.drop(1)
        }
    }

    /// The answer to something that waited.
    func completed(_ ticket: Ticket, _ answer: Limiter.Completion.Answer, door: String, now: ClockReading) {
        guard let question = waiting.removeValue(forKey: ticket.rawValue) else { return }
        waitingBytes -= question.count
        switch answer {
        case .decision(let decision): write(question[...], decision, door: door, now: now)
        case .overloaded: writeBusy(question[...], door: door, now: now)
        case .settled(let isDone): write(question[...], isDone: isDone, door: door, now: now)
        case .otherArguments, .notSettled, .storeUnavailable: break
        }
    }

    // MARK: - Lines

    private func write(_ question: ArraySlice<UInt8>, _ decision: Decision, door: String, now: ClockReading) {
        if decision.allowed {
            guard sample > 0 else { return }
            allowedCount += 1
            guard allowedCount % sample == 0 else { return }
        }
        beginLine(ms: now.wallMs, door: door)
        line += question
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
        endLine()
    }

    private func writeBusy(_ question: ArraySlice<UInt8>, door: String, now: ClockReading) {
        beginLine(ms: now.wallMs, door: door)
        line += question
        DecisionLogLine.append("verdict", DecisionLogLine.busy, to: &line)
        endLine()
    }

    private func write(_ settlement: ArraySlice<UInt8>, isDone: Bool, door: String, now: ClockReading) {
        beginLine(ms: now.wallMs, door: door)
        line += settlement
        DecisionLogLine.append("done", isDone, to: &line)
        endLine()
    }

    private func beginLine(ms: Int64, door: String? = nil) {
        line.removeAll(keepingCapacity: true)
        line += #"{"time":""#.utf8
        time.append(ms: max(0, ms), to: &line)
        line += #"","#.utf8
        if let door { DecisionLogLine.append("door", door, to: &line) }
    }

    private func endLine() {
        DecisionLogLine.end(&line)
        lineCount += 1
        writer.append(line)
    }
}

extension LimiterHost {
    /// What a log names the door of this slot.
    func doorName(ofSlot slot: Int) -> String {
        slot < Self.firstDoorSlot ? "socket" : doors[slot - Self.firstDoorSlot].name
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
