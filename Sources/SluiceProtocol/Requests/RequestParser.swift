/// Finds out which command a frame is, and parses the commands that are not on the hot path.
enum RequestParser {
    @inline(__always)
    static func parse(_ arguments: [Range<Int>], in bytes: Span<UInt8>) throws(RequestError) -> Request {
        precondition(!arguments.isEmpty, "a frame has at least the command's name")
        switch PackedWord.of(bytes, arguments[0]) {
        case PackedWord.check: return .check(try CheckParser.parse(arguments, in: bytes, isPeek: false))
        case PackedWord.peek: return .check(try CheckParser.parse(arguments, in: bytes, isPeek: true))
        default: return try parseOther(arguments, in: bytes)
        }
    }

    private static func parseOther(_ arguments: [Range<Int>], in bytes: Span<UInt8>) throws(RequestError) -> Request {
        let name = bytes.string(arguments[0]).lowercased()
        guard let command = CommandTable.command(named: name) else {
            throw RequestError(
                .error,
                "unknown command \(bytes.quoted(arguments[0])), send one of \(CommandTable.allNames)")
        }
        guard command.accepts(argumentCount: arguments.count) else { throw .wrongArity(name) }
        switch name {
        case "commit", "cancel", "release": return .settle(try settle(name, arguments, bytes))
        case "charge", "refund": return try ChargeParser.parse(arguments, in: bytes, isRefund: name == "refund")
        case "cl.throttle": return .throttle(try throttle(arguments, bytes))
        case "counters": return .operators(.counters(try OperatorParser.counters(arguments, bytes)))
        case "tail": return .operators(.tail(try OperatorParser.tail(arguments, bytes)))
        case "info": return .operators(.info(sections: try texts(arguments, bytes).map { $0.lowercased() }))
        case "policy": return .operators(.policy(try texts(arguments, bytes)))
        case "explain": return .explain(try CheckParser.parse(arguments, in: bytes, isPeek: true))
        case "override": return .operators(.override(try OperatorParser.override(arguments, bytes)))
        case "clear": return .operators(.clear(try OperatorParser.clear(arguments, bytes)))
        default: return .connection(try ConnectionParser.parse(name, arguments, in: bytes))
        }
    }

    private static func settle(
        _ name: String, _ arguments: [Range<Int>], _ bytes: Span<UInt8>
    ) throws(RequestError) -> SettleRequest {
        try CheckParser.checkName(bytes, arguments[1], "the grant")
        try CheckParser.checkName(bytes, arguments[2], "the reservation")
        let action: SettleRequest.Action =
            switch name {
            case "commit": .commit(cost: try CheckParser.cost(bytes, arguments[3], atLeast: 0, "the cost"))
            case "cancel": .cancel
            default: .release
            }
        return SettleRequest(action: action, grant: arguments[1], reservation: arguments[2])
    }

    private static func throttle(
        _ arguments: [Range<Int>], _ bytes: Span<UInt8>
    ) throws(RequestError) -> ThrottleRequest {
        try CheckParser.checkName(bytes, arguments[1], "the key")
        return ThrottleRequest(
            key: arguments[1],
            maxBurst: try CheckParser.cost(bytes, arguments[2], atLeast: 0, "max_burst"),
            countPerPeriod: try CheckParser.cost(bytes, arguments[3], atLeast: 1, "count_per_period"),
            periodSeconds: try CheckParser.cost(bytes, arguments[4], atLeast: 1, "period"),
            quantity: arguments.count == 6 ? try CheckParser.cost(bytes, arguments[5], atLeast: 0, "quantity") : 1)
    }

    /// The words after the command's name as text.
    private static func texts(_ arguments: [Range<Int>], _ bytes: Span<UInt8>) throws(RequestError) -> [String] {
        var texts: [String] = []
        for range in arguments.dropFirst() { texts.append(try text(bytes, range)) }
        return texts
    }

    /// One word as text, unchanged.
    static func text(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(RequestError) -> String {
        var index = range.lowerBound
        while index < range.upperBound {
            let length = scalarLength(bytes, index, range.upperBound)
            guard length > 0 else {
                throw .badArgument("argument \(bytes.quoted(range)) is not valid UTF-8, send text in UTF-8")
            }
            index += length
        }
        return bytes.string(range)
    }
}
