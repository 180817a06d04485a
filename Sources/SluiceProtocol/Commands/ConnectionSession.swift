package import NIOCore

/// The state that one connection has agreed on, and the answers to every command that concerns only the connection.
///
/// `answer` takes effect when the request is read, even if its bytes are sent later, after the answers to waiting
/// checks. In that case write it into a separate buffer, and keep `writer` with every waiting request.
package struct ConnectionSession: Sendable {
    package enum Disposition: Equatable, Sendable {
        case goOn
        /// Close after the answer, and all before it, have been sent. Read nothing more.
        case closeAfterReply
    }

    /// The connection's number, unique in this process: the answer to `CLIENT ID`.
    package let id: Int64
    /// The version of Sluice, for `HELLO`.
    package let serverVersion: String
    package private(set) var version = RESPVersion.resp2
    /// The client's name; empty if it gave none. Printable ASCII without spaces.
    package private(set) var name = ""
    /// Whether the fields of a decision have names in RESP2, too.
    package private(set) var namesFields = false
    /// Between `MULTI` and `EXEC` or `DISCARD`. No command is run then: a client takes what is answered for queued, so
    /// what was charged would be lost to it.
    package private(set) var isInTransaction = false
    /// Whether a command was rejected in this transaction.
    private var hasRejected = false

    package init(id: Int64, serverVersion: String) {
        self.id = id
        self.serverVersion = serverVersion
    }

    /// Writes replies in the form that this connection wants now.
    package var writer: ReplyWriter { ReplyWriter(version: version, namesFields: namesFields) }

    /// A command of a transaction was answered with an error.
    package mutating func noteRejected() { hasRejected = true }

    /// Writes the answer to a request; `input` is the buffer that the request was parsed from, with its frame still in
    /// it.
    package mutating func answer(
        _ request: ConnectionRequest, in input: ByteBuffer, to output: inout ByteBuffer
    ) -> Disposition {
        switch request {
        case .ping(nil): writer.writeSimpleString("PONG", to: &output)
        case .ping(let message?), .echo(let message): writer.writeBulkString(message, of: input, to: &output)
        case .hello(let version, let name):
            self.version = version ?? self.version
            self.name = name ?? self.name
            writeHello(to: &output)
        case .auth: writer.writeOK(to: &output)
        case .select(let namesFields):
            self.namesFields = namesFields
            writer.writeOK(to: &output)
        case .client(let request): answer(request, to: &output)
        case .command(let request): writeCommands(request, in: input, to: &output)
        case .configGet(let patterns): writeSettings(patterns, to: &output)
        case .multi, .exec, .discard: answerTransaction(request, to: &output)
        case .reset:
            version = .resp2
            name = ""
            namesFields = false
            isInTransaction = false
            writer.writeSimpleString("RESET", to: &output)
        case .quit:
            writer.writeOK(to: &output)
            return .closeAfterReply
        }
        return .goOn
    }

    /// In the words of Redis, so that clients know where they are: they send the commands without waiting for the answer to
    /// `MULTI`.
    private mutating func answerTransaction(_ request: ConnectionRequest, to output: inout ByteBuffer) {
        switch (request, isInTransaction) {
        case (.multi, true):
            writer.writeError(.error, "MULTI calls can not be nested, send EXEC or DISCARD", to: &output)
        case (.multi, false):
            isInTransaction = true
            hasRejected = false
            writer.writeOK(to: &output)
        case (.exec, false): writer.writeError(.error, "EXEC without MULTI, send the commands alone", to: &output)
        case (.exec, true):
            isInTransaction = false
            if hasRejected {
                writer.writeError(
                    .transactionAborted,
                    "nothing was run and nothing charged: there are no transactions here, send commands without MULTI",
                    to: &output)
            } else {
                writer.writeArrayHeader(0, to: &output)
            }
        case (_, false): writer.writeError(.error, "DISCARD without MULTI, send the commands alone", to: &output)
        case (_, true):
            isInTransaction = false
            writer.writeOK(to: &output)
        }
    }

    private func writeHello(to output: inout ByteBuffer) {
        writer.writeMapHeader(7, to: &output)
        writer.writeBulkString("server", to: &output)
        writer.writeBulkString("sluice", to: &output)
        writer.writeBulkString("version", to: &output)
        writer.writeBulkString(serverVersion, to: &output)
        writer.writeBulkString("proto", to: &output)
        writer.writeInteger(Int64(version.rawValue), to: &output)
        writer.writeBulkString("id", to: &output)
        writer.writeInteger(id, to: &output)
        writer.writeBulkString("mode", to: &output)
        writer.writeBulkString("standalone", to: &output)
        writer.writeBulkString("role", to: &output)
        writer.writeBulkString("master", to: &output)
        writer.writeBulkString("modules", to: &output)
        writer.writeArrayHeader(0, to: &output)
    }

    private mutating func answer(_ request: ConnectionRequest.Client, to output: inout ByteBuffer) {
        switch request {
        case .id: writer.writeInteger(id, to: &output)
        case .getName where name.isEmpty: writer.writeNull(to: &output)
        case .getName: writer.writeBulkString(name, to: &output)
        case .setName(let name):
            self.name = name
            writer.writeOK(to: &output)
        case .info, .list:
            // The list contains only this connection: not every caller may see the others.
            writer.writeText("id=\(id) name=\(name) db=\(namesFields ? 1 : 0) resp=\(version.rawValue)\n", to: &output)
        case .advice: writer.writeOK(to: &output)
        }
    }

    /// Settings that tools read before they start, redis-benchmark above all: nothing is saved, and a database
    /// only says how decisions are answered.
    private static let settings = [("save", ""), ("appendonly", "no"), ("databases", "2")]

    private func writeSettings(_ patterns: [String], to output: inout ByteBuffer) {
        let found = Self.settings.filter { setting in
            patterns.contains { Glob.matches(pattern: Array($0.utf8), text: Array(setting.0.utf8)) }
        }
        writer.writeMapHeader(found.count, to: &output)
        for (name, value) in found {
            writer.writeBulkString(name, to: &output)
            writer.writeBulkString(value, to: &output)
        }
    }
}

/// Patterns of `CONFIG GET`: `*` is any text, `?` any byte.
enum Glob {
    /// Takes at most pattern length times text length steps: it returns only to the last star.
    static func matches(pattern: [UInt8], text: [UInt8]) -> Bool {
        var index = 0
        var position = 0
        var afterStar: (index: Int, position: Int)?
        while position < text.count {
            if index < pattern.count, pattern[index] == UInt8(ascii: "*") {
                index += 1
                afterStar = (index, position)
            } else if index < pattern.count, pattern[index] == UInt8(ascii: "?") || pattern[index] == text[position] {
                index += 1
                position += 1
            } else if let star = afterStar {
                index = star.index
                position = star.position + 1
                afterStar = (index, position)
            } else {
                return false
            }
        }
        return pattern[index...].allSatisfy { $0 == UInt8(ascii: "*") }
    }
}
