import NIOHTTP1
import SluiceEngine
import SluiceEnvoy
import SluiceProtocol
import SluiceTerminal

extension Decision {
    /// The fields of the socket's answer by their names.
    var json: JSONText {
        [
            "allowed": .boolean(allowed), "limit": .integer(limit), "remaining": .integer(remaining),
            "retry_after_ms": .integer(retryAfterMs), "reset_ms": .integer(resetMs),
            "verdict": .string(ReplyVerdict(verdict).rawValue), "rule": .string(rule),
            "source": .string(ReplySource(source).rawValue), "message": .string(sentence),
            "reservation": reservation.map { .string($0) },
            "trace": trace.map { .array($0.map(Self.json)) },
        ]
    }

    private static func json(_ limit: LimitTrace) -> JSONText {
        [
            "rule": .string(limit.rule), "window_start_ms": .integer(limit.windowStartMs),
            "used": .integer(limit.used), "max": .integer(limit.max),
        ]
    }

    /// What HTTP says for the verdict.
    var status: HTTPResponseStatus {
        switch verdict {
        case .allow: .ok
        case .limit: .tooManyRequests
        case .deny, .approve: .forbidden
        case .unavailable: .serviceUnavailable
        }
    }

    /// The headers that inform a client of its limit: `RateLimit-Policy` and `RateLimit` as in the IETF's draft 11, and
    /// the three `X-RateLimit-` headers that most clients know, all in seconds rounded up. Empty without a limit.
    var rateLimitHeaders: [(name: String, value: String)] {
        var headers: [(name: String, value: String)] = []
        if !allowed && retryAfterMs >= 0 { headers.append(("retry-after", "\(Self.seconds(retryAfterMs))")) }
        guard limit >= 0 else { return headers }
        let name = policyName
        headers.append(("ratelimit-policy", "\"\(name)\";q=\(limit)"))
        let reset = resetMs >= 0 ? Self.seconds(resetMs) : nil
        headers.append(("ratelimit", "\"\(name)\";r=\(remaining)" + (reset.map { ";t=\($0)" } ?? "")))
        headers.append(("x-ratelimit-limit", "\(limit)"))
        headers.append(("x-ratelimit-remaining", "\(remaining)"))
        if let reset { headers.append(("x-ratelimit-reset", "\(reset)")) }
        return headers
    }

    /// The counter's name, which ends the rule's path: what the policy calls the limit, never a grant. A header's string
    /// holds visible ASCII alone.
    private var policyName: String {
        let name = rule.utf8.split(separator: UInt8(ascii: "/")).last ?? []
        let isPlain = name.allSatisfy { (0x20..<0x7F).contains($0) && $0 != UInt8(ascii: "\"") && $0 != 0x5C }
        return name.isEmpty || !isPlain ? "limit" : String(decoding: name, as: UTF8.self)
    }

    private static func seconds(_ ms: Int64) -> Int64 { ms / 1000 + (ms % 1000 > 0 ? 1 : 0) }
}
