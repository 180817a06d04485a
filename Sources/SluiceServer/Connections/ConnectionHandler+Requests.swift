import NIOCore
import SluiceEngine
import SluiceProtocol

/// The requests that are not plain checks.
extension ConnectionHandler {
    func take(_ request: Request, now: ClockReading) {
        do throws(RequestError) {
            switch request {
            case .check: break
            case .charge(let check): account(check, .charge, now: now)
            case .refund(let check): account(check, .refund, now: now)
            case .connection(let request): take(request)
            case .explain(let check): try explain(check, now: now)
            case .operators(let request): try take(request)
            case .settle(let request): try take(request, now: now)
            case .throttle(let request): try take(request, now: now)
            }
        } catch {
            reject(error)
        }
    }

    private func take(_ request: ThrottleRequest, now: ClockReading) throws(RequestError) {
        guard host.answersThrottle else { throw .throttleIsOff }
        guard let throttle = host.throttle(request, in: input) else {
            throw RequestError(
                .badArgument,
                "these numbers are too large to be counted exactly, send max_burst and count_per_period below 10^12,"
                    + " at most 2^53 times the period in ms, and at most 366 days")
        }
        let form: ThrottleForm =
            request.quantity == 0 ? .look : request.quantity > throttle.burst ? .never : .plain
        let writer = writer
        let outcome = host.check(
            throttle, cost: form == .plain ? request.quantity : 1, isPeek: form != .plain, slot: slot,
            number: queue.nextNumber, now: now)
        switch outcome {
        case .answered(let decision): queue.append(decision, writer, .throttle(form), to: &output)
        case .waiting: queue.reserve(writer, .throttle(form))
        case .overloaded(let cause): throw .busy(cause)
        case .mustReserve, .otherArguments: throw .busy(.waiting)
        }
    }

    private func account(_ check: CheckRequest, _ action: CheckAction, now: ClockReading) {
        host.gather(check, action, in: input)
        decideGathered(now: now)
    }

    private func take(_ request: SettleRequest, now: ClockReading) throws(RequestError) {
        let writer = writer
        switch host.settle(request, in: input, slot: slot, number: queue.nextNumber, now: now) {
        case .answered(let done):
            reply { writer.writeInteger(done ? 1 : 0, to: &$0) }
        case .waiting:
            queue.reserve(writer)
        case .overloaded:
            throw .busy(.waiting)
        case .notSettled(let fault):
            throw .notSettled(fault)
        case .storeUnavailable:
            throw .storeUnavailable
        }
    }

    func take(_ request: ConnectionRequest) {
        var disposition = ConnectionSession.Disposition.goOn
        reply { disposition = session.answer(request, in: input, to: &$0) }
        writer = session.writer
        if disposition == .closeAfterReply { finish() }
    }

    private func explain(_ check: CheckRequest, now: ClockReading) throws(RequestError) {
        guard isOperator else { throw .forOperators }
        work += ServerBounds.workPerReport
        let form = ReplyQueue.Form.explanation(
            of: ExplainedCheck(
                grant: input.string(ofArgument: check.grant), tool: input.string(ofArgument: check.tool),
                server: check.server.map { input.string(ofArgument: $0) }, namesSession: check.session != nil,
                attributes: check.attributes.map { input.string(ofArgument: $0.name) }, cost: check.cost,
                policies: host.limiter.policies,
                overrides: host.limiter.overrides(ofGrant: input.string(ofArgument: check.grant), now: now)))
        var traced = check
        traced.trace = true
        host.gather(traced, in: input)
        decideGathered(now: now, form)
    }

    private func take(_ request: OperatorRequest) throws(RequestError) {
        guard isOperator || operators.isOpenToAll(request) else { throw .forOperators }
        if case .tail(let request) = request { return try listen(request) }
        if case .info = request { work += ServerBounds.workPerReport } else { work += ServerBounds.workPerListing }
        let number = queue.nextNumber
        queue.reserve(writer)
        awaitsReport = true
        operators.answer(request, of: operatorPeer) { [self] write in
            awaitsReport = false
            guard phase != .closed else { return }
            // An awaited answer arrives at another socket.
            host.openTurn()
            let before = output.readableBytes
            queue.fill(number, to: &output, write: write)
            host.add(work: (output.readableBytes - before) / ServerBounds.replyBytesPerWork)
            advance()
        }
    }

    private func listen(_ request: TailRequest) throws(RequestError) {
        guard let listener = host.listen(request, whenReady: { [weak self] in self?.advance() }) else {
            throw .tooManyTails
        }
        self.listener = listener
        reply { writer.writeOK(to: &$0) }
        // A peer that has closed its sending side, and one that comes during a drain, gets no stream.
        phase = phase == .open ? .listening : .finishing
        input.clear()
        host.eventLoop.assumeIsolated().execute { [weak self] in self?.advance() }
    }
}
