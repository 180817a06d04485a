/// Parses `CHECK` and `PEEK`: the hot path. It reads each byte of a name once and allocates only for attributes.
enum CheckParser {
    /// The options seen so far, so that none is accepted twice.
    struct Seen: OptionSet {
        let rawValue: UInt8
        static let cost = Seen(rawValue: 1)
        static let server = Seen(rawValue: 2)
        static let session = Seen(rawValue: 4)
        static let id = Seen(rawValue: 8)
        static let reserve = Seen(rawValue: 16)
        static let approved = Seen(rawValue: 32)
        static let trace = Seen(rawValue: 64)
    }

    static func parse(
        _ arguments: [Range<Int>], in bytes: Span<UInt8>, isPeek: Bool
    ) throws(RequestError) -> CheckRequest {
        guard arguments.count >= 3 else { throw .wrongArity(isPeek ? "peek" : "check") }
        var request = CheckRequest(grant: arguments[1], tool: arguments[2])
        request.isPeek = isPeek
        try checkName(bytes, request.grant, "the grant")
        try checkName(bytes, request.tool, "the tool")
        var seen = Seen()
        var index = 3
        while index < arguments.count {
            let option = arguments[index]
            index += 1
            switch PackedWord.of(bytes, option) {
            case PackedWord.cost:
                try once(.cost, "COST", &seen)
                let value = try take("COST", "n", arguments, &index)
                request.cost = try cost(bytes, value, atLeast: 0, "COST")
            case PackedWord.server:
                try once(.server, "SERVER", &seen)
                request.server = try takeName("SERVER", "name", bytes, arguments, &index)
            case PackedWord.session:
                try once(.session, "SESSION", &seen)
                request.session = try takeName("SESSION", "name", bytes, arguments, &index)
            case PackedWord.attribute:
                try takeAttribute(bytes, arguments, &index, into: &request)
            case PackedWord.approved:
                try once(.approved, "APPROVED", &seen)
                request.approved = true
            case PackedWord.trace:
                try once(.trace, "TRACE", &seen)
                request.trace = true
            case PackedWord.reserve:
                try once(.reserve, "RESERVE", &seen)
                guard !isPeek else { throw .notWithPeek("RESERVE") }
                request.reserve = true
            case PackedWord.id:
                try once(.id, "ID", &seen)
                guard !isPeek else { throw .notWithPeek("ID") }
                request.id = try takeName("ID", "key", bytes, arguments, &index)
            default:
                throw .unknownOption(bytes.quoted(option), isPeek: isPeek)
            }
        }
        if request.cost == 0, request.reserve || request.id != nil { throw .chargesNothing }
        return request
    }

    /// A cost as `COST n` and `COMMIT` give it.
    static func cost(
        _ bytes: Span<UInt8>, _ range: Range<Int>, atLeast minimum: Int64, _ what: StaticString
    ) throws(RequestError) -> Int64 {
        guard let value = readDigits(bytes, in: range, maximum: ProtocolBounds.maxCost), value >= minimum else {
            throw .badArgument(
                "\(what) is \(bytes.quoted(range)), send a whole number from \(minimum) to \(ProtocolBounds.maxCost)")
        }
        return value
    }

    @inline(__always)
    static func checkName(_ bytes: Span<UInt8>, _ range: Range<Int>, _ what: StaticString) throws(RequestError) {
        if let fault = NameFault.find(in: bytes, range) { throw .badName(what, fault, byteCount: range.count) }
    }

    @inline(__always)
    static func once(_ option: Seen, _ name: StaticString, _ seen: inout Seen) throws(RequestError) {
        guard seen.insert(option).inserted else { throw .repeated(name) }
    }

    @inline(__always)
    private static func take(
        _ option: StaticString, _ value: StaticString, _ arguments: [Range<Int>], _ index: inout Int
    ) throws(RequestError) -> Range<Int> {
        guard index < arguments.count else { throw .missingValue(option, value) }
        index += 1
        return arguments[index - 1]
    }

    @inline(__always)
    static func takeName(
        _ option: StaticString, _ value: StaticString, _ bytes: Span<UInt8>, _ arguments: [Range<Int>],
        _ index: inout Int
    ) throws(RequestError) -> Range<Int> {
        let name = try take(option, value, arguments, &index)
        try checkName(bytes, name, option)
        return name
    }

    static func takeAttribute(
        _ bytes: Span<UInt8>, _ arguments: [Range<Int>], _ index: inout Int, into request: inout CheckRequest
    ) throws(RequestError) {
        guard arguments.count - index >= 2 else { throw .missingValue("ATTR", "name value") }
        guard request.attributes.count < ProtocolBounds.maxAttributes else {
            throw .badArgument("ATTR is given too often, send at most \(ProtocolBounds.maxAttributes) attributes")
        }
        let attribute = CheckRequest.Attribute(name: arguments[index], value: arguments[index + 1])
        index += 2
        try checkName(bytes, attribute.name, "the name of ATTR")
        try checkName(bytes, attribute.value, "the value of ATTR")
        for earlier in request.attributes where equal(bytes, earlier.name, attribute.name) {
            throw .badArgument("ATTR \(bytes.quoted(attribute.name)) is given twice, send each attribute once")
        }
        request.attributes.append(attribute)
    }

    private static func equal(_ bytes: Span<UInt8>, _ one: Range<Int>, _ other: Range<Int>) -> Bool {
        guard one.count == other.count else { return false }
        for offset in 0..<one.count where bytes[one.lowerBound + offset] != bytes[other.lowerBound + offset] {
            return false
        }
        return true
    }
}

/// The error sentences. They are built only for an invalid request, and never inlined into the hot path.
extension RequestError {
    @inline(never)
    static func wrongArity(_ command: String) -> RequestError {
        let usage = CommandTable.command(named: command)?.usage ?? command.uppercased()
        return RequestError(.error, "wrong number of arguments for '\(command)' command, send \(usage)")
    }

    @inline(never)
    static func badName(_ what: StaticString, _ fault: NameFault, byteCount: Int) -> RequestError {
        switch fault {
        case .empty:
            .badArgument("\(what) is empty, send 1 to \(ProtocolBounds.maxNameBytes) bytes")
        case .tooLong:
            .badArgument("\(what) has \(byteCount) bytes, send 1 to \(ProtocolBounds.maxNameBytes) bytes")
        case .nul:
            .badArgument("\(what) has a NUL byte, send text without it")
        case .notUTF8:
            .badArgument("\(what) is not valid UTF-8, send text in UTF-8")
        }
    }

    @inline(never)
    fileprivate static func repeated(_ option: StaticString) -> RequestError {
        .badArgument("\(option) is given twice, send it once")
    }

    @inline(never)
    fileprivate static func missingValue(_ option: StaticString, _ value: StaticString) -> RequestError {
        .badArgument("\(option) has no value, send \(option) \(value)")
    }

    @inline(never)
    fileprivate static func notWithPeek(_ option: StaticString) -> RequestError {
        .badArgument("PEEK takes no \(option), since it charges nothing, send CHECK or leave \(option) out")
    }

    fileprivate static let chargesNothing = RequestError.badArgument(
        "COST 0 takes no RESERVE and no ID, since it charges nothing, send COST 1 or more or leave them out")

    @inline(never)
    fileprivate static func unknownOption(_ option: String, isPeek: Bool) -> RequestError {
        let known =
            isPeek
            ? "COST, SERVER, SESSION, ATTR, APPROVED or TRACE"
            : "COST, SERVER, SESSION, ATTR, RESERVE, ID, APPROVED or TRACE"
        return .badArgument("unknown option \(option), send \(known)")
    }
}
