/// Parses `CHARGE` and `REFUND`.
enum ChargeParser {
    /// A cost of 0 changes nothing: then it asks, as a check of that cost, whether anything is left.
    static func parse(
        _ arguments: [Range<Int>], in bytes: Span<UInt8>, isRefund: Bool
    ) throws(RequestError) -> Request {
        var request = CheckRequest(grant: arguments[1], tool: arguments[2])
        // The call was made: no approval is needed.
        request.approved = true
        try CheckParser.checkName(bytes, request.grant, "the grant")
        try CheckParser.checkName(bytes, request.tool, "the tool")
        request.cost = try CheckParser.cost(bytes, arguments[3], atLeast: 0, "the cost")
        var seen = CheckParser.Seen()
        var index = 4
        while index < arguments.count {
            let option = arguments[index]
            index += 1
            switch PackedWord.of(bytes, option) {
            case PackedWord.server:
                try CheckParser.once(.server, "SERVER", &seen)
                request.server = try CheckParser.takeName("SERVER", "name", bytes, arguments, &index)
            case PackedWord.session:
                try CheckParser.once(.session, "SESSION", &seen)
                request.session = try CheckParser.takeName("SESSION", "name", bytes, arguments, &index)
            case PackedWord.attribute:
                try CheckParser.takeAttribute(bytes, arguments, &index, into: &request)
            case PackedWord.id:
                try CheckParser.once(.id, "ID", &seen)
                request.id = try CheckParser.takeName("ID", "key", bytes, arguments, &index)
            default:
                throw .badArgument("unknown option \(bytes.quoted(option)), send SERVER, SESSION, ATTR or ID")
            }
        }
        guard request.cost > 0 else {
            request.id = nil
            return .check(request)
        }
        return isRefund ? .refund(request) : .charge(request)
    }
}
