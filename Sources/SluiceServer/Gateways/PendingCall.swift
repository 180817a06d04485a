import SluiceEngine
import SluiceEnvoy
import SluiceGRPC

/// A call that waits for answers of the limiter.
struct PendingCall {
    enum Kind {
        case authorization(ExternalAuthorization)
        case rateLimit(RateLimitExchange)
    }

    let stream: Int
    let timeoutNs: Int64?
    let kind: Kind
    let checks: [GatewayCheck]
    private(set) var answers: [GatewayAnswer?]
    private var missing: Int
    /// Whether the caller no longer waits.
    var isAbandoned = false

    init(_ call: GRPCCall, _ kind: Kind, checks: [GatewayCheck]) {
        stream = call.stream
        timeoutNs = call.timeoutNs
        self.kind = kind
        self.checks = checks
        answers = Array(repeating: nil, count: checks.count)
        missing = checks.count
    }

    var isAnswered: Bool { missing == 0 }

    /// Whether every check has been admitted.
    var isAdmitted: Bool {
        answers.allSatisfy { answer in
            if case .decision(let decision)? = answer { decision.allowed } else { false }
        }
    }

    mutating func take(_ answer: GatewayAnswer, at index: Int) {
        if answers[index] == nil { missing -= 1 }
        answers[index] = answer
    }
}

/// Values under numbers, which are used again once they are free.
struct NumberedTable<Value> {
    private var values: [Value?] = []
    private var free: [UInt32] = []

    mutating func insert(_ value: Value) -> UInt32 {
        if let number = free.popLast() {
            values[Int(number)] = value
            return number
        }
        values.append(value)
        return UInt32(values.count - 1)
    }

    @discardableResult
    mutating func remove(_ number: UInt32) -> Value? {
        guard Int(number) < values.count, let value = values[Int(number)] else { return nil }
        values[Int(number)] = nil
        free.append(number)
        return value
    }

    subscript(number: UInt32) -> Value? {
        get { Int(number) < values.count ? values[Int(number)] : nil }
        set { if Int(number) < values.count, values[Int(number)] != nil { values[Int(number)] = newValue } }
    }
}
