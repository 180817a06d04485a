/// Parses the options of operators' commands: `NAME value` or `NAME`, in any order, each at most once.
enum OperatorParser {
    static func counters(_ arguments: [Range<Int>], _ bytes: Span<UInt8>) throws(RequestError) -> CountersRequest {
        var request = CountersRequest()
        let options = try options(
            arguments, bytes, values: ["grant", "tool", "sort", "limit", "cursor"], flags: ["atlimit"],
            known: "GRANT, TOOL, ATLIMIT, SORT, LIMIT or CURSOR")
        for (option, value) in options {
            switch option {
            case "grant": request.grant = try name(bytes, value, "GRANT")
            case "tool": request.tool = try name(bytes, value, "TOOL")
            case "atlimit": request.isAtLimit = true
            case "sort":
                guard let order = CountersRequest.Order(rawValue: bytes.string(value).lowercased()) else {
                    throw .badArgument("SORT is \(bytes.quoted(value)), send USED, REMAINING or GRANT")
                }
                request.order = order
            case "cursor": request.cursor = try name(bytes, value, "CURSOR")
            default:
                let maximum = ProtocolBounds.maxCounterRows
                guard let rows = readDigits(bytes, in: value, maximum: Int64(maximum)), rows > 0 else {
                    throw .badArgument("LIMIT is \(bytes.quoted(value)), send a whole number from 1 to \(maximum)")
                }
                request.limit = Int(rows)
            }
        }
        return request
    }

    static func clear(_ arguments: [Range<Int>], _ bytes: Span<UInt8>) throws(RequestError) -> ClearRequest {
        var request = ClearRequest(grant: try name(bytes, arguments[1], "the grant"))
        var rest = arguments.dropFirst()
        // A tool of an option's name is cleared with its grant only.
        if arguments.count > 2, !["cursor", "dryrun"].contains(bytes.string(arguments[2]).lowercased()) {
            request.tool = try name(bytes, arguments[2], "the tool")
            rest = rest.dropFirst()
        }
        let options = try options(
            Array(rest), bytes, values: ["cursor"], flags: ["dryrun"], known: "a tool, CURSOR or DRYRUN")
        for (option, value) in options {
            if option == "cursor" {
                request.cursor = try name(bytes, value, "CURSOR")
            } else {
                request.isDryRun = true
            }
        }
        return request
    }

    static func override(_ arguments: [Range<Int>], _ bytes: Span<UInt8>) throws(RequestError) -> OverrideRequest {
        guard arguments.count > 1 else { return .list(grant: nil) }
        let grant = try name(bytes, arguments[1], "the grant")
        guard arguments.count > 2 else { return .list(grant: grant) }
        let rule = bytes.string(arguments[2])
        guard 1...ProtocolBounds.maxRuleBytes ~= arguments[2].count, !rule.utf8.contains(0) else {
            throw .badArgument(
                "the rule has \(arguments[2].count) bytes, send the path of a limit, 1 to "
                    + "\(ProtocolBounds.maxRuleBytes) bytes without NUL")
        }
        guard arguments.count > 3 else {
            throw .badArgument("a rule alone changes nothing, send a maximum and seconds, or OFF, behind it")
        }
        let isOff = bytes.string(arguments[3]).lowercased() == "off"
        let rest = arguments.dropFirst(isOff ? 4 : 5)
        let isDryRun = rest.first.map { bytes.string($0).lowercased() == "dryrun" } ?? false
        guard rest.count <= 1, rest.isEmpty || isDryRun, isOff || arguments.count > 4 else {
            throw .badArgument(
                "send OVERRIDE grant rule max seconds, or OVERRIDE grant rule OFF, and DRYRUN or nothing")
        }
        if isOff { return .change(grant: grant, rule: rule, max: nil, seconds: 0, isDryRun: isDryRun) }
        guard let max = readDigits(bytes, in: arguments[3], maximum: ProtocolBounds.maxCost) else {
            throw .badArgument(
                "the maximum is \(bytes.quoted(arguments[3])), send a whole number from 0 to "
                    + "\(ProtocolBounds.maxCost), or OFF")
        }
        let longest = ProtocolBounds.maxOverrideSeconds
        guard let seconds = readDigits(bytes, in: arguments[4], maximum: longest), seconds > 0 else {
            throw .badArgument(
                "the time is \(bytes.quoted(arguments[4])), send whole seconds from 1 to \(longest), which is a week")
        }
        return .change(grant: grant, rule: rule, max: max, seconds: seconds, isDryRun: isDryRun)
    }

    static func tail(_ arguments: [Range<Int>], _ bytes: Span<UInt8>) throws(RequestError) -> TailRequest {
        var request = TailRequest()
        let options = try options(
            arguments, bytes, values: ["grant", "tool"], flags: ["denied"], known: "DENIED, GRANT or TOOL")
        for (option, value) in options {
            switch option {
            case "grant": request.grant = try name(bytes, value, "GRANT")
            case "tool": request.tool = try name(bytes, value, "TOOL")
            default: request.deniedOnly = true
            }
        }
        return request
    }

    private static func name(
        _ bytes: Span<UInt8>, _ range: Range<Int>, _ option: StaticString
    ) throws(RequestError) -> String {
        try CheckParser.checkName(bytes, range, option)
        return bytes.string(range)
    }

    /// The options after the command's name, in lower case, each with its value; a flag has its own word.
    ///
    /// - Parameter values: the options that have a value; `flags`: those that have none. In lower case.
    private static func options(
        _ arguments: [Range<Int>], _ bytes: Span<UInt8>, values: Set<String>, flags: Set<String>, known: String
    ) throws(RequestError) -> [(name: String, value: Range<Int>)] {
        var given: [(name: String, value: Range<Int>)] = []
        var index = 1
        while index < arguments.count {
            let word = arguments[index]
            let option = bytes.string(word).lowercased()
            let hasValue = values.contains(option)
            guard hasValue || flags.contains(option) else {
                throw .badArgument("unknown option \(bytes.quoted(word)), send \(known)")
            }
            guard !hasValue || index + 1 < arguments.count else {
                throw .badArgument("\(option.uppercased()) has no value, send \(option.uppercased()) and a value")
            }
            guard !given.contains(where: { $0.name == option }) else {
                throw .badArgument("\(option.uppercased()) is given twice, send it once")
            }
            given.append((option, hasValue ? arguments[index + 1] : word))
            index += hasValue ? 2 : 1
        }
        return given
    }
}
