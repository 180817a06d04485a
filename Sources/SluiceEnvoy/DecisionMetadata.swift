import SluiceEngine
import SwiftProtobuf

extension Decision.Verdict {
    /// The word of the socket protocol.
    var word: String {
        switch self {
        case .allow: "allow"
        case .limit: "limit"
        case .deny: "deny"
        case .approve: "approve"
        case .unavailable: "unavailable"
        }
    }

    /// The HTTP status of a denial.
    var httpStatus: Envoy_Type_V3_StatusCode {
        switch self {
        case .allow: .ok
        case .limit: .tooManyRequests
        case .deny, .approve: .forbidden
        case .unavailable: .serviceUnavailable
        }
    }
}

extension Decision.Source {
    var word: String {
        switch self {
        case .shared: "shared"
        case .local: "local"
        case .lease: "lease"
        case .cache: "cache"
        case .policy: "policy"
        }
    }
}

extension WireWriter {
    /// Writes `Decision.metadata`, a `google.protobuf.Struct`.
    mutating func metadata(of decision: Decision) {
        member("verdict") { $0.text(3, decision.verdict.word) }
        member("rule") { $0.text(3, decision.rule) }
        member("source") { $0.text(3, decision.source.word) }
        member("remaining") { $0.double(2, Double(decision.remaining)) }
        member("retry_after_ms") { $0.double(2, Double(decision.retryAfterMs)) }
    }

    private mutating func member(_ name: String, _ value: (inout WireWriter) -> Void) {
        message(1) {
            $0.text(1, name)
            $0.message(2, value)
        }
    }
}

extension Decision {
    /// What access logs may show of it.
    var metadata: Google_Protobuf_Struct {
        Google_Protobuf_Struct(fields: [
            "verdict": .init(stringValue: verdict.word), "rule": .init(stringValue: rule),
            "source": .init(stringValue: source.word), "remaining": .init(numberValue: Double(remaining)),
            "retry_after_ms": .init(numberValue: Double(retryAfterMs)),
        ])
    }
}
