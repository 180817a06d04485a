import SwiftProtobuf
import Testing

@testable import SluiceEnvoy

@Suite struct MCPCallTests {
    static func metadata(
        _ method: String?, tool: String? = nil, id: Google_Protobuf_Value? = nil
    ) -> Google_Protobuf_Struct {
        var metadata = Google_Protobuf_Struct()
        if let method { metadata.fields["method"] = .init(stringValue: method) }
        if let id { metadata.fields["id"] = id }
        if let tool {
            metadata.fields["params"] = .init(structValue: .init(fields: ["name": .init(stringValue: tool)]))
        }
        return metadata
    }

    static func find(
        _ metadata: Google_Protobuf_Struct? = nil, body: String = "", headers: [String: String] = [:]
    ) -> MCPCall.Finding {
        MCPCall.find(
            metadata: metadata.flatMap { MCPMetadata($0) }, body: Array(body.utf8), headers: { headers[$0] })
    }

    static func call(_ method: String, _ tool: String?, _ id: MCPCall.ID) -> MCPCall.Finding {
        .call(MCPCall(method: method, tool: tool, id: id))
    }

    static func run(_ id: MCPCall.ID) -> MCPCall.Finding { call("tools/call", "run", id) }

    @Test func metadataNamesTheCall() {
        #expect(
            Self.find(Self.metadata("tools/call", tool: "run", id: .init(numberValue: 21))) == Self.run(.number("21")))
        #expect(
            Self.find(Self.metadata("tools/call", tool: "run", id: .init(stringValue: "21"))) == Self.run(.text("21")))
        #expect(Self.find(Self.metadata("tools/call", tool: "run")) == Self.run(.none))
        #expect(
            Self.find(Self.metadata("tools/list", tool: "run", id: .init(numberValue: -1)))
                == Self.call("tools/list", nil, .number("-1")))
    }

    @Test func metadataWinsOverBodyAndHeaders() {
        let body = #"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"other"}}"#
        #expect(
            Self.find(
                Self.metadata("tools/call", tool: "run", id: .init(numberValue: 2)), body: body,
                headers: ["mcp-method": "tools/list"]) == Self.run(.number("2")))
    }

    @Test(arguments: [9_007_199_254_740_994, 9_007_199_254_740_992, 1.5, .infinity, -1e300])
    func anIDThatADoubleDoesNotHoldComesFromTheBody(id: Double) {
        let metadata = Self.metadata("tools/call", tool: "run", id: .init(numberValue: id))
        #expect(Self.find(metadata) == Self.run(.unknown))
        let body = #"{"id":9007199254740993,"method":"tools/call","params":{"name":"run"}}"#
        #expect(Self.find(metadata, body: body) == Self.run(.number("9007199254740993")))
        let larger = #"{"id":123456789012345678901234567890,"method":"tools/call","params":{"name":"run"}}"#
        #expect(Self.find(metadata, body: larger) == Self.run(.number("123456789012345678901234567890")))
    }

    @Test func aBodyNamesTheCall() {
        #expect(
            Self.find(body: #"{"id":"a","method":"tools/call","params":{"name":"run"}}"#) == Self.run(.text("a")))
        #expect(Self.find(body: #"{"method":"tools/call","params":{"name":"run"}}"#) == Self.run(.none))
        #expect(Self.find(body: #"{"id":null,"method":"tools/call","params":{"name":"run"}}"#) == Self.run(.unknown))
        #expect(Self.find(body: #"{"id":1,"method":"ping"}"#) == Self.call("ping", nil, .number("1")))
    }

    @Test(arguments: [
        #"{"id":1,"method":"tools/call","params":{"name":"run","name":"other"}}"#,
        #"{"id":1,"method":"tools/call","method":"ping","params":{"name":"run"}}"#,
        #"[{"id":1,"method":"tools/call","params":{"name":"run"}}]"#, #"{"id":1,"method":"tools/call"}"#,
        #"{"id":1,"method":"tools/call","params":{"name":7}}"#, #"{"id":1,"method":7}"#, "{", "null", #"{"id":1}"#,
        #"{"id":1,"method":""}"#, "\u{FEFF}{}",
    ])
    func aBodyThatIsNotPlainNamesNothing(body: String) {
        #expect(Self.find(body: body) == .unnamed)
        #expect(Self.find(body: body, headers: ["mcp-method": "tools/call", "mcp-name": "run"]) != Self.run(.none))
    }

    @Test func aBodyThatCannotBeReadIsNotMadeUpForByHeaders() {
        let headers = ["mcp-method": "tools/call", "mcp-name": "run"]
        #expect(Self.find(body: #"{"id":1,"id":2,"method":"ping"}"#, headers: headers) == .unnamed)
    }

    @Test func anAnswerOfTheClientIsNoCall() {
        #expect(Self.find(body: #"{"jsonrpc":"2.0","id":1,"result":{}}"#) == .response)
        #expect(Self.find(body: #"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#) == .response)
        #expect(Self.find(body: #"{"jsonrpc":"2.0","id":1,"method":7,"result":{}}"#) == .unnamed)
    }

    @Test func headersNameTheCallWithoutAnID() {
        #expect(Self.find(headers: ["mcp-method": "tools/call", "mcp-name": "run"]) == Self.run(.unknown))
        #expect(
            Self.find(headers: ["mcp-method": "notifications/cancelled"])
                == Self.call("notifications/cancelled", nil, .none))
        #expect(Self.find(headers: ["mcp-method": "tools/call"]) == .unnamed)
        #expect(Self.find(headers: ["mcp-method": "tools/call", "mcp-name": "=?base64?cnVu?="]) == .unnamed)
        #expect(Self.find(headers: ["mcp-method": "tools/call", "mcp-name": "rün"]) == .unnamed)
    }

    @Test func metadataWithoutAToolIsCompletedByHeadersOfTheSameMethod() {
        let metadata = Self.metadata("tools/call", id: .init(numberValue: 3))
        #expect(
            Self.find(metadata, headers: ["mcp-method": "tools/call", "mcp-name": "run"]) == Self.run(.number("3")))
        #expect(Self.find(metadata, headers: ["mcp-method": "ping"]) == .unnamed)
        #expect(Self.find(metadata) == .unnamed)
    }
}
