package import SluicePolicy

/// Everything that an operator can set, validated: a property for each row of `SettingTable`. Flags override the
/// environment, which overrides the configuration file.
///
/// The values may hold a password: never log them.
@dynamicMemberLookup
package struct Settings: Sendable, Equatable {
    package static let table = SettingTable()

    /// What is set, by the settings' names; every text is one that its setting accepts.
    let texts: [String: String]
    package let policySource: PolicySource
    /// Settings that should be made in another way: a line each, beginning with their origin; never a secret.
    package var warnings: [String] = []
    /// Where each setting that is set comes from, by the settings' names: `--budget`, `SLUICE_BUDGET`, or
    /// `sluice.json:3:12: /budget`.
    package var origins: [String: String] = [:]

    package enum LoggedGrants: String, Sendable, CaseIterable { case plain, hash }

    package enum LogFormat: String, Sendable, CaseIterable { case text, json }

    package subscript<Value>(dynamicMember row: KeyPath<SettingTable, Setting<Value>>) -> Value {
        let setting = Self.table[keyPath: row]
        return setting.value(texts[setting.name])
    }

    /// The text of a setting, if it is set: never that of a secret.
    package func text(of setting: some SettingRow) -> String? { setting.holdsSecret ? nil : texts[setting.name] }

    /// What policies may use.
    package var policyFeatures: PolicyFeatures {
        .supported(argumentsCheckedByGateway: self.argumentsCheckedByGateway)
    }
}

/// A setting's value and its origin.
struct SettingValue: Equatable {
    let text: String
    /// `--budget`, `SLUICE_BUDGET`, or `sluice.json:3:12: /budget`.
    let origin: String
}

/// All faults of the settings, a line each.
package struct SettingFaults: Error, Sendable, Equatable, CustomStringConvertible {
    package var lines: [String]

    package init(_ lines: [String]) { self.lines = lines }

    package var description: String { lines.joined(separator: "\n") }
}
