import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// An operator who clears what gateways have charged: see `SimulationAccounts`.
extension Simulation {
    private var spentKey: [UInt8] {
        let longMs = SimulationOracle.longWindowMs
        return CounterKey.key(
            Self.baseKey(SimulationAccounts.spent), window: SimulationAccounts.spent.window,
            startMs: store.clockMs - store.clockMs % longMs)
    }

    /// What clears took, answered or not.
    var clearedUnits: Int64 { store.clearedUnits[spentKey] ?? 0 }

    mutating func clear(_ replica: Int) throws {
        guard let key = CounterKey(spentKey, in: "sluice") else {
            throw SimulationFailure(description: "no key of a counter")
        }
        lastTicket += 1
        let outcome = replicas[replica].limiter.clear([key], ticket: Ticket(rawValue: lastTicket), now: moment(replica))
        switch outcome {
        case .waiting: accounts?.clearing.insert(lastTicket)
        case .storeUnavailable: coverage.add(.clearRefused)
        case .cleared, .overloaded: throw SimulationFailure(description: "\(outcome)")
        }
        try pump(replica)
    }

    /// - Parameter counters: nil if it is not known whether they were cleared.
    /// - Returns: whether the ticket was that of a clear.
    mutating func cleared(_ ticket: UInt64, _ counters: [CounterClearing]?) throws -> Bool {
        guard accounts?.clearing.remove(ticket) != nil else { return false }
        guard let counters else { return true }
        guard case .held(let held)? = counters.first?.outcome, counters.count == 1 else {
            throw SimulationFailure(description: "a clear is answered \(counters)")
        }
        if held > 0 { coverage.add(.cleared) }
        if nowNs >= scenario.endNs - SimulationAccounts.lastClearNs {
            accounts?.hearers = replicas.indices.filter { replicas[$0].limiter.hearsChanges }
        }
        return true
    }

    /// After the last clear nothing was charged: neither the store nor what a replica would restore or share has anything.
    mutating func judgeCleared(_ spent: Int64) throws {
        guard let hearers = accounts?.hearers else { return }
        guard spent == 0 else { throw SimulationFailure(description: "\(spent) stored after a clear") }
        for index in hearers {
            let table = replicas[index].limiter.table
            guard let counter = table.counter(named: ByteString(bytes: Self.baseKey(SimulationAccounts.spent))) else {
                continue
            }
            guard !table[counter].isCleared, table[counter].sharedUsed == 0 else {
                throw SimulationFailure(
                    description: "replica \(index) still counts \(table[counter].sharedUsed) after a clear")
            }
        }
        coverage.add(.judgedClear)
    }
}
