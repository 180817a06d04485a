/// Parses the commands that common clients send while they connect. Settings without a meaning here are not an error: a
/// client with a configured password, name or library version must be able to connect.
enum ConnectionParser {
    static func parse(
        _ name: String, _ arguments: [Range<Int>], in bytes: Span<UInt8>
    ) throws(RequestError) -> ConnectionRequest {
        switch name {
        case "ping": return .ping(message: arguments.count == 2 ? arguments[1] : nil)
        case "echo": return .echo(message: arguments[1])
        case "hello": return try hello(arguments, bytes)
        case "auth": return .auth
        case "select": return try select(arguments, bytes)
        case "client": return .client(try client(arguments, bytes))
        case "command": return .command(try command(arguments, bytes))
        case "config": return try config(arguments, bytes)
        case "multi": return .multi
        case "exec": return .exec
        case "discard": return .discard
        case "reset": return .reset
        case "quit": return .quit
        default: preconditionFailure("the table has a command that no parser knows: \(name)")
        }
    }

    private static func hello(
        _ arguments: [Range<Int>], _ bytes: Span<UInt8>
    ) throws(RequestError) -> ConnectionRequest {
        guard arguments.count > 1 else { return .hello(version: nil, name: nil) }
        guard let number = readDigits(bytes, in: arguments[1], maximum: .max) else {
            throw RequestError(.error, "Protocol version is not an integer or out of range, send HELLO 2 or HELLO 3")
        }
        guard let version = RESPVersion(rawValue: Int(number)) else {
            throw RequestError(.noProtocol, "unsupported protocol version, send HELLO 2 or HELLO 3")
        }
        var name: String?
        var index = 2
        while index < arguments.count {
            switch bytes.string(arguments[index]).lowercased() {
            case "auth" where index + 2 < arguments.count: index += 3
            case "setname" where index + 1 < arguments.count:
                name = try clientName(bytes, arguments[index + 1])
                index += 2
            default:
                throw RequestError(
                    .error,
                    "Syntax error in HELLO option \(bytes.quoted(arguments[index])), send AUTH user password or SETNAME name"
                )
            }
        }
        return .hello(version: version, name: name)
    }

    private static func select(
        _ arguments: [Range<Int>], _ bytes: Span<UInt8>
    ) throws(RequestError) -> ConnectionRequest {
        guard let database = readDigits(bytes, in: arguments[1], maximum: 1) else {
            throw RequestError(.error, "DB index is out of range, send SELECT 0, or 1 for replies with names")
        }
        return .select(namesFields: database == 1)
    }

    private static func client(
        _ arguments: [Range<Int>], _ bytes: Span<UInt8>
    ) throws(RequestError) -> ConnectionRequest.Client {
        switch (bytes.string(arguments[1]).lowercased(), arguments.count) {
        case ("id", 2): return .id
        case ("getname", 2): return .getName
        case ("setname", 3): return .setName(try clientName(bytes, arguments[2]))
        case ("info", 2): return .info
        case ("list", 2...): return .list
        case ("setinfo", 4): return .advice
        case ("no-evict", 3), ("no-touch", 3): return .advice
        case ("capa", 3...): return .advice
        default:
            throw .unknownSubcommand(
                "CLIENT", bytes.quoted(arguments[1]),
                "ID, GETNAME, SETNAME name, SETINFO key value, INFO, LIST, NO-EVICT on, NO-TOUCH on or CAPA name")
        }
    }

    private static func command(
        _ arguments: [Range<Int>], _ bytes: Span<UInt8>
    ) throws(RequestError) -> ConnectionRequest.Command {
        guard arguments.count > 1 else { return .info(nil) }
        let names = arguments.count > 2 ? arguments.dropFirst(2).map { bytes.string($0).lowercased() } : nil
        switch (bytes.string(arguments[1]).lowercased(), arguments.count) {
        case ("count", 2): return .count
        case ("list", 2): return .list
        case ("info", _): return .info(names)
        case ("docs", _): return .docs(names)
        case ("getkeys", 3...):
            let name = bytes.string(arguments[2]).lowercased()
            guard let command = CommandTable.command(named: name) else {
                throw RequestError(.error, "Invalid command specified, send a command that COMMAND LIST names")
            }
            guard command.hasGrant else {
                throw RequestError(.error, "The command has no key arguments, send one that takes a grant")
            }
            guard command.accepts(argumentCount: arguments.count - 2) else {
                throw RequestError(.error, "Invalid number of arguments specified for command, send \(command.usage)")
            }
            return .getKeys(key: arguments[3])
        default:
            throw .unknownSubcommand(
                "COMMAND", bytes.quoted(arguments[1]), "COUNT, LIST, INFO, DOCS or GETKEYS command arguments")
        }
    }

    private static func config(
        _ arguments: [Range<Int>], _ bytes: Span<UInt8>
    ) throws(RequestError) -> ConnectionRequest {
        guard arguments.count > 2, bytes.string(arguments[1]).lowercased() == "get" else {
            throw .unknownSubcommand(
                "CONFIG", bytes.quoted(arguments[1]), "GET pattern, settings are sluiced's own flags")
        }
        return .configGet(patterns: arguments.dropFirst(2).map { bytes.string($0).lowercased() })
    }

    /// A connection's name: lists show it between spaces, so it has no space. An empty one removes the name.
    private static func clientName(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(RequestError) -> String {
        guard range.count <= ProtocolBounds.maxNameBytes else {
            throw .badName("the client's name", .tooLong, byteCount: range.count)
        }
        for index in range where !(0x21...0x7e).contains(bytes[index]) {
            throw RequestError(
                .error, "Client names cannot contain spaces, newlines or special characters, send printable ASCII")
        }
        return bytes.string(range)
    }
}

extension RequestError {
    static func unknownSubcommand(_ command: StaticString, _ word: String, _ known: StaticString) -> RequestError {
        RequestError(.error, "unknown subcommand or wrong number of arguments for \(word), send \(command) \(known)")
    }
}
