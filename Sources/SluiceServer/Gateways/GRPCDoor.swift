import NIOCore
import SluiceEngine
import SluiceEnvoy
import SluiceGRPC
import SluiceProtocol
import SwiftProtobuf

/// One gateway's gRPC connection: requests become checks, and decisions answers. It decides nothing.
final class GRPCDoor: GRPCService, HostedConnection, TurnTaker {
    private let service: GatewayService
    private var host: LimiterHost { service.host }
    private weak var handler: GRPCHandler?
    private var slot = -1
    private(set) var heldBytes = 0
    /// What is left of the connection's share of turn number `turn`.
    private var restOfShare = 0
    private var turn: UInt64 = 0
    private var unwritableSinceNs: Int64?
    /// Calls that wait for answers of the limiter.
    private var calls = NumberedTable<PendingCall>()
    /// The number of each call that waits, by its stream.
    private var waiting: [Int: UInt32] = [:]
    /// What waits for one: which check of which call, or nil for a settlement whose answer no call needs.
    private var questions = NumberedTable<Question?>()
    /// Streams whose messages are read aside.
    private var reading: Set<Int> = []
    /// Bytes of messages that are read aside.
    private var largeBytes = 0
    /// Streams that get each change of health.
    private var watchers: Set<Int> = []

    private struct Question {
        var call: UInt32
        var check: Int
    }

    init(_ service: GatewayService) { self.service = service }

    /// Adds what a connection needs to its pipeline.
    func add(to pipeline: ChannelPipeline.SynchronousOperations) throws {
        let handler = GRPCHandler(GatewayService.methods, service: self)
        try handler.add(to: pipeline)
        self.handler = handler
    }

    // MARK: - Life

    var nowNs: Int64 { SystemClock.monotonicNs() }

    func opened() -> Bool {
        guard let slot = host.add(self) else { return false }
        self.slot = slot
        account()
        if host.isDraining { handler?.drain() }
        return true
    }

    func arrived() { host.openTurn() }

    var share: Int {
        if turn != host.turns.number { beginShare(host.turns.share) }
        return restOfShare
    }

    func willWork(_ work: Int) {
        restOfShare -= work
        host.add(work: work)
    }

    func hasMore() { host.goOnLater(self) }

    func goOn() {
        beginShare(ServerBounds.maxGatewayShare)
        handler?.goOn()
    }

    private func beginShare(_ share: Int) {
        turn = host.turns.number
        restOfShare = share
    }

    func handled() { account() }

    func closed() {
        if slot >= 0 { host.remove(slot: slot) }
        host.hold(-heldBytes)
        heldBytes = 0
        reading = []
    }

    func cancelled(stream: Int) {
        watchers.remove(stream)
        reading.remove(stream)
        if let number = waiting.removeValue(forKey: stream) { calls[number]?.isAbandoned = true }
    }

    func drain() {
        for stream in watchers {
            handler?.send(stream: stream, Self.framed(Self.health(.notServing)))
            handler?.fail(stream: stream, GRPCStatus(.ok, ""))
        }
        watchers = []
        handler?.drain()
    }

    func cutOff() { handler?.cutOff() }

    func verifyUnread() {}

    func sweep(now: ClockReading) {
        handler?.sweep()
        account()
        guard let handler, !handler.isWritable else {
            unwritableSinceNs = nil
            return
        }
        let sinceNs = unwritableSinceNs ?? now.monotonicNs
        unwritableSinceNs = sinceNs
        if now.monotonicNs - sinceNs >= Int64(ProtocolBounds.maxUnreadSeconds) * 1_000_000_000 {
            host.noteUnread()
            cutOff()
        }
    }

    private func account() {
        guard slot >= 0, let handler, handler.isOpen else { return }
        let bytes =
            ServerBounds.bytesPerGRPCConnection + handler.heldBytes + largeBytes
            + handler.callCount * ServerBounds.bytesPerGRPCCall
        guard bytes != heldBytes else { return }
        let difference = bytes - heldBytes
        heldBytes = bytes
        host.hold(difference)
    }

    // MARK: - Calls

    func called(_ call: GRPCCall, message: ByteBuffer) {
        guard let method = GatewayService.Method(rawValue: call.method) else { return }
        do {
            let bytes = Array(message.readableBytesView)
            switch method {
            case .authorize: try authorize(call, bytes)
            case .shouldRateLimit: try limitRate(call, bytes, for: .decide)
            case .checkRateLimit: try limitRate(call, bytes, for: .look)
            case .reportRateLimit: try limitRate(call, bytes, for: .report)
            case .health, .watchHealth: try answerHealth(call, bytes, isWatched: method == .watchHealth)
            }
        } catch {
            fail(call, error)
        }
    }

    private func fail(_ call: GRPCCall, _ error: any Error) {
        let status: GRPCStatus =
            switch error {
            case let status as GRPCStatus: status
            case let fault as RateLimitExchange.Fault: GRPCStatus(.invalidArgument, fault.message)
            default:
                GRPCStatus(.invalidArgument, "the message is not one of \(GatewayService.methods[call.method].path)")
            }
        handler?.fail(stream: call.stream, status)
    }

    private func authorize(_ call: GRPCCall, _ bytes: [UInt8]) throws {
        guard bytes.count > GRPCBounds.maxMessageBytes else {
            return authorize(call, try ExternalAuthorization.Question(serializedBytes: bytes))
        }
        reading.insert(call.stream)
        largeBytes += bytes.count
        let isTaken = service.largeMessages.read(byteCount: bytes.count) {
            try ExternalAuthorization.Question(serializedBytes: bytes)
        } completion: { [self] result in
            largeBytes -= bytes.count
            // The caller may have left meanwhile.
            guard reading.remove(call.stream) != nil else { return }
            host.openTurn()
            switch result {
            case .success(let question): authorize(call, question)
            case .failure(let error): fail(call, error)
            }
            flushCompleted()
        }
        guard !isTaken else { return }
        reading.remove(call.stream)
        largeBytes -= bytes.count
        throw GRPCStatus(.resourceExhausted, "too many large messages at once, send fewer")
    }

    private func authorize(_ call: GRPCCall, _ question: ExternalAuthorization.Question) {
        let step = ExternalAuthorization.begin(question, service.gateways) { grant, tool, server in
            service.isListed(grant: grant, tool: tool, server: server)
        }
        switch step {
        case .answer(let response): respond(call.stream, response)
        case .check(let check, let authorization):
            ask([check], PendingCall(call, .authorization(authorization), checks: [check]))
        }
    }

    private func limitRate(_ call: GRPCCall, _ bytes: [UInt8], for purpose: RateLimitExchange.Purpose) throws {
        let request = try Envoy_Service_Ratelimit_V3_RateLimitRequest(serializedBytes: bytes)
        let exchange = try RateLimitExchange(request, for: purpose, service.gateways)
        try refuseWhatIsNotCounted(exchange.checks)
        let pending = PendingCall(call, .rateLimit(exchange), checks: exchange.checks)
        if exchange.checks.isEmpty { answer(pending) } else { ask(exchange.checks, pending) }
    }

    /// Limits that a request brings along are as those of `CL.THROTTLE`: charged where that fits, and never refunded.
    private func refuseWhatIsNotCounted(_ checks: [GatewayCheck]) throws(GRPCStatus) {
        for check in checks {
            guard case .ownLimit = check.subject, check.kind == .charge || check.kind == .refund else { continue }
            throw GRPCStatus(
                .unimplemented,
                "a limit of the request's own is charged only where that fits, and gives nothing back: leave it out")
        }
    }

    private func answerHealth(_ call: GRPCCall, _ bytes: [UInt8], isWatched: Bool) throws {
        let request = try Grpc_Health_V1_HealthCheckRequest(serializedBytes: bytes)
        let isKnown = GatewayService.services.contains(request.service)
        let status: Grpc_Health_V1_HealthCheckResponse.ServingStatus =
            host.isDraining ? .notServing : isKnown ? .serving : .serviceUnknown
        guard isWatched else {
            guard isKnown else { throw GRPCStatus(.notFound, "there is no such service here") }
            return respond(call.stream, Self.health(status))
        }
        handler?.send(stream: call.stream, Self.framed(Self.health(status)))
        if host.isDraining {
            handler?.fail(stream: call.stream, GRPCStatus(.ok, ""))
        } else {
            watchers.insert(call.stream)
        }
    }

    private static func health(
        _ status: Grpc_Health_V1_HealthCheckResponse.ServingStatus
    ) -> Grpc_Health_V1_HealthCheckResponse {
        var response = Grpc_Health_V1_HealthCheckResponse()
        response.status = status
        return response
    }

    // MARK: - Questions

    /// Asks the limiter, and answers the call if nothing has to wait.
    private func ask(_ checks: [GatewayCheck], _ pending: PendingCall) {
        let number = calls.insert(pending)
        for index in checks.indices {
            let answer = ask(checks[index], index, of: number, reserves: checks.count > 1, timeoutNs: pending.timeoutNs)
            if let answer { calls[number]?.take(answer, at: index) }
        }
        if calls[number]?.isAnswered == false { waiting[pending.stream] = number }
        concludeIfAnswered(number)
    }

    /// - Returns: nil if the answer comes later.
    private func ask(
        _ check: GatewayCheck, _ index: Int, of call: UInt32, reserves: Bool, timeoutNs: Int64?
    ) -> GatewayAnswer? {
        let question = questions.insert(Question(call: call, check: index))
        var budgetNs = service.budgetNs
        // The other half is for the way back.
        if let timeoutNs { budgetNs = min(budgetNs, timeoutNs / 2) }
        let mayReserve = reserves && check.kind == .check
        var outcome = host.ask(check, reserves: mayReserve, slot: slot, number: question, budgetNs: budgetNs)
        if case .mustReserve = outcome {
            // There is no hook after the call: its slot ends by `hold`.
            outcome = host.ask(check, reserves: true, slot: slot, number: question, budgetNs: budgetNs)
        }
        switch outcome {
        case .waiting: return nil
        case .answered(let decision):
            questions.remove(question)
            return .decision(decision)
        case .overloaded(let cause):
            questions.remove(question)
            return .busy(cause.advice)
        case .mustReserve, .otherArguments:
            questions.remove(question)
            return .busy(Busy.waiting.advice)
        }
    }

    func complete(_ number: UInt32, _ answer: Limiter.Completion.Answer) {
        guard let question = questions.remove(number) ?? nil else { return }
        let gatewayAnswer: GatewayAnswer =
            switch answer {
            case .decision(let decision): .decision(decision)
            case .overloaded(let cause): .busy(cause.advice)
            case .otherArguments, .settled, .notSettled, .storeUnavailable, .cleared, .overridden:
                .busy(Busy.waiting.advice)
            }
        calls[question.call]?.take(gatewayAnswer, at: question.check)
        concludeIfAnswered(question.call)
    }

    func flushCompleted() {
        handler?.flush()
        account()
    }

    private func concludeIfAnswered(_ number: UInt32) {
        guard let pending = calls[number], pending.isAnswered else { return }
        calls.remove(number)
        if !pending.isAbandoned { waiting[pending.stream] = nil }
        settle(pending)
        if !pending.isAbandoned { answer(pending) }
    }

    /// All or nothing: what was reserved is kept if everything was admitted, else given back.
    private func settle(_ pending: PendingCall) {
        guard pending.checks.count > 1 else { return }
        let isKept = pending.isAdmitted && !pending.isAbandoned
        for (check, answer) in zip(pending.checks, pending.answers) {
            guard case .decision(let decision)? = answer, let id = decision.reservation, !id.isEmpty else { continue }
            let question = questions.insert(nil)
            let outcome = host.settle(check, reservation: id, isKept: isKept, slot: slot, number: question)
            if case .waiting = outcome { continue }
            questions.remove(question)
        }
    }

    private func answer(_ pending: PendingCall) {
        let answers = pending.answers.compactMap(\.self)
        switch pending.kind {
        case .authorization(let authorization):
            guard let answer = answers.first else { return }
            respond(pending.stream, authorization.response(to: answer))
        case .rateLimit(let exchange):
            do throws(RateLimitExchange.Fault) {
                respond(pending.stream, try exchange.response(to: answers))
            } catch {
                handler?.fail(stream: pending.stream, GRPCStatus(.unavailable, error.message))
            }
        }
    }

    private func respond(_ stream: Int, _ message: some SwiftProtobuf.Message) {
        handler?.respond(stream: stream, Self.framed(message))
    }

    private func respond(_ stream: Int, _ message: [UInt8]) {
        handler?.respond(stream: stream, GRPCStreams.framed(message))
    }

    private static func framed(_ message: some SwiftProtobuf.Message) -> ByteBuffer {
        // Serializing fails only for required fields, which these messages do not have.
        let bytes: [UInt8] = (try? message.serializedBytes()) ?? []
        return GRPCStreams.framed(bytes)
    }
}
