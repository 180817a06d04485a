import SluicePolicy
import SluiceTerminal

/// What a request to an MCP server asks for.
struct MCPCall: Equatable {
    /// The id that the answer must have.
    enum ID: Equatable {
        /// A notification, which has no answer.
        case none
        case text(String)
        /// A number, as it was written.
        case number(String)
        /// There is one, and it cannot be given back as it came.
        case unknown

        /// nil if the id cannot be given back.
        var json: JSONText? {
            switch self {
            case .text(let text): .string(text)
            case .number(let text): .literal(text)
            case .none, .unknown: nil
            }
        }
    }

    var method: String
    /// With `tools/call`.
    var tool: String?
    var id: ID

    static let toolsCall = "tools/call"
    static let metadataNamespace = "envoy.filters.http.mcp"

    private var isNamed: Bool { method != Self.toolsCall || tool != nil }

    enum Finding: Equatable {
        case call(MCPCall)
        /// The body is an answer to the server, which asks for nothing.
        case response
        /// Neither metadata, nor the body, nor headers name it.
        case unnamed
    }

    /// From the metadata, the body, or the headers: the first that name the call.
    static func find(metadata: MCPMetadata?, body: [UInt8], headers: (String) -> String?) -> Finding {
        var found = metadata.flatMap { inMetadata($0) }
        if let call = found, call.isNamed, call.id != .unknown { return .call(call) }
        if !body.isEmpty {
            switch inBody(body) {
            case .call(let call):
                // The metadata only lacks the id.
                if let found, found.isNamed {
                    return .call(MCPCall(method: found.method, tool: found.tool, id: call.id))
                }
                if call.isNamed { return .call(call) }
                found = found ?? call
            case .response: if found == nil { return .response }
            // A body that cannot be read in one way only is not one to trust headers about.
            case .unnamed: if found?.isNamed != true { return .unnamed }
            }
        }
        if let call = found, call.isNamed { return .call(call) }
        guard let method = headers("mcp-method"), isPlain(method) else { return .unnamed }
        let named = MCPCall(
            method: method, tool: headers("mcp-name").flatMap { isPlain($0) ? $0 : nil },
            id: found?.id ?? (method.hasPrefix("notifications/") ? .none : .unknown))
        return named.isNamed && (found == nil || found?.method == method) ? .call(named) : .unnamed
    }

    /// Names that are not printable ASCII are encoded in headers; they come from the body.
    private static func isPlain(_ text: String) -> Bool {
        GatewayCheck.isName(text) && !text.hasPrefix("=?") && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }

    private static func inMetadata(_ metadata: MCPMetadata) -> MCPCall? {
        guard case .text(let method) = metadata.method, GatewayCheck.isName(method) else { return nil }
        var tool: String?
        if method == toolsCall, case .text(let name) = metadata.name, GatewayCheck.isName(name) { tool = name }
        return MCPCall(method: method, tool: tool, id: id(metadata.id))
    }

    private static func id(_ value: MCPMetadata.Value) -> ID {
        switch value {
        case .text(let text): return .text(text)
        case .number(let number):
            guard number == number.rounded(), abs(number) <= EnvoyBounds.maxExactDouble else { return .unknown }
            return .number(String(Int64(number)))
        case .none: return .none
        case .other: return .unknown
        }
    }

    /// From a body that is strict JSON without duplicate keys.
    private static func inBody(_ body: [UInt8]) -> Finding {
        var faults = FaultCollector(file: "body")
        guard let root = JSONParser.parse(body, faults: &faults), faults.isEmpty,
            case .object(let members) = root.content
        else { return .unnamed }
        func value(_ key: String, of members: [JSONMember]) -> JSONValue.Content? {
            members.first { $0.key == key }?.value.content
        }
        guard case .string(let method)? = value("method", of: members), GatewayCheck.isName(method) else {
            let isAnswer =
                value("method", of: members) == nil && value("id", of: members) != nil
                && (value("result", of: members) != nil || value("error", of: members) != nil)
            return isAnswer ? .response : .unnamed
        }
        var tool: String?
        if case .object(let params)? = value("params", of: members),
            case .string(let name)? = value("name", of: params), GatewayCheck.isName(name)
        {
            tool = name
        }
        let id: ID =
            switch value("id", of: members) {
            case nil: .none
            case .string(let text)?: .text(text)
            case .integer(let number)?: .number(String(number))
            case .otherNumber(let text)?: .number(text)
            default: .unknown
            }
        return .call(MCPCall(method: method, tool: method == toolsCall ? tool : nil, id: id))
    }
}
