import FoundationEssentials
import SluicePolicy
import SluiceTerminal
import SwiftProtobuf
import Testing

@testable import SluiceEnvoy

private typealias Request = Envoy_Service_Auth_V3_CheckRequest
private typealias Response = Envoy_Service_Auth_V3_CheckResponse

@Suite struct ExternalAuthorizationTests {
    private static func request(
        _ method: String = "tools/call", tool: String? = "opencode_run",
        id: Google_Protobuf_Value? = .init(numberValue: 21), grant: String? = "alice-laptop", verb: String = "POST"
    ) -> Request {
        var request = Request()
        request.attributes.request.http.method = verb
        if let grant { request.attributes.contextExtensions["grant"] = grant }
        request.attributes.metadataContext.filterMetadata[MCPCall.metadataNamespace] = MCPCallTests.metadata(
            method, tool: tool, id: id)
        return request
    }

    private var asker: Asker
    private let policies: PolicySet

    init() throws {
        asker = try Asker()
        policies = PolicySet(single: try PolicyDocument.parse(Array(Asker.policy.utf8), file: "p"))
    }

    private mutating func answer(_ request: Request, _ gateways: Gateways = Gateways()) -> Response {
        let step = ExternalAuthorization.begin(request, gateways) { grant, tool, _ in
            tool == "tools/list" || tool == "opencode_run"
        }
        switch step {
        case .answer(let response): return response
        case .check(let check, let authorization): return authorization.message(to: asker.ask(check))
        }
    }

    private func check(_ request: Request, _ gateways: Gateways = Gateways()) -> GatewayCheck.Call? {
        guard case .check(let check, _) = ExternalAuthorization.begin(request, gateways, isListed: { _, _, _ in true }),
            case .call(let call) = check.subject
        else { return nil }
        return call
    }

    private func headers(_ response: Response) -> [String: String] {
        let options =
            response.hasDenied ? response.deniedResponse.headers : response.okResponse.responseHeadersToAdd
        return Dictionary(uniqueKeysWithValues: options.map { ($0.header.key, $0.header.value) })
    }

    @Test mutating func tenCallsPassAndTheEleventhIsAToolResult() {
        for left in (0..<10).reversed() {
            let response = answer(Self.request())
            #expect(response.status.code == 0)
            #expect(headers(response)["ratelimit"] == "\"opencode_run_rate\";r=\(left);t=29")
            #expect(response.dynamicMetadata.fields["verdict"]?.stringValue == "allow")
            #expect(response.dynamicMetadata.fields["remaining"]?.numberValue == Double(left))
        }
        let response = answer(Self.request())
        #expect(response.status.code != 0)
        #expect(response.deniedResponse.status.code == .ok)
        #expect(
            response.deniedResponse.body
                == #"{"jsonrpc":"2.0","id":21,"result":{"resultType":"complete","isError":true,"content":[{"type":"text","text":"opencode_run is limited to 10 calls per minute for this grant. Try again in 29 seconds."}],"_meta":{"sluice/verdict":"limit","sluice/rule":"/tools/opencode_run/limits/opencode_run_rate","sluice/retry_after_ms":28317}}}"#
        )
        #expect(
            headers(response) == [
                "content-type": "application/json", "retry-after": "29",
                "ratelimit-policy": "\"opencode_run_rate\";q=10;w=60", "ratelimit": "\"opencode_run_rate\";r=0;t=29",
            ])
        let metadata = response.dynamicMetadata.fields
        #expect(metadata["verdict"]?.stringValue == "limit")
        #expect(metadata["rule"]?.stringValue == "/tools/opencode_run/limits/opencode_run_rate")
        #expect(metadata["source"]?.stringValue == "local")
        #expect(metadata["retry_after_ms"]?.numberValue == 28317)
        #expect(metadata.count == 5)
    }

    @Test mutating func theIDComesBackAsItCame() {
        for _ in 0..<10 { _ = answer(Self.request()) }
        let ids: [(Google_Protobuf_Value, String)] = [
            (.init(numberValue: 0), "0"), (.init(numberValue: -7), "-7"), (.init(stringValue: "7"), "\"7\""),
            (.init(stringValue: "a\"\\\u{1}"), #""a\"\\\u0001""#),
            (.init(numberValue: 9_007_199_254_740_991), "9007199254740991"),
        ]
        for (id, text) in ids {
            let response = answer(Self.request(id: id))
            #expect(response.deniedResponse.status.code == .ok)
            #expect(response.deniedResponse.body.hasPrefix(#"{"jsonrpc":"2.0","id":\#(text),"result":{"#))
        }
    }

    @Test mutating func anIDThatCannotComeBackIsNullWithAStatus() {
        for _ in 0..<10 { _ = answer(Self.request()) }
        let response = answer(Self.request(id: .init(numberValue: 9_007_199_254_740_992)))
        #expect(response.deniedResponse.status.code == .tooManyRequests)
        #expect(response.deniedResponse.body.hasPrefix(#"{"jsonrpc":"2.0","id":null,"result":"#))
    }

    @Test mutating func aDeniedNotificationHasNoBody() {
        for _ in 0..<10 { _ = answer(Self.request()) }
        let response = answer(Self.request(id: nil))
        #expect(response.deniedResponse.status.code == .accepted)
        #expect(response.deniedResponse.body.isEmpty)
        #expect(headers(response)["content-type"] == nil)
    }

    @Test mutating func otherMethodsAreCheckedWhereThePolicyListsThem() {
        #expect(answer(Self.request("initialize", tool: nil)).status.code == 0)
        #expect(answer(Self.request("initialize", tool: nil, grant: nil)).status.code == 0)
        #expect(answer(Self.request("tools/list", tool: nil)).status.code == 0)
        let response = answer(Self.request("tools/list", tool: nil))
        #expect(response.deniedResponse.status.code == .ok)
        #expect(
            response.deniedResponse.body.hasPrefix(
                #"{"jsonrpc":"2.0","id":21,"error":{"code":-32000,"message":"tools/list is limited to 1 call per hour for this grant. Try again in"#
            ))
        #expect(
            response.deniedResponse.body.contains(
                #""data":{"reason":"limit","rule":"/tools/tools~1list/limits/lists","#)
        )
    }

    @Test mutating func verdictsHaveTheirStatusesWithoutMCP() {
        var gateways = Gateways()
        gateways.denial = .http
        #expect(answer(Self.request(tool: "other"), gateways).deniedResponse.status.code == .forbidden)
        #expect(answer(Self.request(tool: "approve_me"), gateways).deniedResponse.status.code == .forbidden)
        for _ in 0..<10 { _ = answer(Self.request(), gateways) }
        let response = answer(Self.request(), gateways)
        #expect(response.deniedResponse.status.code == .tooManyRequests)
        #expect(
            response.deniedResponse.body
                == #"{"verdict":"limit","rule":"/tools/opencode_run/limits/opencode_run_rate","message":"opencode_run is limited to 10 calls per minute for this grant. Try again in 29 seconds.","retry_after_ms":28317}"#
        )
    }

    @Test func aBusyLimiterIsAnAnswerThatTheAgentReads() {
        guard
            case .check(_, let authorization) = ExternalAuthorization.begin(
                Self.request(), Gateways(), isListed: { _, _, _ in true })
        else {
            Issue.record("nothing was asked")
            return
        }
        let response = authorization.message(to: .busy("too many checks are waiting, retry after a moment"))
        #expect(response.deniedResponse.status.code == .ok)
        #expect(response.deniedResponse.body.contains(#""isError":true"#))
        #expect(response.deniedResponse.body.contains(#""sluice/verdict":"unavailable""#))
        #expect(headers(response)["retry-after"] == "1")
    }

    @Test mutating func whatIsNoPOSTPasses() {
        for verb in ["GET", "DELETE", "OPTIONS"] {
            #expect(answer(Self.request(tool: "other", grant: nil, verb: verb)).status.code == 0)
        }
    }

    @Test mutating func aPOSTWithoutAMethodIsDenied() {
        var request = Request()
        request.attributes.request.http.method = "POST"
        request.attributes.contextExtensions["grant"] = "a"
        let response = answer(request)
        #expect(response.status.code != 0)
        #expect(response.deniedResponse.status.code == .badRequest)
        #expect(response.deniedResponse.body.hasPrefix(#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"#))
        var gateways = Gateways()
        gateways.missingMetadata = .allow
        #expect(answer(request, gateways).status.code == 0)
        #expect(answer(Self.request(tool: nil)).deniedResponse.status.code == .badRequest)
    }

    @Test mutating func withoutAGrantNoToolIsAllowed() {
        let response = answer(Self.request(grant: nil))
        #expect(response.deniedResponse.body.contains("carries no grant"))
        #expect(answer(Self.request(grant: String(repeating: "x", count: 257))).status.code != 0)
        #expect(answer(Self.request(grant: "a\0b")).status.code != 0)
    }

    @Test func theGrantComesFromTheFirstSourceThatIsThere() {
        var request = Self.request(grant: nil)
        request.attributes.source.principal = "spiffe://td/p"
        #expect(check(request)?.grant == "spiffe://td/p")
        request.attributes.metadataContext.filterMetadata["envoy.filters.http.jwt_authn"] = .init(fields: [
            "payload": .init(structValue: .init(fields: ["sub": .init(stringValue: "token")]))
        ])
        #expect(check(request)?.grant == "token")
        request.attributes.request.http.headers["x-grant"] = "header"
        #expect(check(request)?.grant == "header")
        request.attributes.contextExtensions["grant"] = "context"
        #expect(check(request)?.grant == "context")
        var gateways = Gateways()
        gateways.grant = [.principal]
        #expect(check(request, gateways)?.grant == "spiffe://td/p")
        gateways.grant = [.claim("email")]
        #expect(check(request, gateways) == nil)
    }

    @Test func rawHeadersAreRead() {
        var request = Self.request(grant: nil)
        var header = Envoy_Config_Core_V3_HeaderValue()
        header.key = "x-grant"
        header.rawValue = .init("raw".utf8)
        request.attributes.request.http.headerMap.headers = [header]
        #expect(check(request)?.grant == "raw")
    }

    @Test func contextExtensionsAreServerSessionAndAttributes() {
        var request = Self.request()
        request.attributes.contextExtensions["server"] = "code"
        request.attributes.contextExtensions["team"] = "red"
        request.attributes.request.http.headers["mcp-session-id"] = "s1"
        let call = check(request)
        #expect(call?.server == "code")
        #expect(call?.session == "s1")
        #expect(call?.attributes == [GatewayCheck.Attribute(name: "team", value: "red")])
        request.attributes.contextExtensions["session"] = "s2"
        #expect(check(request)?.session == "s2")
    }

    @Test func theBodyIsReadIfThereIsNoMetadata() {
        var request = Self.request()
        request.attributes.clearMetadataContext()
        request.attributes.request.http.rawBody = .init(
            #"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"from_body"}}"#.utf8)
        #expect(check(request)?.tool == "from_body")
    }
}

extension Envoy_Service_Auth_V3_CheckResponse {
    var hasDenied: Bool {
        if case .deniedResponse? = httpResponse { true } else { false }
    }
}
