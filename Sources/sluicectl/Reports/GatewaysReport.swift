import SluiceEnvoy
import SluicePolicy
import SluiceTerminal

/// The output of `gateways check`.
struct GatewaysReport {
    private let gateways: Gateways
    private let file: String

    init(_ gateways: Gateways, file: String) {
        self.gateways = gateways
        self.file = file
    }

    private var domains: [(name: String, domain: Gateways.Domain)] {
        (gateways.domains ?? [:]).sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    private var sources: [String] { gateways.grant.map { "\($0)" } }

    private var domainWords: String {
        switch gateways.domains?.count {
        case nil: "every domain with the defaults"
        case 1?: "1 domain"
        case let count?: "\(count) domains"
        }
    }

    /// A table with a row for each domain, and a line that sums up. Ends with a line feed.
    func text(_ style: Style) -> String {
        var table = TextTable(
            ["domain", "grant", "tool", "missing grant", "missing tool", "denial", "charges"].map { .init($0) })
        for (name, domain) in domains {
            let prefix = domain.toolPrefix.isEmpty ? "" : ", after \(domain.toolPrefix.quoted)"
            table.append(
                [
                    name, domain.keys(.grant).joined(separator: " or "),
                    domain.keys(.tool).joined(separator: " or ") + prefix, domain.missingGrant.rawValue,
                    domain.missingTool.rawValue, domain.denial.rawValue, domain.charges.rawValue,
                ].map { .init($0.onOneLine) })
        }
        let line =
            "\(file.onOneLine): ok, \(domainWords); ext_authz: grant from \(sources.joined(separator: ", ")), denial "
            + "\(gateways.denial.rawValue), missing metadata \(gateways.missingMetadata.rawValue); headers "
            + "\(gateways.headers.rawValue)\n"
        return domains.isEmpty ? line : table.render(style) + "\n" + line
    }

    var json: JSONText {
        [
            "valid": .boolean(true), "source": .string(file), "grant": .strings(sources),
            "denial": .string(gateways.denial.rawValue),
            "missing_metadata": .string(gateways.missingMetadata.rawValue),
            "ratelimit_headers": .string(gateways.headers.rawValue),
            "domains": gateways.domains == nil
                ? .null
                : .array(
                    domains.map { name, domain in
                        [
                            "domain": .string(name), "grant": .strings(domain.keys(.grant)),
                            "tool": .strings(domain.keys(.tool)), "tool_prefix": .string(domain.toolPrefix),
                            "missing_grant": .string(domain.missingGrant.rawValue),
                            "missing_tool": .string(domain.missingTool.rawValue),
                            "denial": .string(domain.denial.rawValue), "charges": .string(domain.charges.rawValue),
                        ]
                    }),
            "faults": .strings([]), "omitted_faults": .integer(0),
        ]
    }
}

extension Gateways.Domain {
    /// The descriptor keys with a role, sorted.
    fileprivate func keys(_ role: Role) -> [String] { roles.filter { $0.value == role }.keys.sorted() }
}
