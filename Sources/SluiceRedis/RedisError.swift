package import SluiceEngine

/// An error that Redis answered with, and what it says about whether anything was charged.
///
/// The codes in `givenBeforeRunning` are answered by Redis before it executes a command, so nothing was charged:
///
/// | code | why Redis did not run the command |
/// |---|---|
/// | `NOSCRIPT` | it does not know the script's hash |
/// | `MOVED`, `ASK`, `TRYAGAIN`, `CLUSTERDOWN`, `CROSSSLOT` | Cluster looks at the keys before it runs anything |
/// | `LOADING` | it is reading its data set; only commands flagged for that are let through |
/// | `BUSY` | another client's script is running, and commands other than `SCRIPT KILL` are turned away |
/// | `MASTERDOWN` | a replica has lost its master and may not serve what it has |
/// | `NOAUTH`, `WRONGPASS`, `NOPERM` | the user is checked first: identity, command and every key of the command |
/// | `EXECABORT` | a transaction was dropped as a whole |
/// | `READONLY`, `OOM`, `MISCONF`, `NOREPLICAS` | it may not write: looked at before the command, or see below |
///
/// `EVALSHA` may be let through and its first write turned away. That is the case for the codes in
/// `givenToFirstWrite`: once a script has written, Redis lets it go on, so that it is never cut in half (`OOM`,
/// `READONLY` and the others are only looked at while the script is clean). The first write is the marker's `SET`,
/// before anything is charged. Every other error from inside a script may come after a charge, `NOPERM` too (a user
/// who may run `INCRBY` and not `DECRBY`, say), and leaves open what was charged.
///
/// Redis 7 puts the code first and names the script after it (`OOM command not allowed ... script: 5ca1e, on
/// @user_script:12.`). Redis 6.2 wraps it: `ERR Error running script (call to f_5ca1e): @user_script:12: -OOM ...`.
package struct RedisError: Error, Sendable, Equatable {
    /// As Redis wrote it, without the leading `-`.
    package var message: String

    package init(_ message: String) { self.message = message }

    /// The first word: `NOSCRIPT`, `ERR`.
    package var code: Substring { message.prefix { $0 != " " } }

    package var isNoScript: Bool { code == "NOSCRIPT" }

    /// What this error means for a batch that was answered with it.
    package var failure: BatchFailure {
        if let inner = codeFromInsideScript {
            return Self.givenToFirstWrite.contains(inner) ? .refused(message) : .unknown(message)
        }
        return Self.givenBeforeRunning.contains(String(code)) ? .refused(message) : .unknown(message)
    }

    private static let givenToFirstWrite: Set<String> = ["READONLY", "OOM", "MISCONF", "NOREPLICAS"]

    private static let givenBeforeRunning: Set<String> = givenToFirstWrite.union([
        "NOSCRIPT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "CROSSSLOT", "LOADING", "BUSY", "MASTERDOWN",
        "NOAUTH", "WRONGPASS", "NOPERM", "EXECABORT",
    ])

    /// The code of an error that was raised by a line of a script; nil if no script had started. An error that was
    /// raised by a line and shows no code there has an empty one.
    private var codeFromInsideScript: String? {
        let place = "@user_script:"
        guard var rest = message.firstRange(of: place).map({ message[$0.upperBound...] }) else { return nil }
        // Redis 7: the code is the first word of all.
        guard code == "ERR" else { return String(code) }
        // Redis 6.2: `@user_script:12: @user_script: 12: -OOM ...`, the place once or twice.
        while true {
            rest = rest.drop { $0 == " " || $0.isNumber || $0 == ":" }
            guard rest.hasPrefix(place) else { break }
            rest = rest.dropFirst(place.count)
        }
        guard rest.first == "-" else { return "" }
        return String(rest.dropFirst().prefix { $0.isUppercase })
    }
}
