import SluiceEngine
import SluicePolicy
import SluiceProtocol
import SwiftProtobuf

/// One request of Envoy's ext_authz filter: what to ask for it, and what to answer.
package struct ExternalAuthorization {
    package enum Step {
        /// Nothing has to be asked.
        case answer(Envoy_Service_Auth_V3_CheckResponse)
        case check(GatewayCheck, ExternalAuthorization)
    }

    /// A request as it was read, with what it calls: all of the work that grows with its size.
    package struct Question: Sendable {
        fileprivate let attributes: Envoy_Service_Auth_V3_AttributeContext
        fileprivate let finding: MCPCall.Finding

        /// - Throws: an error of SwiftProtobuf if the bytes are no such message.
        package init(serializedBytes bytes: [UInt8]) throws {
            self.init(try Envoy_Service_Auth_V3_CheckRequest(serializedBytes: bytes))
        }

        package init(_ request: Envoy_Service_Auth_V3_CheckRequest) {
            attributes = request.attributes
            let http = attributes.request.http
            guard http.method == "POST" else {
                finding = .response
                return
            }
            let body = http.rawBody.isEmpty ? Array(http.body.utf8) : Array(http.rawBody)
            finding = MCPCall.find(
                metadata: attributes.metadataContext.filterMetadata[MCPCall.metadataNamespace], body: body,
                headers: { header($0, of: http) })
        }
    }

    private let call: MCPCall
    private let gateways: Gateways

    package static func begin(
        _ request: Envoy_Service_Auth_V3_CheckRequest, _ gateways: Gateways,
        isListed: (_ grant: String, _ tool: String, _ server: String?) -> Bool
    ) -> Step {
        begin(Question(request), gateways, isListed: isListed)
    }

    /// - Parameter isListed: whether the policy of a grant has a rule for a tool of that name, on that server.
    package static func begin(
        _ question: Question, _ gateways: Gateways,
        isListed: (_ grant: String, _ tool: String, _ server: String?) -> Bool
    ) -> Step {
        let attributes = question.attributes
        let http = attributes.request.http
        // Streams are opened with GET, and sessions ended with DELETE: neither calls anything.
        guard http.method == "POST" else { return .answer(unchecked) }
        let call: MCPCall
        switch question.finding {
        case .response: return .answer(unchecked)
        case .unnamed where gateways.missingMetadata == .allow: return .answer(unchecked)
        case .unnamed: return .answer(unnamed)
        case .call(let found): call = found
        }
        let authorization = ExternalAuthorization(call: call, gateways: gateways)
        guard let grant = grant(of: attributes, gateways) else {
            // What is no tool needs no policy, and so no grant.
            if call.method != MCPCall.toolsCall { return .answer(unchecked) }
            return .answer(
                authorization.denial(
                    .denial(rule: "(no grant)", message: "This request carries no grant, so no tool is allowed.")))
        }
        let tool = call.tool ?? call.method
        if call.method != MCPCall.toolsCall && !isListed(grant, tool, attributes.contextExtensions["server"]) {
            return .answer(unchecked)
        }
        var question = GatewayCheck.Call(grant: grant, tool: tool)
        for (key, value) in attributes.contextExtensions.sorted(by: { $0.key < $1.key })
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
        if question.session == nil, let session = header("mcp-session-id", of: http), GatewayCheck.isName(session) {
            question.session = session
        }
        return .check(GatewayCheck(subject: .call(question)), authorization)
    }

    package func response(to answer: GatewayAnswer) -> Envoy_Service_Auth_V3_CheckResponse {
        switch answer {
        case .busy(let advice): return denial(.busy(advice))
        case .decision(let decision) where !decision.allowed: return denial(decision)
        case .decision(let decision):
            var response = Envoy_Service_Auth_V3_CheckResponse()
            response.status = Google_Rpc_Status()
            response.okResponse.responseHeadersToAdd = Self.options(gateways.headers.headers(for: decision))
            response.dynamicMetadata = decision.metadata
            return response
        }
    }

    // MARK: - Answers

    /// Lets the request through without a check.
    private static let unchecked: Envoy_Service_Auth_V3_CheckResponse = {
        var response = Envoy_Service_Auth_V3_CheckResponse()
        response.status = Google_Rpc_Status()
        response.okResponse = Envoy_Service_Auth_V3_OkHttpResponse()
        return response
    }()

    private static let unnamed: Envoy_Service_Auth_V3_CheckResponse = {
        let message = "This request names no method that can be checked, or no tool."
        return denied(
            DenialBody(unnamed: message), headers: [],
            metadata: Decision.denial(rule: "(no method)", message: message).metadata)
    }()

    private func denial(_ decision: Decision) -> Envoy_Service_Auth_V3_CheckResponse {
        Self.denied(
            DenialBody(decision, call, as: gateways.denial), headers: gateways.headers.headers(for: decision),
            metadata: decision.metadata)
    }

    private static func denied(
        _ denial: DenialBody, headers: [(name: String, value: String)], metadata: Google_Protobuf_Struct
    ) -> Envoy_Service_Auth_V3_CheckResponse {
        var response = Envoy_Service_Auth_V3_CheckResponse()
        response.status.code = permissionDenied
        response.deniedResponse.status.code = denial.status
        response.deniedResponse.body = denial.body
        let type = denial.body.isEmpty ? [] : [(name: "Content-Type", value: "application/json")]
        response.deniedResponse.headers = options(type + headers)
        response.dynamicMetadata = metadata
        return response
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

    private static func header(
        _ name: String, of http: Envoy_Service_Auth_V3_AttributeContext.HttpRequest
    ) -> String? {
        if let value = http.headers[name] { return value }
        guard let header = http.headerMap.headers.first(where: { $0.key == name }) else { return nil }
        guard !header.rawValue.isEmpty else { return header.value }
        return String(validating: header.rawValue, as: UTF8.self)
    }

    private static let tokenNamespace = "envoy.filters.http.jwt_authn"

    /// The first of the sources that is there; nil if none is, or if it cannot be a grant.
    private static func grant(
        of attributes: Envoy_Service_Auth_V3_AttributeContext, _ gateways: Gateways
    ) -> String? {
        for source in gateways.grant {
            let found: String? =
                switch source {
                case .context(let name): attributes.contextExtensions[name]
                case .header(let name): header(name, of: attributes.request.http)
                case .claim(let name): claim(name, in: attributes.metadataContext.filterMetadata[tokenNamespace])
                case .principal: attributes.source.principal
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
