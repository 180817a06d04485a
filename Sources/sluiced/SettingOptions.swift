import ArgumentParser
import SluiceServer

/// The command line's options: one for each setting that has a flag.
///
/// ArgumentParser finds a type's options by reflection and fills them by decoding; so this type shows it the rows of the
/// table in place of properties.
struct SettingOptions: ParsableArguments, CustomReflectable {
    /// What was given, by the settings' names.
    private(set) var texts: [String: String] = [:]

    private static let settings = Settings.table.rows.filter { $0.help != nil }

    init() {}

    init(from decoder: any Decoder) throws {
        let given = try decoder.container(keyedBy: SettingKey.self)
        for setting in Self.settings {
            let key = SettingKey(stringValue: setting.name)
            texts[setting.name] =
                setting.isSwitch
                ? try given.decode(Flag<Bool?>.self, forKey: key).wrappedValue.map { String($0) }
                : try given.decode(Option<String?>.self, forKey: key).wrappedValue
        }
    }

    var customMirror: Mirror {
        Mirror(
            self,
            children: Self.settings.map { setting in
                let help = setting.help.map { ArgumentHelp($0) }
                let option: Any =
                    setting.isSwitch
                    ? Flag<Bool?>(inversion: .prefixedNo, help: help) : Option<String?>(help: help)
                return (label: setting.name, value: option)
            })
    }

    private struct SettingKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }

        init?(intValue: Int) { nil }
    }
}
