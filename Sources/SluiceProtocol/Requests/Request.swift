package import NIOCore

/// A parsed command. Ranges are offsets from the reader index of the buffer that it was parsed from. They are valid
/// until the next call of `RequestFramer.next`.
package enum Request: Sendable, Equatable {
    /// `CHECK` and `PEEK`.
    case check(CheckRequest)
    /// `COMMIT`, `CANCEL` and `RELEASE`.
    case settle(SettleRequest)
    /// `CHARGE`: its cost is charged whatever the maxima say. As if a person had approved the call, which was made already.
    case charge(CheckRequest)
    /// `REFUND`: its cost is given back. Otherwise like `charge`.
    case refund(CheckRequest)
    /// `CL.THROTTLE`.
    case throttle(ThrottleRequest)
    /// `EXPLAIN`, for operators only: like `PEEK`, and answered limit by limit.
    case explain(CheckRequest)
    /// Commands for operators only.
    case operators(OperatorRequest)
    /// Commands that `ConnectionSession` answers by itself.
    case connection(ConnectionRequest)
}

/// The question whether a call may pass. Every name is valid: 1 to 256 bytes of UTF-8 without a NUL.
///
/// It is copied a few times, so it is small: offsets within a frame need at most 32 bits.
package struct CheckRequest: Sendable, Equatable {
    /// A further identity of the caller, from `ATTR name value`. Names of one check are distinct.
    package struct Attribute: Sendable, Equatable {
        package var name: Range<Int>
        package var value: Range<Int>

        package init(name: Range<Int>, value: Range<Int>) {
            self.name = name
            self.value = value
        }
    }

    private struct Bytes: Equatable {
        var lower: UInt32 = 0
        /// 0 if there is no name: names begin after a header and are not empty.
        var upper: UInt32 = 0

        @inline(__always)
        init(_ range: Range<Int>?) {
            guard let range else { return }
            lower = UInt32(truncatingIfNeeded: range.lowerBound)
            upper = UInt32(truncatingIfNeeded: range.upperBound)
        }

        @inline(__always) var range: Range<Int> { Range(uncheckedBounds: (Int(lower), Int(upper))) }
        @inline(__always) var optionalRange: Range<Int>? { upper == 0 ? nil : range }
    }

    private var grantBytes: Bytes
    private var toolBytes: Bytes
    private var serverBytes = Bytes(nil)
    private var sessionBytes = Bytes(nil)
    private var idBytes = Bytes(nil)

    /// How much the check charges: 1 to `ProtocolBounds.maxCost`. 0 asks whether anything is left, and charges nothing:
    /// then neither `reserve` nor `id` is set.
    package var cost: Int64 = 1
    /// At most `ProtocolBounds.maxAttributes`, in the order of the request; no allocation when there is none.
    package var attributes: [Attribute] = []
    /// The check may later be settled or cancelled. Never with `PEEK`.
    package var reserve = false
    /// The gateway vouches that a person approved this call.
    package var approved = false
    /// The reply lists the limits that were evaluated.
    package var trace = false
    /// `PEEK`: nothing is charged.
    package var isPeek = false

    package init(grant: Range<Int>, tool: Range<Int>) {
        grantBytes = Bytes(grant)
        toolBytes = Bytes(tool)
    }

    package var grant: Range<Int> {
        get { grantBytes.range }
        set { grantBytes = Bytes(newValue) }
    }

    package var tool: Range<Int> {
        get { toolBytes.range }
        set { toolBytes = Bytes(newValue) }
    }

    package var server: Range<Int>? {
        get { serverBytes.optionalRange }
        set { serverBytes = Bytes(newValue) }
    }

    package var session: Range<Int>? {
        get { sessionBytes.optionalRange }
        set { sessionBytes = Bytes(newValue) }
    }

    /// The idempotency key under which the answer is cached and replayed. Never with `PEEK`.
    package var id: Range<Int>? {
        get { idBytes.optionalRange }
        set { idBytes = Bytes(newValue) }
    }
}

/// A settlement of a reservation.
package struct SettleRequest: Sendable, Equatable {
    package enum Action: Sendable, Equatable {
        /// Settle to the actual cost of the call: 0 to `ProtocolBounds.maxCost`.
        case commit(cost: Int64)
        /// Give back everything that was charged.
        case cancel
        /// Free a concurrency slot.
        case release
    }

    package var action: Action
    package var grant: Range<Int>
    package var reservation: Range<Int>

    package init(action: Action, grant: Range<Int>, reservation: Range<Int>) {
        self.action = action
        self.grant = grant
        self.reservation = reservation
    }
}

/// `CL.THROTTLE`, with redis-cell's parameters.
package struct ThrottleRequest: Sendable, Equatable {
    package var key: Range<Int>
    /// 0 up: how much may be spent at once beyond the first.
    package var maxBurst: Int64
    /// 1 up: how much returns in one period.
    package var countPerPeriod: Int64
    /// 1 up, in seconds.
    package var periodSeconds: Int64
    /// 0 up: 1 when it is not given.
    package var quantity: Int64

    package init(key: Range<Int>, maxBurst: Int64, countPerPeriod: Int64, periodSeconds: Int64, quantity: Int64) {
        self.key = key
        self.maxBurst = maxBurst
        self.countPerPeriod = countPerPeriod
        self.periodSeconds = periodSeconds
        self.quantity = quantity
    }
}

/// A command for operators. It is rare, so its words are Strings.
package enum OperatorRequest: Sendable, Equatable {
    case counters(CountersRequest)
    /// `INFO [section ...]`, sections lower-cased. Some clients ask it while they connect, so every client should get
    /// an answer.
    case info(sections: [String])
    /// `POLICY ...`, with the words after the command's name.
    case policy([String])
    case clear(ClearRequest)
    case override(OverrideRequest)
    case tail(TailRequest)
}

/// `COUNTERS [GRANT g] [TOOL t] [ATLIMIT] [SORT order] [LIMIT n] [CURSOR c]`.
package struct CountersRequest: Sendable, Equatable {
    /// Which counters come first of all that match.
    package enum Order: String, Sendable, Equatable, CaseIterable {
        /// The most used.
        case used
        /// Those with the least left.
        case remaining
        /// By grant, then by what they count.
        case grant
    }

    package var grant: String?
    package var tool: String?
    /// Only those of which nothing is left.
    package var isAtLimit = false
    /// nil: those found first.
    package var order: Order?
    /// 1 to `ProtocolBounds.maxCounterRows`.
    package var limit = ProtocolBounds.defaultCounterRows
    /// Where an earlier answer ended; nil: from the beginning.
    package var cursor: String?

    package init() {}
}

/// `CLEAR <grant> [<tool>] [CURSOR c] [DRYRUN]`.
package struct ClearRequest: Sendable, Equatable {
    package var grant: String
    /// nil: all tools, and the limits over all tools and groups.
    package var tool: String?
    /// Where an earlier answer ended; nil: from the beginning.
    package var cursor: String?
    /// Whether what would be cleared is listed, and nothing cleared.
    package var isDryRun: Bool

    package init(grant: String, tool: String? = nil, cursor: String? = nil, isDryRun: Bool = false) {
        self.grant = grant
        self.tool = tool
        self.cursor = cursor
        self.isDryRun = isDryRun
    }
}

/// `OVERRIDE [g]`, `OVERRIDE g rule max seconds [DRYRUN]`, `OVERRIDE g rule OFF [DRYRUN]`.
package enum OverrideRequest: Sendable, Equatable {
    /// Those that hold, of one grant or of all.
    case list(grant: String?)
    /// - Parameters:
    ///   - rule: the path of a limit, or its counter.
    ///   - max: 0 to 10^12; nil: ends it.
    ///   - seconds: for how long: 1 to `ProtocolBounds.maxOverrideSeconds`; 0 if it ends.
    ///   - isDryRun: whether it only says what would be.
    case change(grant: String, rule: String, max: Int64?, seconds: Int64, isDryRun: Bool)
}

/// `TAIL [DENIED] [GRANT g] [TOOL t]`: the connection becomes a stream of decisions. Names may be patterns with `*`.
package struct TailRequest: Sendable, Equatable {
    /// Only decisions that denied, and checks answered `BUSY`.
    package var deniedOnly = false
    package var grant: String?
    package var tool: String?

    package init() {}
}

/// A command that concerns only the connection.
package enum ConnectionRequest: Sendable, Equatable {
    package enum Client: Sendable, Equatable {
        case id
        case getName
        /// `SETNAME`; an empty name removes it.
        case setName(String)
        case info
        case list
        /// `SETINFO`, `NO-EVICT`, `NO-TOUCH` and `CAPA`: hints to a server, without effect here.
        case advice
    }

    package enum Command: Sendable, Equatable {
        case count
        /// The names of all commands.
        case list
        /// The description of the commands named, or of all if none is.
        case info([String]?)
        /// The documentation of the commands named, or of all if none is.
        case docs([String]?)
        /// The one key, a grant, that a given command refers to.
        case getKeys(key: Range<Int>)
    }

    case ping(message: Range<Int>?)
    case echo(message: Range<Int>)
    /// `HELLO`; `nil` if the version or the name stays unchanged. Credentials are dropped while parsing.
    case hello(version: RESPVersion?, name: String?)
    /// `AUTH`; credentials are dropped while parsing.
    case auth
    /// `SELECT 0`, or `SELECT 1` for replies with names: clients select their database again on each new connection.
    case select(namesFields: Bool)
    case client(Client)
    case command(Command)
    case configGet(patterns: [String])
    case multi
    case exec
    case discard
    case reset
    case quit

    /// Whether it is carried out between `MULTI` and `EXEC`.
    package var concernsTransactions: Bool {
        switch self {
        case .multi, .exec, .discard, .reset, .quit: true
        default: false
        }
    }
}

/// A wrong argument or an unknown command: the error is sent and the connection stays open.
package struct RequestError: Error, Equatable, Sendable {
    package var code: ErrorCode
    /// One sentence: what was wrong and what to send.
    package var sentence: String

    package init(_ code: ErrorCode, _ sentence: String) {
        self.code = code
        self.sentence = sentence
    }

    /// For a command between `MULTI` and `EXEC`.
    package static let inTransaction = RequestError(
        .error,
        "not run and not charged: there are no transactions here, send commands without MULTI (in redis-py "
            + "pipeline(transaction=False))")

    static func badArgument(_ sentence: String) -> RequestError { RequestError(.badArgument, sentence) }
}

extension Request {
    /// Parses the frame that `RequestFramer` described with `arguments`, which must not be empty.
    ///
    /// A `CHECK` without attributes allocates nothing. Throws the error to send; the connection stays open.
    package static func parse(_ arguments: [Range<Int>], in buffer: ByteBuffer) throws(RequestError) -> Request {
        try RequestParser.parse(arguments, in: buffer.readableBytesUInt8Span)
    }
}

extension RequestFramer {
    package enum Next {
        case check(CheckRequest)
        /// Any other request.
        case other(Request)
        /// The error to send instead of an answer; the connection stays open.
        case wrong(RequestError)
        /// There is no complete frame.
        case incomplete
    }

    /// Finds the next frame and parses it.
    ///
    /// One call does both: for a framer and a buffer that a class holds, each separate call costs reference counting.
    package mutating func nextRequest(in buffer: inout ByteBuffer) throws(FrameError) -> Next {
        guard try next(in: &buffer) == .frame else { return .incomplete }
        do throws(RequestError) {
            let request = try Request.parse(arguments, in: buffer)
            if case .check(let check) = request { return .check(check) }
            return .other(request)
        } catch {
            return .wrong(error)
        }
    }
}

extension ByteBuffer {
    /// The bytes of an argument.
    package func bytes(ofArgument range: Range<Int>) -> ByteBufferView {
        ByteBufferView(self)[readerIndex + range.lowerBound..<readerIndex + range.upperBound]
    }

    /// The bytes of an argument as text; bytes that are not UTF-8 are replaced, which a checked name has none of.
    package func string(ofArgument range: Range<Int>) -> String {
        getString(at: readerIndex + range.lowerBound, length: range.count) ?? ""
    }
}
