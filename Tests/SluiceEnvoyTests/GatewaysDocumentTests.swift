import SluicePolicy
import Testing

@testable import SluiceEnvoy

@Suite struct GatewaysDocumentTests {
    static func parse(_ text: String) throws -> Gateways {
        try GatewaysDocument.parse(Array(text.utf8), file: "gateways.json")
    }

    @Test func aWholeDocumentIsRead() throws {
        let gateways = try Self.parse(
            """
            { "version": "1",
              "grant": ["context:grant", "header:X-Grant", "jwt:sub", "principal"],
              "ratelimit_headers": "both", "denial": "error", "missing_metadata": "allow",
              "domains": {
                "mcp":  { "tool": "x-tool", "server": "server", "session": "mcp-session-id", "attributes": ["team"],
                          "id": "mcp_id", "missing_grant": "deny", "missing_tool": "allow", "denial": "mcp" },
                "llm":  { "grant": "x-tenant-id", "tool": "model", "tool_prefix": "llm/" } } }
            """)
        #expect(gateways.grant == [.context("grant"), .header("x-grant"), .claim("sub"), .principal])
        #expect(gateways.headers == .both)
        #expect(gateways.denial == .error)
        #expect(gateways.missingMetadata == .allow)
        let mcp = try #require(gateways.domain("mcp"))
        #expect(
            mcp.roles == [
                "grant": .grant, "x-grant": .grant, "x-tool": .tool, "server": .server, "mcp-session-id": .session,
                "mcp_id": .id,
            ])
        #expect(mcp.attributes == ["team"])
        #expect(mcp.missingTool == .allow)
        #expect(mcp.denial == .mcp)
        let llm = try #require(gateways.domain("llm"))
        #expect(llm.roles["x-tenant-id"] == .grant)
        #expect(llm.roles["grant"] == nil)
        #expect(llm.roles["model"] == .tool)
        #expect(llm.toolPrefix == "llm/")
        #expect(llm.attributes == nil)
        #expect(gateways.domain("other") == nil)
    }

    @Test func withoutDomainsEachHasThePlainMeaning() throws {
        let gateways = try Self.parse(#"{"version": "1"}"#)
        #expect(gateways == Gateways())
        #expect(gateways.domain("any") == Gateways.Domain())
    }

    @Test(arguments: [
        (#"{}"#, #"gateways.json:1:1: found no "version", expected "version": "1""#),
        (#"{"version": "2"}"#, #"gateways.json:1:13: /version: found "2", expected "1""#),
        (#"{"version": "1", "grants": []}"#, #"the unknown key "grants""#),
        (
            #"{"version": "1", "grant": ["cookie:x"]}"#,
            #"/grant/0: found "cookie:x", expected "context:NAME", "header:NAME", "jwt:CLAIM" or "principal""#
        ),
        (#"{"version": "1", "grant": []}"#, "found an empty array"),
        (#"{"version": "1", "grant": ["header:"]}"#, #"found "header:""#),
        (
            #"{"version": "1", "ratelimit_headers": "x-ratelimits"}"#,
            #"expected "x-ratelimit", "ratelimit", "both" or "none"; did you mean "x-ratelimit"?"#
        ),
        (#"{"version": "1", "domains": {"a": {"tool": ""}}}"#, "/domains/a/tool: found an empty name"),
        (#"{"version": "1", "domains": {"a": {"tool": "k", "grant": "k"}}}"#, "expected each descriptor key once"),
        (#"{"version": "1", "domains": {"a": {"missing_tool": "alow"}}}"#, #"did you mean "allow"?"#),
        (#"{"version": "1", "domains": {"a": {"charges": "never"}}}"#, "found \"never\""),
        (#"{"version": "1", "domains": {"a": 1}}"#, "/domains/a: found 1"),
        (#"{"version": "1", "version": "1"}"#, #"found a second "version""#),
        (#"{"version": "1","#, "found the end of the document"),
    ])
    func aFaultIsNamedWithItsPlace(text: String, fault: String) throws {
        let faults = try #require(throws: PolicyFaults.self) { try Self.parse(text) }
        #expect(faults.description.contains(fault), "\(faults)")
    }

    @Test func allFaultsComeAtOnce() throws {
        let faults = try #require(throws: PolicyFaults.self) {
            try Self.parse(#"{"version": 1, "denial": "no", "domains": {"a": {"x": 1}}}"#)
        }
        #expect(faults.faults.count == 3)
    }
}
