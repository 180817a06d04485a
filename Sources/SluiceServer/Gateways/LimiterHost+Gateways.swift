import NIOCore
import SluiceEngine
import SluiceEnvoy
import SluiceProtocol

extension LimiterHost {
    /// Asks the limiter for a gateway; a waiting check is answered later to the connection in `slot`, under `number`.
    ///
    /// - Parameters:
    ///   - reserves: whether the check may have to be given back.
    ///   - budgetNs: how long it may take from when its bytes could be read; at most the limiter's own budget.
    func ask(
        _ check: GatewayCheck, reserves: Bool, slot: Int, number: UInt32, budgetNs: Int64
    ) -> Limiter.CheckOutcome {
        var now = SystemClock.now()
        now.waitedNs = max(0, now.monotonicNs - turns.readableNs)
        // The limiter waits for the store for three quarters of its own budget. A shorter one is passed as time that has
        // already passed.
        let ownNs = limiter.configuration.budgetMs * 1_000_000
        now.waitedNs += max(0, ownNs - budgetNs) / 4 * 3
        switch check.subject {
        case .call(let call):
            return ask(call, check, reserves: reserves, slot: slot, number: number, now: now)
        case .ownLimit(let key, let max, let windowSeconds):
            guard let limit = Throttle(key: Array(key.utf8), max: max, windowSeconds: windowSeconds) else {
                return .overloaded(.throttle)
            }
            return self.check(
                limit, cost: check.cost, isPeek: check.kind == .look, reserves: reserves, slot: slot, number: number,
                now: now)
        }
    }

    private func ask(
        _ call: GatewayCheck.Call, _ check: GatewayCheck, reserves: Bool, slot: Int, number: UInt32, now: ClockReading
    ) -> Limiter.CheckOutcome {
        var input = ByteBuffer()
        func range(_ text: String) -> Range<Int> {
            let start = input.readableBytes
            return start..<start + input.writeString(text)
        }
        var request = CheckRequest(grant: range(call.grant), tool: range(call.tool))
        request.server = call.server.map(range)
        request.session = call.session.map(range)
        request.attributes = call.attributes.map {
            CheckRequest.Attribute(name: range($0.name), value: range($0.value))
        }
        request.cost = check.cost
        request.isPeek = check.kind == .look
        request.reserve = reserves
        var outcome = Limiter.CheckOutcome.overloaded(.waiting)
        let action: CheckAction =
            switch check.kind {
            case .check, .look: .check
            case .charge: .charge
            case .refund: .refund
            }
        gather(request, action, in: input)
        decideGathered(slot: slot, now: now, next: { number }) { outcome = $0 }
        return outcome
    }

    /// Settles a reservation of `ask`; the completion says whether that was done, under `number`.
    func settle(
        _ check: GatewayCheck, reservation: String, isKept: Bool, slot: Int, number: UInt32
    ) -> Limiter.SettleOutcome {
        var input = ByteBuffer()
        let grant: Range<Int>
        switch check.subject {
        case .call(let call): grant = 0..<input.writeString(call.grant)
        case .ownLimit: grant = 0..<input.writeBytes(Throttle.owner)
        }
        let id = grant.upperBound..<grant.upperBound + input.writeString(reservation)
        return settle(
            SettleRequest(action: isKept ? .commit(cost: check.cost) : .cancel, grant: grant, reservation: id),
            in: input, slot: slot, number: number, now: SystemClock.now())
    }
}
