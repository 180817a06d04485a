/// The options of a check besides grant and tool.
public struct CheckOptions: Sendable, Equatable {
    /// A further identity of the caller, for limits that count by it.
    public struct Attribute: Sendable, Equatable {
        public var name: String
        public var value: String

        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// How much the check charges: 1 to 10^12. 0 asks whether anything is left, and charges nothing.
    public var cost: Int64
    /// Names are 1 to 256 bytes of UTF-8 without a NUL, here and below.
    public var server: String?
    public var session: String?
    /// At most 16, with distinct names.
    public var attributes: [Attribute]
    /// Ask for a reservation, so that the check may be settled or cancelled later. Not with `peek`.
    public var reserve: Bool
    /// An idempotency key: a repeated check with the same key within 10 minutes gets the same answer and is counted
    /// once. Not with `peek`.
    public var id: String?
    /// A person approved this call.
    public var approved: Bool
    /// Ask for the limits that were evaluated.
    public var trace: Bool

    public init(
        cost: Int64 = 1, server: String? = nil, session: String? = nil, attributes: [Attribute] = [],
        reserve: Bool = false, id: String? = nil, approved: Bool = false, trace: Bool = false
    ) {
        self.cost = cost
        self.server = server
        self.session = session
        self.attributes = attributes
        self.reserve = reserve
        self.id = id
        self.approved = approved
        self.trace = trace
    }

    /// Who calls, as words of a request.
    private var callers: [String] {
        var words: [String] = []
        if let server { words += ["SERVER", server] }
        if let session { words += ["SESSION", session] }
        for attribute in attributes { words += ["ATTR", attribute.name, attribute.value] }
        return words
    }

    /// The options that a charge or refund takes, as words of its request.
    var callerArguments: [String] { callers + (id.map { ["ID", $0] } ?? []) }

    /// The options as the words of a request.
    package var arguments: [String] {
        var words = cost == 1 ? [] : ["COST", String(cost)]
        words += callers
        if reserve { words.append("RESERVE") }
        if let id { words += ["ID", id] }
        if approved { words.append("APPROVED") }
        if trace { words.append("TRACE") }
        return words
    }
}
