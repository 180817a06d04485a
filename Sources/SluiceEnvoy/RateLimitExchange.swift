import FoundationEssentials
import SluiceEngine
import SluicePolicy
import SluiceProtocol
import SwiftProtobuf

/// One request of Envoy's rate limit filter, or of a client of its service: what to ask for it, and what to answer.
package struct RateLimitExchange {
    /// Why a request is wrong; the sentence says what to send.
    package struct Fault: Error, Equatable {
        package let message: String
    }

    package enum Purpose: Sendable {
        /// Charges what fits.
        case decide
        /// Only looks, whatever the request adds.
        case look
        /// Charges, whatever the maximum says.
        case report
    }

    private enum Slot {
        /// Nothing is asked for this descriptor.
        case known(Decision?)
        case asked(ownLimit: OwnLimit?)
    }

    private struct OwnLimit {
        var requestsPerUnit: UInt32
        var unit: Envoy_Type_V3_RateLimitUnit
        var multiplier: UInt32?
    }

    /// In the order of descriptors, for those that ask.
    package private(set) var checks: [GatewayCheck] = []
    private var slots: [Slot] = []
    private let domain: Gateways.Domain
    private let headers: Gateways.RateLimitHeaders
    private var id: String?

    package init(
        _ request: Envoy_Service_Ratelimit_V3_RateLimitRequest, for purpose: Purpose = .decide, _ gateways: Gateways
    ) throws(Fault) {
        headers = gateways.headers
        guard !request.domain.isEmpty else { throw Fault(message: "the domain is empty, name one") }
        guard (1...EnvoyBounds.maxDescriptors).contains(request.descriptors.count) else {
            throw Fault(
                message: "there are \(request.descriptors.count) descriptors, send 1 to \(EnvoyBounds.maxDescriptors)")
        }
        let known = gateways.domain(request.domain)
        domain = known ?? .standard
        for descriptor in request.descriptors {
            guard known != nil else {
                slots.append(.known(nil))
                continue
            }
            try add(descriptor, of: request, for: purpose)
        }
    }

    private mutating func add(
        _ descriptor: Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor,
        of request: Envoy_Service_Ratelimit_V3_RateLimitRequest, for purpose: Purpose
    ) throws(Fault) {
        guard descriptor.entries.count <= EnvoyBounds.maxEntries else {
            throw Fault(message: "a descriptor has more than \(EnvoyBounds.maxEntries) entries, send fewer")
        }
        let (kind, cost) = try addend(descriptor, of: request, for: purpose)
        if descriptor.hasLimit {
            let (subject, own) = try ownLimit(descriptor, of: request.domain)
            checks.append(GatewayCheck(subject: subject, kind: kind, cost: cost))
            slots.append(.asked(ownLimit: own))
            return
        }
        var question = GatewayCheck.Call(grant: "", tool: "")
        for entry in descriptor.entries where !entry.value.isEmpty {
            switch domain.roles[entry.key] {
            case .grant?: question.grant = try name(entry)
            case .tool?: question.tool = try name(entry)
            case .server?: question.server = try name(entry)
            case .session?: question.session = try name(entry)
            case .id?: id = entry.value
            case nil where domain.attributes?.contains(entry.key) ?? true:
                let attribute = GatewayCheck.Attribute(name: entry.key, value: try name(entry))
                question.attributes.removeAll { $0.name == entry.key }
                guard GatewayCheck.isName(entry.key), question.attributes.count < ProtocolBounds.maxAttributes else {
                    throw Fault(
                        message: "a descriptor has more than \(ProtocolBounds.maxAttributes) attributes, send fewer")
                }
                question.attributes.append(attribute)
            case nil: break
            }
        }
        if question.grant.isEmpty {
            return slots.append(
                .known(
                    domain.missingGrant == .allow
                        ? nil
                        : .denial(rule: "(no grant)", message: "This request carries no grant, so no call is allowed.")
                ))
        }
        if question.tool.isEmpty {
            switch domain.missingTool {
            case .domain: question.tool = request.domain
            case .allow: return slots.append(.known(nil))
            case .deny:
                return slots.append(
                    .known(.denial(rule: "(no tool)", message: "This request names no tool, so it is not allowed.")))
            }
        } else {
            question.tool = domain.toolPrefix + question.tool
        }
        guard GatewayCheck.isName(question.tool) else { throw Self.badName("a tool") }
        checks.append(GatewayCheck(subject: .call(question), kind: kind, cost: cost))
        slots.append(.asked(ownLimit: nil))
    }

    private func name(_ entry: Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor.Entry) throws(Fault) -> String {
        guard GatewayCheck.isName(entry.value) else { throw Self.badName("the value of \(entry.key.quoted)") }
        return entry.value
    }

    private static func badName(_ what: String) -> Fault {
        Fault(message: "\(what) is no name, send 1 to \(ProtocolBounds.maxNameBytes) bytes without NUL")
    }

    private func addend(
        _ descriptor: Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor,
        of request: Envoy_Service_Ratelimit_V3_RateLimitRequest, for purpose: Purpose
    ) throws(Fault) -> (GatewayCheck.Kind, Int64) {
        let own = descriptor.hasHitsAddend ? descriptor.hitsAddend.value : nil
        let hits = own ?? UInt64(max(1, request.hitsAddend))
        guard hits <= UInt64(ProtocolBounds.maxCost) else {
            throw Fault(message: "hits_addend is \(hits), send at most \(ProtocolBounds.maxCost)")
        }
        // A look asks whether anything is left: whether a check of 1 would pass.
        if purpose == .look || hits == 0 { return (.look, 1) }
        if descriptor.isNegativeHits { return (.refund, Int64(hits)) }
        return (purpose == .report || domain.charges == .always ? .charge : .check, Int64(hits))
    }

    private static let secondsPerUnit: [Envoy_Type_V3_RateLimitUnit: Int64] = [
        .second: 1, .minute: 60, .hour: 3_600, .day: 86_400, .month: 30 * 86_400, .year: 365 * 86_400,
    ]

    /// A limit that the descriptor brings along counts for its domain and all of its entries.
    private func ownLimit(
        _ descriptor: Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor, of domain: String
    ) throws(Fault) -> (GatewayCheck.Subject, OwnLimit) {
        let limit = descriptor.limit
        let multiplier = limit.hasUnitMultiplier ? limit.unitMultiplier.value : nil
        guard let unit = Self.secondsPerUnit[limit.unit] else {
            throw Fault(message: "the limit of a descriptor has no unit, send SECOND, MINUTE, HOUR, DAY, MONTH or YEAR")
        }
        let windowSeconds = unit * Int64(multiplier ?? 1)
        guard (1...EnvoyBounds.maxWindowSeconds).contains(windowSeconds) else {
            throw Fault(message: "the limit of a descriptor has a window over 366 days, send a shorter one")
        }
        // Lengths go before names, so that different descriptors never have the same key.
        let parts = [domain] + descriptor.entries.flatMap { [$0.key, $0.value] }
        let key = parts.map { "\($0.utf8.count):\($0)" }.joined()
        guard key.utf8.count <= Self.maxKeyBytes, !key.utf8.contains(0) else {
            throw Fault(message: "a descriptor with a limit of its own is too long, send fewer or shorter entries")
        }
        return (
            .ownLimit(key: key, max: Int64(limit.requestsPerUnit), windowSeconds: windowSeconds),
            OwnLimit(requestsPerUnit: limit.requestsPerUnit, unit: limit.unit, multiplier: multiplier)
        )
    }

    /// Longest key of a limit that a descriptor brings along, bytes.
    private static let maxKeyBytes = 1_024

    // MARK: - Answers

    /// The status of one descriptor.
    private struct Status {
        var decision: Decision?
        var ownLimit: OwnLimit?
        var remaining: Int64?

        var isDenied: Bool { decision?.allowed == false }
    }

    /// - Parameter answers: one for each of `checks`, in order.
    /// - Returns: a `RateLimitResponse`.
    /// - Throws: `busy`'s sentence if one of them was not decided.
    package func response(to answers: [GatewayAnswer]) throws(Fault) -> [UInt8] {
        var rest = answers[...]
        var statuses: [Status] = []
        var deciding: Decision?
        for slot in slots {
            var status = Status()
            switch slot {
            case .known(let known): status.decision = known
            case .asked(let limit):
                status.ownLimit = limit
                switch rest.popFirst() {
                case .decision(let answer)?: status.decision = answer
                case .busy(let advice)?: throw Fault(message: advice)
                case nil: throw Fault(message: "a check was not answered")
                }
            }
            guard let decision = status.decision else {
                statuses.append(status)
                continue
            }
            if decision.bindingLimit != nil { status.remaining = decision.remaining }
            statuses.append(status)
            if Self.decides(decision, before: deciding) { deciding = decision }
        }
        let isDenied = statuses.contains { $0.isDenied }
        if isDenied { giveBack(answers, in: &statuses) }
        var response = WireWriter(capacity: 256)
        response.integer(1, Self.code(isDenied: isDenied))
        for status in statuses { response.message(2) { Self.write(status, to: &$0) } }
        guard let deciding else { return response.bytes }
        var added = headers.headers(for: deciding)
        let body = deciding.allowed ? nil : body(deciding)
        if let body, body.isJSON { added.append(("Content-Type", "application/json")) }
        for (name, value) in added {
            response.message(3) {
                $0.text(1, name)
                $0.text(2, value)
            }
        }
        if let body, !body.text.isEmpty { response.text(5, body.text) }
        response.message(6) { $0.metadata(of: deciding) }
        return response.bytes
    }

    private static func code(isDenied: Bool) -> UInt64 {
        UInt64((isDenied ? Envoy_Service_Ratelimit_V3_RateLimitResponse.Code.overLimit : .ok).rawValue)
    }

    /// All or nothing: what was admitted for a denied request has not been charged.
    private func giveBack(_ answers: [GatewayAnswer], in statuses: inout [Status]) {
        var asked = zip(checks, answers).makeIterator()
        for index in slots.indices {
            guard case .asked = slots[index], let (check, answer) = asked.next(), check.kind == .check,
                case .decision(let decision) = answer, decision.allowed, decision.limit >= 0
            else { continue }
            statuses[index].remaining = min(decision.limit, decision.remaining + check.cost)
        }
    }

    /// The denial with the longest wait decides, else the admission with the smallest share left.
    private static func decides(_ decision: Decision, before other: Decision?) -> Bool {
        guard let other else { return true }
        if decision.allowed != other.allowed { return !decision.allowed }
        if decision.allowed {
            // remaining / limit, compared without dividing.
            guard decision.limit > 0, other.limit > 0 else { return other.limit <= 0 && decision.limit > 0 }
            return Double(decision.remaining) * Double(other.limit) < Double(other.remaining) * Double(decision.limit)
        }
        return waitOrder(decision) > waitOrder(other)
    }

    private static func waitOrder(_ decision: Decision) -> Int64 {
        decision.retryAfterMs < 0 ? .max : decision.retryAfterMs
    }

    private func body(_ decision: Decision) -> (text: String, isJSON: Bool) {
        switch domain.denial {
        case .http: return (decision.sentence, false)
        case .mcp, .error:
            let call = MCPCall(method: MCPCall.toolsCall, tool: nil, id: Self.id(id))
            return (DenialBody(decision, call, as: domain.denial).body, true)
        }
    }

    /// Descriptors carry an id as text: a whole number is taken for one.
    private static func id(_ text: String?) -> MCPCall.ID {
        guard let text else { return .unknown }
        return Int64(text).map { String($0) } == text ? .number(text) : .text(text)
    }

    /// Writes a `DescriptorStatus`.
    private static func write(_ status: Status, to writer: inout WireWriter) {
        writer.integer(1, code(isDenied: status.isDenied))
        if let decision = status.decision, let limit = decision.bindingLimit {
            writer.message(2) { write(limit, status.ownLimit, to: &$0) }
        }
        if let remaining = status.remaining { writer.count(3, UInt64(UInt32(clamping: remaining))) }
        guard let decision = status.decision, decision.bindingLimit != nil, decision.resetMs >= 0 else { return }
        writer.message(4) {
            $0.count(1, UInt64(decision.resetMs / 1000))
            $0.count(2, UInt64(decision.resetMs % 1000 * 1_000_000))
        }
    }

    /// Writes a `RateLimit`.
    private static func write(_ limit: Limit, _ own: OwnLimit?, to writer: inout WireWriter) {
        typealias Unit = Envoy_Service_Ratelimit_V3_RateLimitResponse.RateLimit.Unit
        func write(_ requests: UInt32, _ unit: Unit, _ name: String, _ multiplier: UInt32?) {
            writer.count(1, UInt64(requests))
            writer.count(2, UInt64(unit.rawValue))
            if !name.isEmpty { writer.text(3, name) }
            if let multiplier { writer.message(4) { $0.count(1, UInt64(multiplier)) } }
        }
        if let own {
            return write(own.requestsPerUnit, Unit(rawValue: own.unit.rawValue) ?? .unknown, "", own.multiplier)
        }
        let (unit, multiplier): (Unit, Int64)
        switch limit.window.kind {
        case .calendar(.day, _): (unit, multiplier) = (.day, 1)
        case .calendar(.week, _): (unit, multiplier) = (.week, 1)
        case .calendar(.month, _): (unit, multiplier) = (.month, 1)
        case .endless: (unit, multiplier) = (.unknown, 1)
        case .seconds(let seconds):
            let units: [(Unit, Int64)] = [(.day, 86_400), (.hour, 3_600), (.minute, 60), (.second, 1)]
            let largest = units.first { seconds % $0.1 == 0 } ?? (.second, 1)
            (unit, multiplier) = (largest.0, seconds / largest.1)
        }
        write(
            UInt32(clamping: limit.max), unit, limit.counter, multiplier > 1 ? UInt32(clamping: multiplier) : nil)
    }
}
