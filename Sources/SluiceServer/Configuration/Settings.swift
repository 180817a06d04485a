package import Logging
package import SluicePolicy

/// Everything that an operator can set, validated. Flags override the environment, which overrides the configuration
/// file.
package struct Settings: Sendable, Equatable {
    /// The store's address as it was given; nil for `none`. It may hold a password: never log it.
    package var redisURL: String?
    package var redisUser: String?
    package var redisPassword: String?
    package var socketPath: String
    package var socketMode: UInt32
    package var socketGroup: String?
    package var operatorUserIDs: Set<UInt32>
    package var policySource: PolicySource
    /// Whether the gateway evaluates the policies' rules on arguments, which only the gateway sees.
    package var argumentsCheckedByGateway: Bool
    package var budgetMs: Int64
    package var keyPrefix: String
    package var replicas: Int
    /// Folder for state that must survive the process; nil: none.
    package var stateFolder: String?
    /// Memory for everything that clients make the sidecar hold.
    package var memoryBytes: Int
    /// Whether `CL.THROTTLE` is answered; it needs no policy.
    package var answersThrottle: Bool
    package var logLevel: Logger.Level
    package var logFormat: LogFormat
    /// Settings that should be made in another way: a line each, beginning with their origin; never a secret.
    package var warnings: [String] = []

    package enum LogFormat: String, Sendable, CaseIterable { case text, json }

    /// What policies may use.
    package var policyFeatures: PolicyFeatures {
        .supported(argumentsCheckedByGateway: argumentsCheckedByGateway)
    }
}

/// One setting: its flag without dashes, which is also its key in the configuration file. In the environment it is
/// `SLUICE_` and the name in capitals.
package enum SettingName: String, Sendable, CaseIterable {
    case socket
    case socketMode = "socket-mode"
    case socketGroup = "socket-group"
    case operators
    case policy
    case policies
    case argumentsCheckedByGateway = "arguments-checked-by-gateway"
    case redis
    case redisUser = "redis-user"
    /// Not a flag: every user can read a command line.
    case redisPassword = "redis-password"
    case redisPasswordFile = "redis-password-file"
    case budget
    case keyPrefix = "key-prefix"
    case replicas
    case stateFolder = "state-dir"
    case memory
    case clThrottle = "cl-throttle"
    case logLevel = "log-level"
    case logFormat = "log-format"

    /// Whether its value is `true` or `false`.
    package var isSwitch: Bool { self == .argumentsCheckedByGateway || self == .clThrottle }

    /// Whether it holds a password, or may: its value is then never shown.
    package var holdsSecret: Bool { self == .redis || self == .redisPassword }

    package var environmentName: String {
        "SLUICE_" + rawValue.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
    }
}

/// A setting's value and its origin.
package struct SettingValue: Sendable, Equatable {
    package var text: String
    /// `--budget`, `SLUICE_BUDGET`, or `sluice.json:3:12: /budget`.
    package var origin: String

    package init(text: String, origin: String) {
        self.text = text
        self.origin = origin
    }
}

/// All faults of the settings, a line each.
package struct SettingFaults: Error, Sendable, Equatable, CustomStringConvertible {
    package var lines: [String]

    package init(_ lines: [String]) { self.lines = lines }

    package var description: String { lines.joined(separator: "\n") }
}
