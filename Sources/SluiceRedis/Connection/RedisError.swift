package import SluiceEngine

/// An error from Redis, and whether anything was charged.
///
/// Redis answers the codes in `givenBeforeRunning` before it executes a command, so nothing was charged:
///
/// | code | why Redis did not run the command |
/// |---|---|
/// | `NOSCRIPT` | it does not know the script's hash |
/// | `MOVED`, `ASK`, `TRYAGAIN`, `CLUSTERDOWN`, `CROSSSLOT` | Cluster looks at the keys before it runs anything |
/// | `LOADING` | it is reading its data set; only commands flagged for that are let through |
/// | `BUSY` | another client's script is running, and commands other than `SCRIPT KILL` are rejected |
/// | `MASTERDOWN` | a replica has lost its master and may not serve what it has |
/// | `NOAUTH`, `WRONGPASS`, `NOPERM` | the user is checked first: identity, command and every key of the command |
/// | `EXECABORT` | a transaction was dropped as a whole |
/// | `ERR unknown command` | it was renamed, or this server has none of that name |
/// | `READONLY`, `OOM`, `MISCONF`, `NOREPLICAS` | it may not write: looked at before the command, or see below |
///
/// `EVALSHA` may be let through and its first write rejected. That holds for the codes in `givenToFirstWrite`: Redis
/// checks for `OOM`, `READONLY` and the others only until a script's first write, so that no script is cut in half. The
/// first write is the marker's `SET`, before anything is charged. Every other error from inside a script may come after
/// a charge, `NOPERM` too (a user who may run `INCRBY` and not `DECRBY`, say), so it is unknown what was charged.
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

    /// The command, or what it is applied to, is not there for this user: refused by a right, or renamed away.
    var isForbidden: Bool {
        code == "NOPERM" || Self.forbiddenPhrases.contains { message.firstRange(of: $0) != nil }
    }

    /// For a forbidden command: whether its keys are forbidden rather than the command.
    var isAboutKeys: Bool {
        message.firstRange(of: "access a key") != nil || message.firstRange(of: "one of the keys") != nil
    }

    /// The command has another number of arguments than this server knows.
    var isArity: Bool { message.firstRange(of: "wrong number of arguments") != nil }

    /// The key holds a value of another type.
    package var isWrongType: Bool { code == "WRONGTYPE" }

    /// Whether another connection may do better than this one: with a password that was changed, or with the master that
    /// sentinels name.
    func wantsAnotherConnection(bySentinels: Bool) -> Bool {
        code == "NOAUTH" || code == "WRONGPASS" || bySentinels && isReadOnly
    }

    /// The server is a replica, whether it said so before a script ran or to its first write.
    var isReadOnly: Bool { message.firstRange(of: "READONLY") != nil }

    /// The message without the command arguments that it quotes: they may name a grant, or be a password.
    package var reason: String {
        // Protected mode is explained in 900 bytes, of which the first sentence is what it is.
        if code == "DENIED", let end = message.firstRange(of: ". ") { return String(message[..<end.lowerBound]) }
        // Of what Redis 6.2 wraps, the error itself.
        if code == "ERR", let inner = textFromInsideScript, !inner.isEmpty { return String(inner) }
        return message.firstRange(of: Self.quotedArguments).map { String(message[..<$0.lowerBound]) } ?? message
    }

    /// The same without this secret: quoted elsewhere, it becomes `***`; if only a part of it is recognised (Redis cuts
    /// what it quotes), only the code is returned.
    package func reason(without secret: String) -> String {
        guard !secret.isEmpty else { return reason }
        let shown = reason.replacing(secret, with: "***")
        let isPartlyQuoted =
            secret.count > Self.recognisableCharacters
            && shown.firstRange(of: String(secret.prefix(Self.recognisableCharacters))) != nil
        return isPartlyQuoted ? "\(code) (the rest quotes the password)" : shown
    }

    /// What this error means for a batch that was answered with it.
    package var failure: BatchFailure {
        if let inner = codeFromInsideScript {
            return Self.givenToFirstWrite.contains(inner) ? .rejected(reason) : .unknown(reason)
        }
        let isBeforeRunning = Self.givenBeforeRunning.contains(String(code)) || message.hasPrefix(Self.unknownCommand)
        return isBeforeRunning ? .rejected(reason) : .unknown(reason)
    }

    /// Redis 6.2 to 8 and Valkey: `ERR unknown command 'EVALSHA', with args beginning with: '5ca1e' '3' ...`.
    private static let quotedArguments = ", with args beginning with"
    private static let unknownCommand = "ERR unknown command"
    /// From outside and from inside a script, as Redis 6.2 to 8 and Valkey word it.
    private static let forbiddenPhrases = [
        "unknown command", "Unknown Redis command called", "Unknown command called", "user executing the script can't",
        "ACL failure in script",
    ]
    /// So many of a password's first characters are treated as a part of it.
    private static let recognisableCharacters = 6

    private static let givenToFirstWrite: Set<String> = ["READONLY", "OOM", "MISCONF", "NOREPLICAS"]

    private static let givenBeforeRunning: Set<String> = givenToFirstWrite.union([
        "NOSCRIPT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "CROSSSLOT", "LOADING", "BUSY", "MASTERDOWN",
        "NOAUTH", "WRONGPASS", "NOPERM", "EXECABORT",
    ])

    /// The code of an error that a script's line raised; nil if no script had started. It is empty if the error shows
    /// no code there.
    private var codeFromInsideScript: String? {
        textFromInsideScript.map { String($0.prefix { $0.isUppercase }) }
    }

    /// The same with what follows it.
    private var textFromInsideScript: Substring? {
        let place = "@user_script:"
        guard var rest = message.firstRange(of: place).map({ message[$0.upperBound...] }) else { return nil }
        // Redis 7: the code is the message's first word.
        guard code == "ERR" else { return message[...] }
        // Redis 6.2: `@user_script:12: @user_script: 12: -OOM ...`, the place once or twice.
        while true {
            rest = rest.drop { $0 == " " || $0.isNumber || $0 == ":" }
            guard rest.hasPrefix(place) else { break }
            rest = rest.dropFirst(place.count)
        }
        guard rest.first == "-" else { return "" }
        return rest.dropFirst()
    }
}
