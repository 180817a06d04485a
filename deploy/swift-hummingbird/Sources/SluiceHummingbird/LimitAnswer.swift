internal import HTTPTypes
public import Hummingbird
internal import NIOCore
public import SluiceClient

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// What a check means for an HTTP request: whether it may go on, and the status and headers that the caller gets.
public struct LimitAnswer: Sendable, Equatable {
    public var isAllowed: Bool
    /// 200; or 429 over a limit, 503 without an answer or while Redis is unavailable, 403 for all else.
    public var status: HTTPResponse.Status
    /// `RateLimit-Limit` and `RateLimit-Remaining` if a limit applied, `Retry-After` if waiting helps.
    public var headers: HTTPFields
    /// When denied, one sentence for the caller.
    public var message: String
    /// What decided, as a path into the policy; without an answer the reason in parentheses, such as `(timeout)`.
    public var rule: String
    /// The reservation that has to be ended, if one was asked for.
    public var reservation: String?

    /// What is answered while there is no answer from the sidecar: wait so long, in seconds.
    static let retryAfterSeconds = 1

    /// The sidecar's answer.
    public init(_ decision: Decision) {
        isAllowed = decision.allowed
        switch decision.verdict {
        case _ where decision.allowed: status = .ok
        case .limit: status = .tooManyRequests
        case .unavailable: status = .serviceUnavailable
        case .allow, .deny, .approve: status = .forbidden
        }
        headers = [:]
        if decision.limit >= 0 {
            headers[.rateLimitLimit] = String(decision.limit)
            headers[.rateLimitRemaining] = String(max(0, decision.remaining))
        }
        if !decision.allowed, decision.retryAfterMs > 0 {
            let (seconds, rest) = decision.retryAfterMs.quotientAndRemainder(dividingBy: 1_000)
            headers[.retryAfter] = String(seconds + (rest > 0 ? 1 : 0))
        }
        message = decision.message
        rule = decision.rule
        reservation = decision.reservation
    }

    /// Without an answer of the sidecar: what the gateway chose for that.
    init(noAnswer reason: String, _ choice: WithoutAnswer) {
        isAllowed = choice == .open
        status = isAllowed ? .ok : .serviceUnavailable
        headers = isAllowed ? [:] : [.retryAfter: String(Self.retryAfterSeconds)]
        message = isAllowed ? "" : "The rate limiter does not answer. Try again in 1 second."
        rule = "(\(reason))"
    }

    /// A request that cannot be checked: it is denied, whatever the gateway chose.
    init(deniedFor reason: String, _ message: String) {
        isAllowed = false
        status = .forbidden
        headers = [:]
        self.message = message
        rule = "(\(reason))"
    }

    /// The response of a denied request: the message and the rule as JSON.
    public var response: Response {
        var headers = headers
        headers[.contentType] = "application/json"
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let body =
            (try? encoder.encode(["error": message, "rule": rule])).map { ByteBuffer(bytes: $0) } ?? ByteBuffer()
        return Response(status: status, headers: headers, body: .init(byteBuffer: body))
    }
}

/// What a request gets while the sidecar does not answer.
public enum WithoutAnswer: String, Sendable {
    /// It is denied with 503.
    case closed
    /// It passes, and is not counted.
    case open
}

extension HTTPField.Name {
    static let rateLimitLimit = Self("RateLimit-Limit")!
    static let rateLimitRemaining = Self("RateLimit-Remaining")!
}
