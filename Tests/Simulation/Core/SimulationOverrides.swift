import StoreModel
import SluicePolicy

@testable import SluiceEngine

/// An operator who overrides maxima of single grants for a time. Only for some seeds with plain limits and a clock that does
/// not step.
struct SimulationOverrides {
    var random: SeededRandom
    /// Tickets of changes without an answer.
    var open: Set<UInt64> = []
    /// Every maximum that was asked for, by grant and rule.
    var maxima: [String: Set<Int64>] = [:]
    /// The store's list, and when it was first seen to be another one than before.
    var list: ModelStore.Value?
    var changedNs: Int64 = 0
    /// By replica, when it was last seen not to count in the store, or not to hear of changes.
    var unsteadyNs: [Int64]

    /// So much later the run ends.
    static let extraNs: Int64 = 2_000_000_000
    /// A replica that is connected and listens knows of a change by then, once the faults have ended. Before that its feed may
    /// be dead for a while without its knowledge.
    static let lagNs: Int64 = 300_000_000
    static let longLagNs: Int64 = 3_500_000_000
    /// How far a replica's clock may be from the store's, ms.
    static let clockMs: Int64 = 100

    init?(seed: UInt64, _ scenario: SimulationScenario) {
        guard seed % 6 == 4, !scenario.isMixed, !scenario.stepsClock, scenario.table == nil, !scenario.isLeased else {
            return nil
        }
        random = SeededRandom(seed: seed ^ 0x0F0F)
        unsteadyNs = [Int64](repeating: 0, count: scenario.replicas)
    }

    static func name(_ grant: String, _ rule: String) -> String { "\(grant) \(rule)" }

    /// When changes are made.
    mutating func times(_ scenario: SimulationScenario) -> [Int64] {
        let calmNs = scenario.course == .healing ? SimulationScenario.healedNs : 200_000_000
        let early = (0..<3).map { _ in Int64.random(in: 100_000_000...SimulationScenario.calmNs, using: &random) }
        let late = (0..<5).map { _ in
            Int64.random(in: calmNs...max(calmNs, scenario.endNs - 500_000_000), using: &random)
        }
        return early + late
    }
}

extension Simulation {
    mutating func override(_ replica: Int) throws {
        guard var overrides else { return }
        defer { self.overrides = overrides }
        let limits = limits(of: scenario.tools.randomElement(using: &overrides.random) ?? "t").filter(\.mayBeOverridden)
        guard let limit = limits.randomElement(using: &overrides.random) else { return }
        let grant = Bool.random(using: &overrides.random) ? "g" : "h"
        let highest = (scenario.costs.max() ?? 1) + limit.max * 2
        let maxima: [Int64] = [limit.max * 2, limit.max + 1, Swift.max(1, limit.max / 2), highest]
        let max = Swift.min(limit.maxRange.upperBound, maxima.randomElement(using: &overrides.random) ?? 1)
        let lengths: [Int64] = [0, 300, 700, 1_500, 4_000]
        let forMs: Int64 = lengths.randomElement(using: &overrides.random) ?? 300
        lastTicket += 1
        let outcome = replicas[replica].limiter.override(
            OverrideChange(grant: grant, rule: limit.rule, max: max, forMs: forMs),
            ticket: Ticket(rawValue: lastTicket), now: moment(replica))
        switch outcome {
        case .waiting:
            overrides.maxima[SimulationOverrides.name(grant, limit.rule), default: []].insert(max)
            overrides.open.insert(lastTicket)
        case .storeUnavailable: coverage.add(.overrideRefused)
        case .answered, .overloaded: throw SimulationFailure(description: "\(outcome)")
        }
        // `pump` changes the same field.
        self.overrides = overrides
        try pump(replica)
        overrides = self.overrides ?? overrides
    }

    /// - Parameter outcome: nil if it is not known whether it was made.
    /// - Returns: whether the ticket was that of an override.
    mutating func overridden(_ ticket: UInt64, _ outcome: OverrideOutcome?) throws -> Bool {
        guard overrides?.open.remove(ticket) != nil else { return false }
        switch outcome {
        case .done?: coverage.add(.overridden)
        case .notFound?, nil: break
        case .full?, .fault?: throw SimulationFailure(description: "an override fails: \(String(describing: outcome))")
        }
        return true
    }

    /// A replica's state may have changed.
    mutating func noteSteadiness(of replica: Int) {
        guard overrides != nil else { return }
        let isSteady = replicas[replica].limiter.link.isClosed && replicas[replica].limiter.hearsChanges
        if !isSteady { overrides?.unsteadyNs[replica] = nowNs }
    }

    /// A check was decided under a maximum that may hold: exactly the one that does, if its replica must know. The question
    /// is judged by it from here on.
    mutating func judgeOverrides(_ question: SimulationOracle.Question, _ decision: Decision) throws {
        guard var overrides else { return }
        defer { self.overrides = overrides }
        let list = store.value(of: KeySpace("sluice").overrides)
        if list != overrides.list {
            overrides.list = list
            overrides.changedNs = nowNs
        }
        noteSteadiness(of: question.replica)
        overrides.unsteadyNs = self.overrides?.unsteadyNs ?? overrides.unsteadyNs
        let isHealed = scenario.course == .healing && nowNs > SimulationScenario.healedNs
        let sinceNs = max(overrides.changedNs, overrides.unsteadyNs[question.replica])
        let lagNs = isHealed ? SimulationOverrides.lagNs : SimulationOverrides.longLagNs
        let mustKnow = question.askedNs - sinceNs > lagNs
        for (index, look) in (decision.trace ?? []).enumerated() where index < question.limits.count {
            let limit = question.limits[index]
            let name = SimulationOverrides.name(question.grant, limit.rule)
            guard look.max == limit.max || overrides.maxima[name]?.contains(look.max) == true else {
                throw SimulationFailure(description: "\(look.max) is no maximum of \(name): \(decision)")
            }
            if mustKnow, let max = maximum(of: limit, grant: question.grant, list) {
                guard look.max == max else {
                    throw SimulationFailure(
                        description: "replica \(question.replica) decides by \(look.max) instead of \(max) of \(name): "
                            + "\(decision)")
                }
                coverage.add(max == limit.max ? .judgedNoOverride : .judgedOverride)
            }
            question.limits[index] = [limit].with(maxima: [limit.rule: look.max])[0]
        }
    }

    /// The maximum that holds; nil if an override ends about now.
    private func maximum(of limit: Limit, grant: String, _ list: ModelStore.Value?) -> Int64? {
        guard case .text(let text)? = list else { return limit.max }
        let listed = Override.list(text.split(separator: " ").dropFirst().joined(separator: " "))
        guard let own = listed.first(where: { $0.grant == grant && $0.rule == limit.rule }) else { return limit.max }
        let nowMs = Self.startMs + nowNs / 1_000_000 + storeStepMs
        if abs(own.untilMs - nowMs) <= SimulationOverrides.clockMs { return nil }
        return own.untilMs > nowMs ? own.max : limit.max
    }
}
