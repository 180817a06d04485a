import SluiceDecisionLog
import SluiceEngine
import SluicePolicy
import SluiceProtocol

/// Decides recorded calls again, at their own times, by other policies: with the engine itself, which keeps its counters alone.
///
/// Every recorded call is asked again, also one that a retry follows because it was denied then, and none is asked that was
/// not made because of a denial.
struct PolicyReplay {
    private var limiter: Limiter
    private var identity = Identity()
    private var random = ReplayNumbers()
    /// The reservations that calls have here, by those that they had then.
    private var reservations: [[UInt8]: String] = [:]
    private let firstMs: Int64
    private var lastMs: Int64
    private var nextTickNs: Int64 = 0
    private(set) var outcome = ReplayOutcome()

    /// Reservations that are remembered for their settlement; later ones then keep their whole cost.
    private static let maxReservations = 1_000_000
    /// The sidecar has as many for one replica; a log may be of several.
    private static let maxIdentities = 8 << 20

    /// - Parameter firstMs: the time of the first record, ms since 1970.
    init(_ policies: PolicySet, firstMs: Int64) {
        var configuration = LimiterConfiguration(
            keys: KeySpace(prefix: "replay"), budgetMs: 20, replicas: ReplicaView(own: 1, assumed: 1), usesStore: false,
            seed: 0)
        configuration.maxPlans = Self.maxIdentities
        configuration.grantParts = 1
        let now = ClockReading(monotonicNs: 0, wallMs: firstMs)
        limiter = Limiter(configuration: configuration, policies: policies, now: now)
        self.firstMs = firstMs
        lastMs = firstMs
    }

    /// Decides one recorded call again. Records come in the order of time; an earlier one is taken for one of the last time.
    mutating func replay(_ record: DecisionLogRecord, _ kind: DecisionLogRecord.Kind, in bytes: [UInt8]) {
        lastMs = max(lastMs, record.timeMs)
        let now = ClockReading(monotonicNs: (lastMs - firstMs) * 1_000_000, wallMs: lastMs)
        if now.monotonicNs >= nextTickNs {
            limiter.tick(now: now)
            _ = limiter.takeNotices()
            nextTickNs = limiter.nextTickNs()
        }
        if kind == .settlement { return settle(record, in: bytes, now: now) }
        fill(record, in: bytes)
        outcome.count(record, decide(record, in: bytes, now: now), in: bytes, atMs: lastMs)
    }

    private mutating func fill(_ record: DecisionLogRecord, in bytes: [UInt8]) {
        let span = bytes.span
        identity.fill(
            grant: span.extracting(record.grant), tool: span.extracting(record.tool), approved: record.isApproved)
        if let server = record.server, limiter.counted.servers { identity.append(server: span.extracting(server)) }
        if let session = record.session, limiter.counted.sessions { identity.append(session: span.extracting(session)) }
        if record.attributes.isEmpty { return }
        for name in limiter.counted.attributes {
            for attribute in record.attributes where bytes[attribute.name].elementsEqual(name) {
                identity.append(
                    attribute: span.extracting(attribute.name), value: span.extracting(attribute.value))
            }
        }
    }

    /// nil: the tables are full, or its id was used with other arguments.
    private mutating func decide(_ record: DecisionLogRecord, in bytes: [UInt8], now: ClockReading) -> Decision? {
        let action: CheckAction =
            switch record.action {
            case .charge: .charge
            case .refund: .refund
            default: .check
            }
        let isPeek = record.action == .peek
        var options: CheckOptions?
        if record.reserves || record.id != nil || action != .check {
            options = CheckOptions(
                reservation: record.reserves ? ReservationID(using: &random) : nil,
                id: record.id.map { Array(bytes[$0]) },
                argumentsHash: 0, action: action)
        }
        var answer = ask(record, isPeek: isPeek, options, now: now)
        if case .mustReserve = answer {
            options = CheckOptions(reservation: ReservationID(using: &random), id: nil, argumentsHash: 0)
            answer = ask(record, isPeek: isPeek, options, now: now)
        }
        guard case .answered(let decision) = answer else { return nil }
        if let then = record.reservation, let here = decision.reservation, !here.isEmpty,
            reservations.count < Self.maxReservations
        {
            reservations[Array(bytes[then])] = here
        }
        return decision
    }

    private mutating func ask(
        _ record: DecisionLogRecord, isPeek: Bool, _ options: CheckOptions?, now: ClockReading
    ) -> Limiter.CheckOutcome {
        limiter.check(
            identity, cost: record.cost, isPeek: isPeek, wantsTrace: false, extras: options,
            ticket: Ticket(rawValue: 0),
            now: now)
    }

    private mutating func settle(_ record: DecisionLogRecord, in bytes: [UInt8], now: ClockReading) {
        guard record.isDone, let reservation = record.reservation,
            let here = reservations.removeValue(forKey: Array(bytes[reservation]))
        else { return }
        let settlement: Batch.Settlement =
            switch record.action {
            case .commit: .commit(cost: record.cost)
            case .release: .release
            default: .cancel
            }
        _ = limiter.settle(
            grant: Array(bytes[record.grant]), reservation: here.utf8, settlement, ticket: Ticket(rawValue: 0), now: now
        )
        outcome.settlements += 1
    }
}

/// Ids of reservations within a replay, which need no secret: two replays of one log are equal.
private struct ReplayNumbers: RandomNumberGenerator {
    private var last: UInt64 = 0

    mutating func next() -> UInt64 {
        last += 1
        return last
    }
}
