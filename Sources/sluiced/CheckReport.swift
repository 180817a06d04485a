import Foundation
import SluicePolicy
import SluiceRedis
import SluiceServer
import SluiceTerminal

/// What `--check` reports: the settings that are set, and what sluiced would run with. Nothing is started, connected to or
/// made.
struct CheckReport {
    private let settings: [(name: String, value: String, origin: String)]
    private let facts: [(name: String, value: String)]
    private let warnings: [String]

    /// - Throws: every fault that a start would meet, as far as looking shows.
    init(_ settings: Settings) throws(StartFailure) {
        var faults: [String] = []
        func attempt<Value>(_ body: () throws -> Value) -> Value? {
            do { return try body() } catch let failure as StartFailure {
                faults += failure.lines
            } catch {
                faults.append("\(error)")
            }
            return nil
        }
        let preparation = attempt { try Preparation(settings) }
        var files: [(name: String, value: String)] = []
        for (name, path) in [
            ("socket", settings.socketPath), ("http-socket", settings.httpSocketPath),
            ("grpc-socket", settings.grpcSocketPath),
        ] {
            guard let path else { continue }
            do throws(SocketFile.Failure) {
                try SocketFile.examine(path)
            } catch {
                faults.append(error.sentence(setting: name))
            }
        }
        if let folder = settings.stateFolder, let finding = attempt({ try StateFile.examine(folder: folder) }) {
            files.append(("state", Self.words(finding)))
        }
        if let path = settings.decisionLog {
            do throws(FileReadError) {
                try LineFile.examine(path)
            } catch {
                faults.append("--decision-log: \(error)")
            }
        }
        guard let preparation, faults.isEmpty else { throw StartFailure(EX_CONFIG, faults) }
        facts = Self.facts(preparation) + files
        self.settings = Settings.table.rows.compactMap { row in
            settings.origins[row.name].map { (row.name, Self.value(of: row, preparation), $0) }
        }
        warnings = settings.warnings
    }

    private static func value(of row: any SettingRow, _ preparation: Preparation) -> String {
        if row.name == Settings.table.redisURL.name { return preparation.store.map { "\($0.address)" } ?? "none" }
        return preparation.settings.text(of: row) ?? "(secret)"
    }

    private static func facts(_ preparation: Preparation) -> [(name: String, value: String)] {
        let policies = preparation.policies
        let grants = policies.grants.count
        let isOne = policies.single != nil
        var facts = [
            (
                "policies",
                isOne
                    ? "1 document, for every grant"
                    : "\(counted(policies.policies.count, "document")), \(counted(grants, "entry", "entries")) of grants"
            )
        ]
        let kind = preparation.store.map { $0.address.isCluster ? "in a Redis Cluster" : "in Redis" }
        facts.append(
            ("counting", kind.map { "shared \($0), once it answers" } ?? "local: there is no Redis"))
        return facts
    }

    private static func counted(_ count: Int, _ one: String, _ many: String? = nil) -> String {
        "\(count) \(count == 1 ? one : many ?? one + "s")"
    }

    private static func words(_ finding: StateFile.Finding) -> String {
        switch finding {
        case .noFolder: "a new folder, which would be made"
        case .noFile: "a new file, which would be made"
        case .file(let bytes): "a file of \(bytes) bytes"
        }
    }

    /// The tables for people.
    func text(_ style: Style) -> String {
        var table = TextTable([.init("setting"), .init("value"), .init("from")])
        for setting in settings { table.append([.init(setting.name), .init(setting.value), .init(setting.origin)]) }
        var text = table.render(style) + "\n"
        text += TextTable(facts: facts.map { ($0.name, .init($0.value)) }).render(style)
        for warning in warnings {
            text += style.apply(.caution, to: "warning") + "  \(TerminalText.visible(warning))\n"
        }
        return text + "\nsluiced would start; all other settings have their defaults.\n"
    }

    /// One line of JSON: what is in the tables.
    var json: String {
        let settings = settings.map { setting -> JSONText in
            ["name": .text(setting.name), "value": .text(setting.value), "from": .text(setting.origin)]
        }
        let facts = facts.map { fact -> JSONText in ["name": .text(fact.name), "value": .text(fact.value)] }
        let report: JSONText = [
            "settings": .array(settings), "facts": .array(facts), "warnings": .strings(warnings),
        ]
        return report.line + "\n"
    }
}
