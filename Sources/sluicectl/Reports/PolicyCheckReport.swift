import SluicePolicy
import SluiceTerminal

/// The output of `policy check --json`.
struct PolicyCheckReport {
    let policies: PolicySet
    let file: String
    /// What asks, if advice about that is wanted, too.
    let gateway: PolicyAdvice.Gateway?

    init(_ policies: PolicySet, file: String, for gateway: PolicyAdvice.Gateway? = nil) {
        self.gateway = gateway
        self.policies = policies
        self.file = file
    }

    var json: JSONText {
        let documents =
            policies.single.map { [(nil, $0)] }
            ?? policies.documents.sorted { $0.key < $1.key }.map { (Optional($0.key), $0.value) }
        return [
            "valid": .boolean(true),
            "source": .string(file),
            "grants": policies.single == nil ? .integer(policies.grants.count) : .null,
            "documents": .array(documents.map(json)),
            "faults": .strings([]),
            "omitted_faults": .integer(0),
        ]
    }

    /// For documents with faults.
    static func json(of failure: DocumentFailure) -> JSONText {
        [
            "valid": .boolean(false),
            "faults": .array(failure.faultList),
            "omitted_faults": .integer(failure.omitted),
        ]
    }

    private func advice(_ policy: Policy, _ kind: PolicyAdvice.Kind) -> JSONText {
        .array(
            PolicyAdvice.all(of: policy, for: gateway).filter { $0.kind == kind }.map {
                ["rule": .string($0.rule), "text": .string($0.text)]
            })
    }

    private func json(_ name: String?, _ policy: Policy) -> JSONText {
        [
            "name": .text(name),
            "tools": .integer(policy.tools.count),
            "limits": .integer(policy.limitCount),
            "default": .string(policy.defaultRuling.rawValue),
            "advice": advice(policy, .advice),
            "warnings": advice(policy, .warning),
            "must_reserve": .strings(policy.mustReserve.titles),
        ]
    }
}
