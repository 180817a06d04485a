/// The settlement of a reservation that several partitions may have a part of: each is asked, and those without one
/// answer that they know none.
struct CrossPartitionSettlement {
    let ticket: Ticket
    private let partCount: Int
    private var answeredCount = 0
    private var isDone = false
    private var fault: Limiter.SettleFault?
    private var isBusy = false
    private var isUnavailable = false

    init(ticket: Ticket, partCount: Int) {
        self.ticket = ticket
        self.partCount = partCount
    }

    /// - Parameter outcome: not `waiting`.
    mutating func answered(_ outcome: Limiter.SettleOutcome) {
        answeredCount += 1
        switch outcome {
        case .answered(let done): isDone = isDone || done
        case .overloaded: isBusy = true
        case .notSettled(let fault): self.fault = fault
        case .storeUnavailable: isUnavailable = true
        case .waiting: preconditionFailure("an answer is none to wait for")
        }
    }

    /// What all of them mean; `waiting` until each has answered. If one could not, the gateway asks again: those that
    /// were settled then answer that there is nothing left, and the settlement counts as done.
    var outcome: Limiter.SettleOutcome {
        if answeredCount < partCount { return .waiting }
        if let fault { return .notSettled(fault) }
        if isUnavailable { return .storeUnavailable }
        if isBusy { return .overloaded }
        return .answered(isDone)
    }
}
