import NIOCore

/// `COMMAND`, in Redis 7's form: redis-cli takes its hints from it, and some clients their routing.
extension ConnectionSession {
    func writeCommands(
        _ request: ConnectionRequest.Command, in input: ByteBuffer, to output: inout ByteBuffer
    ) {
        switch request {
        case .count: writer.writeInteger(Int64(CommandTable.commands.count), to: &output)
        case .list:
            writer.writeArrayHeader(CommandTable.commands.count, to: &output)
            for command in CommandTable.commands { writer.writeBulkString(command.name, to: &output) }
        case .info(nil):
            writer.writeArrayHeader(CommandTable.commands.count, to: &output)
            for command in CommandTable.commands { writeInfo(command, to: &output) }
        case .info(let names?):
            writer.writeArrayHeader(names.count, to: &output)
            for name in names {
                if let command = CommandTable.command(named: name) {
                    writeInfo(command, to: &output)
                } else {
                    writeNoInfo(to: &output)
                }
            }
        case .docs(let names):
            let commands = names.map { $0.compactMap(CommandTable.command(named:)) } ?? CommandTable.commands
            writer.writeMapHeader(commands.count, to: &output)
            for command in commands {
                writer.writeBulkString(command.name, to: &output)
                writeDocs(command, to: &output)
            }
        case .getKeys(let key):
            writer.writeArrayHeader(1, to: &output)
            writer.writeBulkString(key, of: input, to: &output)
        }
    }

    /// An unknown command is a null array in RESP2.
    private func writeNoInfo(to output: inout ByteBuffer) {
        switch version {
        case .resp2: output.writeStaticString("*-1\r\n")
        case .resp3: writer.writeNull(to: &output)
        }
    }

    /// Name, arity, flags, first key, last key, step, categories, tips, key specifications, subcommands.
    private func writeInfo(_ command: CommandDescription, to output: inout ByteBuffer) {
        let key: Int64 = command.hasGrant ? 1 : 0
        writer.writeArrayHeader(10, to: &output)
        writer.writeBulkString(command.name, to: &output)
        writer.writeInteger(Int64(command.arity), to: &output)
        writer.writeSetHeader(command.flags.count, to: &output)
        for flag in command.flags { writer.writeSimpleString(flag, to: &output) }
        for _ in 0..<3 { writer.writeInteger(key, to: &output) }
        writer.writeSetHeader(0, to: &output)
        for _ in 0..<3 { writer.writeArrayHeader(0, to: &output) }
    }

    private func writeDocs(_ command: CommandDescription, to output: inout ByteBuffer) {
        writer.writeMapHeader(command.arguments.isEmpty ? 3 : 4, to: &output)
        writePair("summary", command.summary, to: &output)
        writePair("since", "1.0.0", to: &output)
        writePair("group", command.group, to: &output)
        if !command.arguments.isEmpty {
            writer.writeBulkString("arguments", to: &output)
            writeArguments(command.arguments, to: &output)
        }
    }

    private func writeArguments(_ arguments: [ArgumentDescription], to output: inout ByteBuffer) {
        writer.writeArrayHeader(arguments.count, to: &output)
        for argument in arguments {
            var flags: [String] = []
            if argument.isOptional { flags.append("optional") }
            if argument.isRepeated { flags.append("multiple") }
            if argument.isRepeated, argument.token != nil { flags.append("multiple_token") }
            let optionalFields = [argument.token != nil, !flags.isEmpty, !argument.parts.isEmpty].count { $0 }
            writer.writeMapHeader(3 + optionalFields, to: &output)
            writePair("name", argument.name, to: &output)
            writePair("type", argument.kind.rawValue, to: &output)
            writePair("display_text", argument.name, to: &output)
            if let token = argument.token { writePair("token", token, to: &output) }
            if !flags.isEmpty {
                writer.writeBulkString("flags", to: &output)
                writer.writeSetHeader(flags.count, to: &output)
                for flag in flags { writer.writeSimpleString(flag, to: &output) }
            }
            if !argument.parts.isEmpty {
                writer.writeBulkString("arguments", to: &output)
                writeArguments(argument.parts, to: &output)
            }
        }
    }

    private func writePair(_ key: String, _ value: String, to output: inout ByteBuffer) {
        writer.writeBulkString(key, to: &output)
        writer.writeBulkString(value, to: &output)
    }
}
