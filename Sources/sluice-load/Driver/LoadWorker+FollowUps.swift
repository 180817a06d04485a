import SluiceEngine

/// What follows on answers: settlements of reservations, and refunds of charges.
extension LoadWorker {
    /// The settlement of the reservation in an answer; nil if there was none.
    func settlement(of answered: RequestPipeline.Answered) -> Settlement? {
        guard case .decision(_, let source, let trace, let reservation?) = answered.answer, let check = answered.check
        else { return nil }
        let cost = settings.kinds[Int(check.target.kind)].cost
        let isCancelled = Double(random.next() >> 11) * 0x1p-53 < settings.reservations.cancelShare
        let committed = settings.reservations.committedCost ?? Int64.random(in: 1...cost, using: &random)
        return Settlement(
            target: check.target, reservation: reservation, cost: cost, committedCost: isCancelled ? nil : committed,
            source: source, trace: trace)
    }

    /// Gives back some of the charges that were answered.
    func refund(_ answered: borrowing [RequestPipeline.Answered], lane: Int) {
        guard let connection = lanes[lane].connection else { return }
        let nowNs = Clock.nowNs()
        for index in answered.indices {
            guard case .decision = answered[index].answer, let check = answered[index].check, check.refund == nil,
                settings.kinds[Int(check.target.kind)].charges,
                Double(random.next() >> 11) * 0x1p-53 < settings.refundShare
            else { continue }
            let refund = Refund(
                target: check.target,
                cost: Int64.random(in: 1...settings.kinds[Int(check.target.kind)].cost, using: &random),
                chargeSentNs: check.sentNs)
            oracle?.withOracle {
                $0.refunding(refund, subject: settings.subject(of: check.target), nowNs: nowNs)
            }
            connection.pipeline.refund(refund, nowNs: nowNs)
        }
    }
}
