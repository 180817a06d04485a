import SluiceEngine
import SluiceTerminal

/// A denial as the client reads it.
struct DenialBody: Equatable {
    var status: Envoy_Type_V3_StatusCode
    /// Empty: none.
    var body: String

    /// For a call of an MCP server.
    init(_ decision: Decision, _ call: MCPCall, as denial: Gateways.Denial) {
        switch denial {
        case .http: self.init(plain: decision)
        case .mcp, .error:
            if call.id == .none {
                // A notification has no answer.
                self.init(status: .accepted, body: "")
                return
            }
            let isResult = denial == .mcp && call.method == MCPCall.toolsCall
            let answer: (String, JSONText) =
                isResult ? ("result", Self.result(decision)) : ("error", Self.error(decision))
            // Without the id no client finds the call that this answers, but each understands the status.
            self.init(
                status: call.id.json == nil ? decision.verdict.httpStatus : .ok,
                body: JSONText.object([("jsonrpc", "2.0"), ("id", call.id.json ?? .null), answer]).line)
        }
    }

    private init(status: Envoy_Type_V3_StatusCode, body: String) {
        self.status = status
        self.body = body
    }

    /// A status, and what happened as JSON.
    init(plain decision: Decision) {
        status = decision.verdict.httpStatus
        body =
            JSONText.object([
                ("verdict", .string(decision.verdict.word)), ("rule", .string(decision.rule)),
                ("message", .string(decision.sentence)), ("retry_after_ms", .known(decision.retryAfterMs)),
            ]).line
    }

    /// For a request that names no call.
    init(unnamed message: String) {
        status = .badRequest
        body =
            JSONText.object([
                ("jsonrpc", "2.0"), ("id", .null),
                ("error", .object([("code", -32600), ("message", .string(message))])),
            ]).line
    }

    /// A tool's result: the agent reads it, and can react.
    static func result(_ decision: Decision) -> JSONText {
        .object([
            ("resultType", "complete"), ("isError", .boolean(true)),
            (
                "content",
                .array([.object([("type", "text"), ("text", .string(decision.sentence))])])
            ),
            (
                "_meta",
                .object([
                    ("sluice/verdict", .string(decision.verdict.word)), ("sluice/rule", .string(decision.rule)),
                    ("sluice/retry_after_ms", .integer(decision.retryAfterMs)),
                ])
            ),
        ])
    }

    private static func error(_ decision: Decision) -> JSONText {
        .object([
            ("code", -32000), ("message", .string(decision.sentence)),
            (
                "data",
                .object([
                    ("reason", .string(decision.verdict.word)), ("rule", .string(decision.rule)),
                    ("retry_after_ms", .integer(decision.retryAfterMs)),
                ])
            ),
        ])
    }
}
