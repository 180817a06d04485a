/// A JSON Schema (2020-12) of policy documents, from the tables that the reader uses, for editors.
///
/// It accepts every document that is accepted without `--policies`' folder rules, and not only those: what depends on
/// several places, such as names that two patterns match, only `policy check` finds.
package enum PolicySchema {
    /// The schema, with a line feed at its end.
    package static var text: String { document.rendered(indent: "") + "\n" }

    private static var document: SchemaValue {
        let rules = rules(container: "policy")
        var properties = rules
        properties["version"] = .words(["1"])
        properties["servers"] = .named(by: "exactName", .reference("server"), atMost: PolicyBounds.maxServers)
        properties["mode"] = words(Limit.Mode.self)
        properties[PolicyKeys.extends] = .type("string")
        properties["$schema"] = .type("string")
        let definitions: [(String, SchemaValue)] = [
            ("name", name(allowsPatterns: true)), ("exactName", name(allowsPatterns: false)),
            ("counter", .object([("type", .string("string")), ("minLength", .number(1)), nameLength])),
            ("message", message), ("limit", limit),
            ("limits", .array(of: .reference("limit"), atMost: PolicyBounds.maxLimitsPerCheck)),
            ("tool", tool), ("group", group), ("hours", hours),
            ("server", .closed(self.rules(container: "server"), PolicyKeys.server, required: [])),
        ]
        return .object(
            [
                ("$schema", .string("https://json-schema.org/draft/2020-12/schema")),
                ("title", .string("A policy of Sluice")),
            ]
                + SchemaValue.closed(properties, PolicyKeys.policy, required: ["version"]).members
                + [
                    // A document that extends another has its default from there.
                    ("anyOf", .list([.requiring(["default"]), .requiring([PolicyKeys.extends])])),
                    ("$defs", .object(definitions)),
                ])
    }

    /// What a document and the rules of a server both may have.
    private static func rules(container: String) -> [String: SchemaValue] {
        let names = SchemaValue.array(of: .reference("name"), atMost: nil)
        return [
            "default": words(Policy.Default.self),
            "hide": .any([names, .words([PolicyKeys.everyTool])]),
            "all_tools": .closed(["limits": .reference("limits")], PolicyKeys.allTools, required: []),
            "tools": .named(by: "name", .reference("tool"), atMost: nil),
            "groups": .named(by: "exactName", .reference("group"), atMost: PolicyBounds.maxGroups),
            "on_deny": .reference("message"),
        ]
    }

    private static var tool: SchemaValue {
        let arguments = SchemaValue.object([("type", .list([.string("array"), .string("object")]))])
        let schema = SchemaValue.closed(
            [
                "limits": .reference("limits"), "action": words(ToolRule.Action.self), "reason": .reference("message"),
                "on_deny": .reference("message"), PolicyKeys.rateLimit: rateLimit,
                PolicyKeys.eachTool: .type("boolean"), "hours": .reference("hours"), "mode": words(Limit.Mode.self),
                "require": arguments, "deny_if": arguments,
            ], PolicyKeys.tool(.all), required: [])
        return schema.adding(
            "allOf",
            .list([
                .not(.requiring(["reason", "on_deny"])),
                .when("action", is: ["deny"], then: .not(.requiring(["hours"]))),
            ]))
    }

    private static var group: SchemaValue {
        let tools = SchemaValue.array(of: .reference("name"), atMost: PolicyBounds.maxGroupTools)
            .adding("minItems", .number(1))
        return .closed(
            ["tools": tools, "limits": .reference("limits")], PolicyKeys.group, required: ["tools", "limits"])
    }

    private static var hours: SchemaValue {
        let day = "(" + Hours.dayNames.joined(separator: "|") + ")"
        let hour = "([01][0-9]|2[0-3]):[0-5][0-9]"
        return .closed(
            [
                "days": .pattern("^\(day)(-\(day))?(,\(day)(-\(day))?)*$"), "from": .pattern("^\(hour)$"),
                "to": .pattern("^(\(hour)|24:00)$"), "timezone": .type("string"),
            ], PolicyKeys.hours, required: ["from", "to"])
    }

    private static var rateLimit: SchemaValue {
        .any([
            .pattern("^(0*[0-9]{1,12}|0*\(PolicyBounds.maxLimit))/(second|minute|hour|day|\(timePattern))$"),
            .closed(
                ["max": max, "window": .integer(1...PolicyBounds.maxWindowSeconds)], PolicyKeys.rateLimitObject,
                required: ["max", "window"]),
        ])
    }

    // MARK: Limits

    private static let max = SchemaValue.integer(0...PolicyBounds.maxLimit)
    private static let time = SchemaValue.pattern("^\(timePattern)$")
    /// Times up to 366 days; of those in seconds, minutes and hours only the number of digits is bounded.
    private static let timePattern =
        "0*([1-9][0-9]{0,7}s|[1-9][0-9]{0,5}m|[1-9][0-9]{0,3}h|([1-9][0-9]?|[12][0-9]{2}|3[0-5][0-9]|36[0-6])d)"

    private static var limit: SchemaValue {
        var properties: [String: SchemaValue] = [:]
        for field in LimitField.inDocuments { properties[field.key] = schema(ofLimitKey: field.key) }
        let only = { (key: String, algorithm: Algorithm) in
            SchemaValue.unless("algorithm", is: [algorithm.name], then: .not(.requiring([key])))
        }
        let calendar = Window.Period.allCases.map(\.rawValue)
        let log = SchemaValue.object([
            ("properties", .object([("max", .integer(0...PolicyBounds.maxLogLimit))]))
        ])
        return SchemaValue.closed(properties, PolicyKeys.limit(.all), required: ["counter", "max"]).adding(
            "allOf",
            .list([
                .when(
                    "algorithm", is: [Algorithm.concurrency.name],
                    then: .not(.any([.requiring(["window"]), .requiring(["timezone"])])),
                    otherwise: .requiring(["window"])),
                only("burst", .tokenBucket), only("hold", .concurrency),
                .when("algorithm", is: [Algorithm.concurrency.name], then: .not(.requiring(["counts"]))),
                .when("algorithm", is: [Algorithm.slidingLog.name], then: log),
                .when(
                    "algorithm", is: Algorithm.allCases.filter { $0 != .fixedWindow }.map(\.name),
                    then: .not(
                        .object([
                            ("properties", .object([("precision", .words([Limit.Precision.leased.rawValue]))])),
                            ("required", .list([.string("precision")])),
                        ]))),
                .unless(
                    "window", is: calendar,
                    then: .not(
                        .object([
                            ("properties", .object([("timezone", .not(.words([Zone.utc.name, "Etc/UTC"])))])),
                            ("required", .list([.string("timezone")])),
                        ]))),
            ]))
    }

    /// The schema of one field; each row of `LimitField` has one.
    private static func schema(ofLimitKey key: String) -> SchemaValue {
        switch key {
        case "counter": .reference("counter")
        case "max": max
        case "burst": .integer(1...PolicyBounds.maxLimit)
        case "hold": .any([.integer(1...PolicyBounds.maxHoldSeconds), time])
        case "window":
            .any([
                .integer(1...PolicyBounds.maxWindowSeconds),
                .words(["second", "minute", "hour"] + Window.Period.allCases.map(\.rawValue)), time,
            ])
        case "algorithm": .words(Algorithm.allCases.map(\.name))
        case "scope":
            .any([
                .words(["grant", "session", "server", "global"]),
                .pattern("^\(Limit.Scope.attributePrefix)[^*?]+$"),
            ])
        case "across_grants": .type("boolean")
        case "on_outage": words(Limit.OnOutage.self)
        case "mode": words(Limit.Mode.self)
        case "counts": words(Limit.Counts.self)
        case "precision": words(Limit.Precision.self)
        case "unit": text(most: PolicyBounds.maxUnitBytes)
        case "on_deny": .reference("message")
        case "timezone": .type("string")
        default: preconditionFailure("the field \(key) has no schema")
        }
    }

    // MARK: Texts

    private static func words<Word: CaseIterable & RawRepresentable<String>>(_: Word.Type) -> SchemaValue {
        .words(Word.allCases.map(\.rawValue))
    }

    /// A schema counts characters, not bytes: longer names are found by `policy check` only.
    private static let nameLength = ("maxLength", SchemaValue.number(Int64(PolicyBounds.maxNameBytes)))

    private static func name(allowsPatterns: Bool) -> SchemaValue {
        let pattern = allowsPatterns ? "^(?!.*\\*\\*)[^?]+$" : "^(\\*|[^*?]+)$"
        return .object([("type", .string("string")), ("pattern", .string(pattern)), nameLength])
    }

    private static let message = text(most: PolicyBounds.maxMessageBytes)

    /// One line. A schema counts characters, not bytes: longer texts are found by `policy check` only.
    private static func text(most: Int) -> SchemaValue {
        .object([
            ("type", .string("string")), ("minLength", .number(1)), ("maxLength", .number(Int64(most))),
            ("pattern", .string("^[^\\u0000-\\u001f]*$")),
        ])
    }
}

/// A part of a schema.
private indirect enum SchemaValue: Sendable {
    case object([(String, SchemaValue)])
    case list([SchemaValue])
    case string(String)
    case number(Int64)
    case bool(Bool)

    var members: [(String, SchemaValue)] { if case .object(let members) = self { members } else { [] } }

    static func type(_ name: String) -> SchemaValue { .object([("type", .string(name))]) }

    static func integer(_ range: ClosedRange<Int64>) -> SchemaValue {
        .object([
            ("type", .string("integer")), ("minimum", .number(range.lowerBound)),
            ("maximum", .number(range.upperBound)),
        ])
    }

    static func words(_ words: [String]) -> SchemaValue { .object([("enum", .list(words.map { .string($0) }))]) }

    static func pattern(_ text: String) -> SchemaValue {
        .object([("type", .string("string")), ("pattern", .string(text))])
    }

    static func reference(_ name: String) -> SchemaValue { .object([("$ref", .string("#/$defs/\(name)"))]) }

    static func any(_ schemas: [SchemaValue]) -> SchemaValue { .object([("anyOf", .list(schemas))]) }

    static func not(_ schema: SchemaValue) -> SchemaValue { .object([("not", schema)]) }

    static func requiring(_ keys: [String]) -> SchemaValue {
        .object([("required", .list(keys.map { .string($0) }))])
    }

    static func array(of element: SchemaValue, atMost most: Int?) -> SchemaValue {
        let bound = most.map { [("maxItems", SchemaValue.number(Int64($0)))] } ?? []
        return .object([("type", .string("array")), ("items", element)] + bound)
    }

    /// An object whose keys are names.
    static func named(by name: String, _ value: SchemaValue, atMost most: Int?) -> SchemaValue {
        let bound = most.map { [("maxProperties", SchemaValue.number(Int64($0)))] } ?? []
        return .object(
            [
                ("type", .string("object")), ("propertyNames", .reference(name)), ("additionalProperties", value),
            ] + bound)
    }

    /// An object that has only known keys; each must have a schema.
    static func closed(_ properties: [String: SchemaValue], _ known: KnownKeys, required: [String]) -> SchemaValue {
        let keys = known.keys + known.others
        let members = keys.map { key in
            guard let property = properties[key] else { preconditionFailure("the key \(key) has no schema") }
            return (key, property)
        }
        return .object(
            [
                ("type", .string("object")), ("properties", .object(members)),
                ("required", .list(required.map { .string($0) })), ("additionalProperties", .bool(false)),
            ])
    }

    static func when(
        _ key: String, is words: [String], then schema: SchemaValue, otherwise: SchemaValue? = nil
    ) -> SchemaValue {
        let condition = SchemaValue.object([
            ("properties", .object([(key, .words(words))])), ("required", .list([.string(key)])),
        ])
        return .object([("if", condition), ("then", schema)] + (otherwise.map { [("else", $0)] } ?? []))
    }

    static func unless(_ key: String, is words: [String], then schema: SchemaValue) -> SchemaValue {
        when(key, is: words, then: .object([]), otherwise: schema)
    }

    func adding(_ key: String, _ value: SchemaValue) -> SchemaValue { .object(members + [(key, value)]) }

    func rendered(indent: String) -> String {
        let inner = indent + "  "
        switch self {
        case .string(let text): return text.asJSON
        case .number(let number): return String(number)
        case .bool(let flag): return String(flag)
        case .list(let values):
            let isShort = values.allSatisfy { if case .string = $0 { true } else { false } }
            if isShort { return "[" + values.map { $0.rendered(indent: "") }.joined(separator: ", ") + "]" }
            let lines = values.map { inner + $0.rendered(indent: inner) }
            return "[\n" + lines.joined(separator: ",\n") + "\n\(indent)]"
        case .object(let members):
            if members.isEmpty { return "{}" }
            let lines = members.map { "\(inner)\($0.0.asJSON): \($0.1.rendered(indent: inner))" }
            return "{\n" + lines.joined(separator: ",\n") + "\n\(indent)}"
        }
    }
}
