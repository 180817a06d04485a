import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// Checks with every option of a gateway, and settlements.
extension LimiterRig {
    typealias Question = CheckQuestion

    mutating func ask(_ question: Question) -> Asked {
        var extras: CheckOptions?
        if !question.isPeek, question.reserves || question.id != nil || question.action != .check {
            extras = CheckOptions(
                reservation: question.reserves ? ReservationID(using: &random) : nil,
                id: question.id.map { Array($0.utf8) }, argumentsHash: question.id == nil ? 0 : question.argumentsHash,
                action: question.action)
        }
        let ticket = nextTicket()
        let outcome = limiter.check(
            question.identity(limiter.counted), cost: question.cost, isPeek: question.isPeek,
            wantsTrace: question.wantsTrace, extras: extras, ticket: Ticket(rawValue: ticket), now: now)
        return switch outcome {
        case .answered(let decision): .answered(decision)
        case .waiting: .waiting(ticket)
        case .overloaded(let cause): .overloaded(cause)
        case .mustReserve: .mustReserve
        case .otherArguments: .otherArguments
        }
    }

    /// As `ask`, by the store if needed.
    mutating func askToTheEnd(_ question: Question) -> Asked {
        let asked = ask(question)
        guard case .waiting(let ticket) = asked else { return asked }
        exchange()
        if otherArguments.contains(ticket) { return .otherArguments }
        if let cause = busy[ticket] { return .overloaded(cause) }
        guard let decision = answers[ticket] else { preconditionFailure("no answer") }
        return .answered(decision)
    }

    mutating func decide(_ question: Question) -> Decision {
        let asked = askToTheEnd(question)
        guard case .answered(let decision) = asked else { preconditionFailure("\(asked)") }
        return decision
    }

    mutating func wait(_ question: Question) -> UInt64 {
        let asked = ask(question)
        guard case .waiting(let ticket) = asked else { preconditionFailure("it does not wait: \(asked)") }
        return ticket
    }

    mutating func reserve(_ tool: String = "t", grant: String = "g", cost: Int64 = 1, id: String? = nil) -> Decision {
        decide(Question(tool: tool, grant: grant, cost: cost, reserves: true, id: id))
    }

    enum Settled: Equatable {
        case answered(Bool)
        case waiting(UInt64)
        case overloaded
        case notSettled(Limiter.SettleFault)
        case storeUnavailable
    }

    mutating func askToSettle(
        _ reservation: String, _ settlement: Batch.Settlement, grant: String = "g"
    ) -> Settled {
        let ticket = nextTicket()
        let outcome = limiter.settle(
            grant: Array(grant.utf8), reservation: reservation.utf8, settlement, ticket: Ticket(rawValue: ticket),
            now: now)
        return switch outcome {
        case .answered(let done): .answered(done)
        case .waiting: .waiting(ticket)
        case .overloaded: .overloaded
        case .notSettled(let fault): .notSettled(fault)
        case .storeUnavailable: .storeUnavailable
        }
    }

    /// As `askToSettle`, by the store if needed; nil if the store is unavailable, or the settlement was rejected.
    mutating func settle(_ reservation: String, _ settlement: Batch.Settlement, grant: String = "g") -> Bool? {
        switch settleToTheEnd(reservation, settlement, grant: grant) {
        case .answered(let done): done
        case .storeUnavailable, .notSettled, .waiting: nil
        case .overloaded: preconditionFailure("overloaded")
        }
    }

    /// As `askToSettle`, by the store if needed.
    mutating func settleToTheEnd(
        _ reservation: String, _ settlement: Batch.Settlement, grant: String = "g"
    ) -> Settled {
        let outcome = askToSettle(reservation, settlement, grant: grant)
        // There may be something to send to the store.
        if case .answered = outcome, limiter.isShared { exchange() }
        guard case .waiting(let ticket) = outcome else { return outcome }
        exchange()
        if let fault = notSettled[ticket] { return .notSettled(fault) }
        return (settled[ticket] ?? nil).map { .answered($0) } ?? .storeUnavailable
    }

    /// The store is lost at once and for the rest of the test.
    mutating func lose() {
        close("gone")
        _ = limiter.takeNotices()
    }
}
