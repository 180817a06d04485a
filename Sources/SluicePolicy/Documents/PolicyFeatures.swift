/// The parts of the policy language that the reader of a document supports. A document that uses another part is
/// rejected: a limit that is read but not enforced would be worse than none.
package struct PolicyFeatures: OptionSet, Sendable {
    package let rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The windows `week` and `month`, and `timezone`.
    package static let calendarWindows = PolicyFeatures(rawValue: 1 << 0)
    /// The scopes `server`, `global` and `attribute:NAME`, and `across_grants`.
    package static let moreScopes = PolicyFeatures(rawValue: 1 << 1)
    /// `"algorithm": "sliding_window"`.
    package static let slidingWindow = PolicyFeatures(rawValue: 1 << 2)
    /// `"algorithm": "sliding_log"`.
    package static let slidingLog = PolicyFeatures(rawValue: 1 << 8)
    /// `"algorithm": "token_bucket"`, and `burst`.
    package static let tokenBucket = PolicyFeatures(rawValue: 1 << 3)
    /// `"algorithm": "concurrency"`, and `hold`.
    package static let concurrency = PolicyFeatures(rawValue: 1 << 4)
    /// `on_outage` other than `local`.
    package static let onOutage = PolicyFeatures(rawValue: 1 << 5)
    /// `"mode": "shadow"`.
    package static let shadow = PolicyFeatures(rawValue: 1 << 6)
    /// `"precision": "leased"`.
    package static let leased = PolicyFeatures(rawValue: 1 << 9)
    /// `require` and `deny_if`: the operator vouches, with `--arguments-checked-by-gateway`, that the gateway evaluates
    /// them, since only the gateway sees arguments.
    package static let argumentsCheckedByGateway = PolicyFeatures(rawValue: 1 << 7)

    /// The whole language.
    package static let all: PolicyFeatures = [
        .calendarWindows, .moreScopes, .slidingWindow, .slidingLog, .tokenBucket, .concurrency, .onOutage, .shadow,
        .leased, .argumentsCheckedByGateway,
    ]

    /// The features that the engine implements.
    package static let supported = all.subtracting(.argumentsCheckedByGateway)

    /// The features that a document may use: the engine's, and argument rules if the operator vouches for the gateway.
    package static func supported(argumentsCheckedByGateway: Bool) -> PolicyFeatures {
        argumentsCheckedByGateway ? supported.union(.argumentsCheckedByGateway) : supported
    }
}
