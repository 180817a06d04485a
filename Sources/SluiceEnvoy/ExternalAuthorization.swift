import SluiceEngine
import SluicePolicy
import SluiceProtocol
import SwiftProtobuf

/// One request of Envoy's ext_authz filter: what to ask for it, and what to answer.
package struct ExternalAuthorization {
    package enum Step {
        /// Nothing has to be asked: a `CheckResponse`.
        case answer([UInt8])
        case check(GatewayCheck, ExternalAuthorization)
    }

    /// A request as it was read, with what it calls: all of the work that grows with its size.
    package struct Question: Sendable {
        fileprivate let request: AuthorizationRequest
        fileprivate let finding: MCPCall.Finding

        /// - Throws: if the bytes are no `CheckRequest`.
        package init(serializedBytes bytes: [UInt8]) throws {
            let request = try AuthorizationRequest(serializedBytes: bytes)
            self.request = request
            guard request.isPost else {
                finding = .response
                return
            }
            finding = MCPCall.find(metadata: request.call, body: request.body, headers: { request.header($0) })
        }
    }

    private let call: MCPCall
    private let gateways: Gateways

    /// - Parameter isListed: whether the policy of a grant has a rule for a tool of that name, on that server.
    package static func begin(
        _ question: Question, _ gateways: Gateways,
        isListed: (_ grant: String, _ tool: String, _ server: String?) -> Bool
    ) -> Step {
        let request = question.request
        // Streams are opened with GET, and sessions ended with DELETE: neither calls anything.
        guard request.isPost else { return .answer(unchecked) }
        let call: MCPCall
        switch question.finding {
        case .response: return .answer(unchecked)
        case .unnamed where gateways.missingMetadata == .allow: return .answer(unchecked)
        case .unnamed: return .answer(unnamed)
        case .call(let found): call = found
        }
        let authorization = ExternalAuthorization(call: call, gateways: gateways)
        guard let grant = grant(of: request, gateways) else {
            // What is no tool needs no policy, and so no grant.
            if call.method != MCPCall.toolsCall { return .answer(unchecked) }
            return .answer(
                authorization.denial(
                    .denial(rule: "(no grant)", message: "This request carries no grant, so no tool is allowed.")))
        }
        let tool = call.tool ?? call.method
        if call.method != MCPCall.toolsCall && !isListed(grant, tool, request.contextExtensions["server"]) {
            return .answer(unchecked)
        }
        var question = GatewayCheck.Call(grant: grant, tool: tool)
        for (key, value) in request.contextExtensions.sorted(by: { $0.key < $1.key })
        where GatewayCheck.isName(value) {
            switch key {
            case "grant": break
            case "server": question.server = value
            case "session": question.session = value
            default:
                guard GatewayCheck.isName(key), question.attributes.count < ProtocolBounds.maxAttributes else { break }
                question.attributes.append(GatewayCheck.Attribute(name: key, value: value))
            }
        }
        if question.session == nil, let session = request.header("mcp-session-id"), GatewayCheck.isName(session) {
            question.session = session
        }
        return .check(GatewayCheck(subject: .call(question)), authorization)
    }

    /// - Returns: a `CheckResponse`.
    package func response(to answer: GatewayAnswer) -> [UInt8] {
        switch answer {
        case .busy(let advice): return denial(.busy(advice))
        case .decision(let decision) where !decision.allowed: return denial(decision)
        case .decision(let decision):
            var response = WireWriter(capacity: 320)
            response.message(1) { _ in }
            response.message(3) { allowed in
                for (name, value) in gateways.headers.headers(for: decision) {
                    allowed.message(6) { option in
                        option.message(1) {
                            $0.text(1, name.lowercased())
                            $0.text(2, value)
                        }
                        option.integer(3, Self.overwriteIfExistsOrAdd)
                    }
                }
            }
            response.message(4) { $0.metadata(of: decision) }
            return response.bytes
        }
    }

    private static let overwriteIfExistsOrAdd = UInt64(
        Envoy_Config_Core_V3_HeaderValueOption.HeaderAppendAction.overwriteIfExistsOrAdd.rawValue)

    // MARK: - Answers

    /// Lets the request through without a check.
    private static let unchecked: [UInt8] = {
        var response = WireWriter(capacity: 4)
        response.message(1) { _ in }
        response.message(3) { _ in }
        return response.bytes
    }()

    private static let unnamed: [UInt8] = {
        let message = "This request names no method that can be checked, or no tool."
        return denied(
            DenialBody(unnamed: message), headers: [],
            metadata: Decision.denial(rule: "(no method)", message: message).metadata)
    }()

    private func denial(_ decision: Decision) -> [UInt8] {
        Self.denied(
            DenialBody(decision, call, as: gateways.denial), headers: gateways.headers.headers(for: decision),
            metadata: decision.metadata)
    }

    private static func denied(
        _ denial: DenialBody, headers: [(name: String, value: String)], metadata: Google_Protobuf_Struct
    ) -> [UInt8] {
        var response = Envoy_Service_Auth_V3_CheckResponse()
        response.status.code = permissionDenied
        response.deniedResponse.status.code = denial.status
        response.deniedResponse.body = denial.body
        let type = denial.body.isEmpty ? [] : [(name: "Content-Type", value: "application/json")]
        response.deniedResponse.headers = options(type + headers)
        response.dynamicMetadata = metadata
        // Serializing fails only for required fields, which these messages do not have.
        return (try? response.serializedBytes()) ?? []
    }

    /// Any code but 0 denies; Envoy sends what `denied_response` says.
    private static let permissionDenied: Int32 = 7

    private static func options(
        _ headers: [(name: String, value: String)]
    ) -> [Envoy_Config_Core_V3_HeaderValueOption] {
        headers.map { name, value in
            var option = Envoy_Config_Core_V3_HeaderValueOption()
            option.header.key = name.lowercased()
            option.header.value = value
            option.appendAction = .overwriteIfExistsOrAdd
            return option
        }
    }

    // MARK: - The request

    /// The first of the sources that is there; nil if none is, or if it cannot be a grant.
    private static func grant(
        of request: AuthorizationRequest, _ gateways: Gateways
    ) -> String? {
        for source in gateways.grant {
            let found: String? =
                switch source {
                case .context(let name): request.contextExtensions[name]
                case .header(let name): request.header(name)
                case .claim(let name): claim(name, in: request.tokens)
                case .principal: request.principal
                }
            guard let found, !found.isEmpty else { continue }
            return GatewayCheck.isName(found) ? found : nil
        }
        return nil
    }

    /// A claim of any token whose payload the filter keeps.
    private static func claim(_ name: String, in metadata: Google_Protobuf_Struct?) -> String? {
        guard let metadata else { return nil }
        for (_, value) in metadata.fields.sorted(by: { $0.key < $1.key }) {
            guard case .structValue(let claims)? = value.kind,
                case .stringValue(let text)? = claims.fields[name]?.kind
            else { continue }
            return text
        }
        return nil
    }
}
