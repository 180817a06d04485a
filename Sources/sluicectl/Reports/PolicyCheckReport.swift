import SluicePolicy

/// The output of `policy check --json`.
struct PolicyCheckReport {
    let policies: PolicySet
    let file: String

    init(_ policies: PolicySet, file: String) {
        self.policies = policies
        self.file = file
    }

    var json: JSONText {
        let documents =
            policies.single.map { [(nil, $0)] }
            ?? policies.documents.sorted { $0.key < $1.key }.map { (Optional($0.key), $0.value) }
        return .object([
            ("valid", .boolean(true)),
            ("source", .string(file)),
            ("grants", policies.single == nil ? .integer(Int64(policies.grants.count)) : .null),
            ("documents", .array(documents.map(Self.json))),
            ("faults", .array([])),
            ("omitted_faults", .integer(0)),
        ])
    }

    /// For documents with faults.
    static func json(of failure: DocumentFailure) -> JSONText {
        .object([
            ("valid", .boolean(false)),
            ("faults", .array(failure.faultList)),
            ("omitted_faults", .integer(Int64(failure.omitted))),
        ])
    }

    private static func json(_ name: String?, _ policy: Policy) -> JSONText {
        .object([
            ("name", name.map { .string($0) } ?? .null),
            ("tools", .integer(Int64(policy.tools.count))),
            ("limits", .integer(Int64(policy.limitCount))),
            ("default", .string(policy.defaultRuling.rawValue)),
            (
                "advice",
                .array(
                    PolicyAdvice.all(of: policy).map {
                        .object([("rule", .string($0.rule)), ("text", .string($0.text))])
                    })
            ),
            ("must_reserve", .array(policy.mustReserve.titles.map { .string($0) })),
        ])
    }
}
