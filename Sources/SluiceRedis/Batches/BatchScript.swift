package import SluiceEngine

/// The scripts in `Scripts/`, embedded in the program. Each begins with `prelude.lua`, and is assembled once.
package enum BatchScript: Sendable, CaseIterable {
    /// For plain batches: one command a counter.
    case charge
    /// For all other batches: it reads all counters of an entry before it writes to any.
    case decide

    package init(for batch: borrowing Batch) { self = batch.isPlain ? .charge : .decide }

    package var source: [UInt8] {
        switch self {
        case .charge: Self.chargeSource
        case .decide: Self.decideSource
        }
    }

    private static let chargeSource = stripped(
        PackageResources.prelude_lua + PackageResources.charge_lua + PackageResources.usage_lua
            + PackageResources.charge_rest_lua)
    private static let decideSource = stripped(
        PackageResources.prelude_lua + PackageResources.checks_lua + PackageResources.usage_lua
            + PackageResources.counters_lua + algorithms + PackageResources.decide_lua
            + PackageResources.settlements_lua + PackageResources.replicas_lua + PackageResources.overrides_lua
            + PackageResources.batch_lua)
    /// In the order of their numbers.
    private static let algorithms =
        PackageResources.fixed_window_lua + PackageResources.sliding_window_lua + PackageResources.token_bucket_lua
        + PackageResources.concurrency_lua + PackageResources.sliding_log_lua

    /// Without lines that are comments, and without indentation: some servers are sent the script with every batch.
    private static func stripped(_ source: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        for line in source.split(separator: UInt8(ascii: "\n")) {
            let text = line.drop { $0 == UInt8(ascii: " ") }
            if !text.starts(with: "--".utf8) { result += text + [UInt8(ascii: "\n")] }
        }
        return result
    }
}

/// The SHA-1 of each script in hexadecimal, as `SCRIPT LOAD` returned it.
package struct BatchScriptHashes: Sendable, Equatable {
    private var charge: [UInt8] = []
    private var decide: [UInt8] = []

    package init() {}

    package subscript(script: BatchScript) -> [UInt8] {
        get {
            switch script {
            case .charge: charge
            case .decide: decide
            }
        }
        set {
            switch script {
            case .charge: charge = newValue
            case .decide: decide = newValue
            }
        }
    }
}
