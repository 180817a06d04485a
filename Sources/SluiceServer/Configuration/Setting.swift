import SluicePolicy

/// One setting: a row of `SettingTable`, from which its flag, its environment variable, its key in the configuration
/// file, `--help` and all messages follow.
package struct Setting<Value: Sendable>: SettingRow {
    package let name: String
    package let help: String?
    package let expected: String
    package let isRequired: Bool
    package let holdsSecret: Bool
    fileprivate let byDefault: Value
    fileprivate let parse: @Sendable (String) -> Value?

    package func accepts(_ text: String) -> Bool { parse(text) != nil }

    /// - Parameter text: a text that is accepted, or nil if the setting is not set.
    func value(_ text: String?) -> Value { text.flatMap(parse) ?? byDefault }
}

extension Setting {
    /// - Parameters:
    ///   - name: the flag without dashes, which is also the key in the configuration file.
    ///   - help: what `--help` says, without the default; nil if there is no flag.
    ///   - text: the default in the form in which it would be written.
    ///   - shown: the default in `--help` if that is not `text`.
    ///   - expected: what an invalid text is answered with.
    ///   - holdsSecret: whether the value may hold a password: it is then never shown.
    ///   - parse: nil if the text is invalid.
    init(
        _ name: String, _ help: String, default text: String, shown: String? = nil, expected: String = "",
        holdsSecret: Bool = false, parse: @escaping @Sendable (String) -> Value?
    ) {
        guard let value = parse(text) else { preconditionFailure("\(name): the default \(text.quoted) is invalid") }
        self.init(
            name: name, help: "\(help) (default: \(shown ?? text)).", expected: expected, isRequired: false,
            holdsSecret: holdsSecret, byDefault: value, parse: parse)
    }
}

extension Setting<String> {
    /// A text that must be set.
    init(_ name: String, _ help: String, required expected: String) {
        self.init(
            name: name, help: "\(help).", expected: expected, isRequired: true, holdsSecret: false, byDefault: ""
        ) { $0 }
    }
}

extension Setting<String?> {
    /// A text that may be missing.
    init(_ name: String, _ help: String?, holdsSecret: Bool = false) {
        self.init(
            name: name, help: help.map { "\($0)." }, expected: "", isRequired: false, holdsSecret: holdsSecret,
            byDefault: nil
        ) { $0 }
    }
}

extension Setting<Bool> {
    /// A switch that is off by default.
    init(_ name: String, _ help: String, off shown: String) {
        self.init(name, help, default: "false", shown: shown, expected: "true or false") { Bool($0) }
    }
}

/// A setting, whatever the type of its value.
package protocol SettingRow: Sendable {
    associatedtype Value
    /// The flag without dashes, which is also the key in the configuration file.
    var name: String { get }
    /// The text for `--help`; nil if there is no flag.
    var help: String? { get }
    /// What an invalid text is answered with.
    var expected: String { get }
    var isRequired: Bool { get }
    /// Whether the value is a password, or may hold one: it is then never shown.
    var holdsSecret: Bool { get }
    func accepts(_ text: String) -> Bool
}

extension SettingRow {
    /// Whether the value is `true` or `false`.
    package var isSwitch: Bool { Value.self == Bool.self }

    package var environmentName: String { SettingTable.environmentPrefix + name.uppercased().replacing("-", with: "_") }
}
