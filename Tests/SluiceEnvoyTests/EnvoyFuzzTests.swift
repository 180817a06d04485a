import Foundation
import SluiceEngine
import SluicePolicy
import SluiceProtocol
import SwiftProtobuf
import Testing

@testable import SluiceEnvoy

/// Numbers that a seed determines.
private struct Numbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }

    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<max(1, bound), using: &self) }

    /// Changes a few places: a bit, a byte, a piece left out or doubled, and numbers that mean lengths.
    mutating func damaged(_ bytes: [UInt8], words: [[UInt8]]) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<1 + below(4) {
            let place = below(bytes.count)
            switch below(6) {
            case 0 where !bytes.isEmpty: bytes[place] ^= 1 << UInt8(below(8))
            case 1 where !bytes.isEmpty: bytes[place] = UInt8(below(256))
            case 2 where !bytes.isEmpty: bytes.removeSubrange(place..<min(bytes.count, place + 1 + below(8)))
            case 3: bytes.insert(contentsOf: bytes[place...].prefix(1 + below(40)), at: place)
            case 4: bytes.insert(contentsOf: words[below(words.count)], at: place)
            default: bytes = Array(bytes.prefix(place))
            }
        }
        return bytes
    }
}

/// What other programs send, changed at random: it is read or rejected, nothing traps, and what is asked of the limiter is
/// within its bounds.
@Suite struct EnvoyFuzzTests {
    private static let rounds = 300
    private static let lengths: [[UInt8]] = [
        [0xFF, 0xFF, 0xFF, 0xFF, 0x0F], [0x80], [0x0A], [0x12], [0x1A, 0xFF, 0x7F], [0], [0x0A, 0x00],
        [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], [0x0B], [0x0C], [0x25, 0, 0, 0xC0, 0x7F],
    ]

    private func expectWithinBounds(_ check: GatewayCheck) {
        #expect((1...ProtocolBounds.maxCost).contains(check.cost))
        switch check.subject {
        case .call(let call):
            let names = [call.grant, call.tool] + [call.server, call.session].compactMap(\.self)
            #expect(names.allSatisfy { GatewayCheck.isName($0) })
            #expect(call.attributes.allSatisfy { GatewayCheck.isName($0.name) && GatewayCheck.isName($0.value) })
            #expect(call.attributes.count <= ProtocolBounds.maxAttributes)
            #expect(Set(call.attributes.map(\.name)).count == call.attributes.count)
        case .ownLimit(let key, let max, let windowSeconds):
            #expect(!key.isEmpty && key.utf8.count <= 1_024 && max >= 0)
            #expect((1...EnvoyBounds.maxWindowSeconds).contains(windowSeconds))
        }
    }

    private static func rateLimitRequest() -> Envoy_Service_Ratelimit_V3_RateLimitRequest {
        var request = Envoy_Service_Ratelimit_V3_RateLimitRequest()
        request.domain = "mcp"
        request.hitsAddend = 3
        for index in 0..<3 {
            var descriptor = Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor()
            for (key, value) in [("grant", "alice"), ("tool", "opencode_run"), ("team", "blue\(index)")] {
                var entry = Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor.Entry()
                entry.key = key
                entry.value = value
                descriptor.entries.append(entry)
            }
            if index == 1 {
                descriptor.limit.requestsPerUnit = 3
                descriptor.limit.unit = .minute
                descriptor.limit.unitMultiplier.value = 2
            }
            if index == 2 { descriptor.hitsAddend.value = 0 }
            request.descriptors.append(descriptor)
        }
        return request
    }

    @Test(arguments: 0..<20)
    func rateLimitRequests(seed: UInt64) throws {
        var random = Numbers(state: seed)
        let whole: [UInt8] = try Self.rateLimitRequest().serializedBytes()
        var asker = try Asker()
        for _ in 0..<Self.rounds {
            let bytes = random.damaged(whole, words: Self.lengths)
            guard let request = try? Envoy_Service_Ratelimit_V3_RateLimitRequest(serializedBytes: bytes),
                let exchange = try? RateLimitExchange(request, Gateways())
            else { continue }
            for check in exchange.checks { expectWithinBounds(check) }
            guard let response = try? exchange.message(to: exchange.checks.map { asker.ask($0) }) else { continue }
            #expect(response.statuses.count == request.descriptors.count)
            let answered: [UInt8] = try response.serializedBytes()
            #expect(answered.count < 65_536)
        }
    }

    private static let bodies = [
        #"{"jsonrpc":"2.0","id":21,"method":"tools/call","params":{"name":"opencode_run","arguments":{"a":[1,2.5e3,null]}}}"#,
        #"{"jsonrpc":"2.0","id":"é\u0041\ud83d\ude00","method":"tools/call","params":{"arguments":{},"name":"free"}}"#,
        #"{"method":"notifications/cancelled","params":{"requestId":"x"},"jsonrpc":"2.0"}"#,
        #"{"jsonrpc":"2.0","id":-9007199254740993,"result":{}}"#,
        #"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"opencode_run"}}]"#,
    ]

    private static func authorizationRequest(body: [UInt8]) -> Envoy_Service_Auth_V3_CheckRequest {
        var request = Envoy_Service_Auth_V3_CheckRequest()
        request.attributes.source.principal = "spiffe://x/y"
        request.attributes.request.http.method = "POST"
        request.attributes.request.http.headers = ["mcp-session-id": "s", "x-grant": "alice", "mcp-name": "free"]
        request.attributes.request.http.rawBody = Data(body)
        request.attributes.contextExtensions = ["server": "code", "team": "blue"]
        request.attributes.metadataContext.filterMetadata[MCPCall.metadataNamespace] = MCPCallTests.metadata(
            "tools/call", tool: "opencode_run", id: .init(numberValue: 4))
        request.attributes.metadataContext.filterMetadata["envoy.filters.http.jwt_authn"] = Google_Protobuf_Struct(
            fields: ["payload": .init(structValue: .init(fields: ["sub": .init(stringValue: "bob")]))])
        return request
    }

    private func expectAnswered(
        _ request: Envoy_Service_Auth_V3_CheckRequest, _ asker: inout Asker
    ) throws {
        let response: Envoy_Service_Auth_V3_CheckResponse
        switch ExternalAuthorization.begin(request, Gateways(), isListed: { _, _, _ in true }) {
        case .answer(let answer): response = answer
        case .check(let check, let authorization):
            expectWithinBounds(check)
            response = authorization.message(to: asker.ask(check))
        }
        let answered: [UInt8] = try response.serializedBytes()
        #expect(!answered.isEmpty)
        let body = response.deniedResponse.body
        if !body.isEmpty { #expect((try? JSONSerialization.jsonObject(with: Data(body.utf8))) != nil, "\(body)") }
    }

    @Test(arguments: 0..<20)
    func authorizationRequests(seed: UInt64) throws {
        var random = Numbers(state: seed)
        var asker = try Asker()
        let body = Array(Self.bodies[random.below(Self.bodies.count)].utf8)
        let whole: [UInt8] = try Self.authorizationRequest(body: body).serializedBytes()
        for _ in 0..<Self.rounds {
            let bytes = random.damaged(whole, words: Self.lengths)
            guard let request = try? Envoy_Service_Auth_V3_CheckRequest(serializedBytes: bytes) else { continue }
            try expectAnswered(request, &asker)
        }
    }

    /// What SwiftProtobuf reads is read here, and alike.
    @Test(arguments: 0..<20)
    func readingIsThatOfSwiftProtobuf(seed: UInt64) throws {
        var random = Numbers(state: seed)
        var message = Self.authorizationRequest(body: Array(Self.bodies[0].utf8))
        for (name, value) in [("mcp-name", "first"), ("mcp-method", "m"), ("mcp-name", "second"), ("é", "ü")] {
            var header = Envoy_Config_Core_V3_HeaderValue()
            header.key = name
            if value == "m" { header.rawValue = Data(value.utf8) } else { header.value = value }
            message.attributes.request.http.headerMap.headers.append(header)
        }
        message.attributes.request.http.body = "text"
        let whole: [UInt8] = try message.serializedBytes()
        for round in 0..<Self.rounds {
            let bytes = round == 0 ? whole : random.damaged(whole, words: Self.lengths)
            guard let theirs = try? Envoy_Service_Auth_V3_CheckRequest(serializedBytes: bytes).attributes else {
                continue
            }
            let ours = try AuthorizationRequest(serializedBytes: bytes)
            let http = theirs.request.http
            #expect(ours.isPost == (http.method == "POST"))
            #expect(ours.body == Array(http.rawBody.isEmpty ? Data(http.body.utf8) : http.rawBody))
            #expect(ours.contextExtensions == theirs.contextExtensions && ours.principal == theirs.source.principal)
            let call = theirs.metadataContext.filterMetadata[MCPCall.metadataNamespace]
            #expect((ours.call == nil) == (call == nil))
            #expect(ours.call?.method ?? .none == MCPMetadata.value(call?.fields["method"]))
            #expect(ours.call?.name ?? .none == MCPMetadata.value(call?.fields["params"]?.structValue.fields["name"]))
            if case .number(let number)? = ours.call?.id, number.isNaN {
                #expect(call?.fields["id"]?.numberValue.isNaN == true)
            } else {
                #expect(ours.call?.id ?? .none == MCPMetadata.value(call?.fields["id"]))
            }
            #expect(ours.tokens == theirs.metadataContext.filterMetadata["envoy.filters.http.jwt_authn"])
            for name in ["x-grant", "mcp-session-id", "mcp-name", "mcp-method", "é", "none"] {
                let listed = http.headerMap.headers.first { $0.key == name }
                let value = listed.flatMap {
                    $0.rawValue.isEmpty ? $0.value : String(validating: $0.rawValue, as: UTF8.self)
                }
                #expect(ours.header(name) == http.headers[name] ?? value)
            }
        }
    }

    /// Any bytes: they are read or rejected, and nothing traps.
    @Test(arguments: 0..<20)
    func anyBytesAsAnAuthorizationRequest(seed: UInt64) {
        var random = Numbers(state: seed)
        for _ in 0..<Self.rounds {
            let bytes = (0..<random.below(60)).map { _ in UInt8(random.below(random.below(2) == 0 ? 256 : 16)) }
            let isMessage = (try? Envoy_Service_Auth_V3_CheckRequest(serializedBytes: bytes)) != nil
            let isRead = (try? AuthorizationRequest(serializedBytes: bytes)) != nil
            #expect(isRead || !isMessage, "\(bytes)")
        }
    }

    private static let words = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "\"method\":", "\"name\":\"other\",",
        "\"id\":1,", "null", "1e999", "-0", "\u{FEFF}", "/*x*/", "\n", "\"params\":{\"name\":\"free\"},", "\u{0}",
        String(repeating: "[", count: 60),
    ].map { Array($0.utf8) }

    /// Another parser reads the same call in what is taken for one.
    @Test(arguments: 0..<20)
    func bodies(seed: UInt64) throws {
        var random = Numbers(state: seed)
        var asker = try Asker()
        for _ in 0..<Self.rounds {
            let whole = Array(Self.bodies[random.below(Self.bodies.count)].utf8)
            let body = random.damaged(whole, words: Self.words)
            if case .call(let call) = MCPCall.find(metadata: nil, body: body, headers: { _ in nil }) {
                let other = try #require(JSONSerialization.jsonObject(with: Data(body)) as? [String: Any])
                #expect(other["method"] as? String == call.method)
                if call.method == MCPCall.toolsCall {
                    #expect((other["params"] as? [String: Any])?["name"] as? String == call.tool)
                }
                #expect((other["id"] == nil) == (call.id == .none))
                if case .text(let text) = call.id { #expect(other["id"] as? String == text) }
            }
            var request = Self.authorizationRequest(body: body)
            request.attributes.metadataContext = .init()
            try expectAnswered(request, &asker)
        }
    }

    /// Deep, wide and long: an answer comes, and the stack and the parser's faults are bounded.
    @Test func extremeBodies() throws {
        var asker = try Asker()
        let megabyte = 1_000_000
        for text in [
            String(repeating: "[", count: megabyte), String(repeating: #"{"a":"#, count: megabyte / 5),
            "{" + (0..<50_000).map { #""k\#($0)":0"# }.joined(separator: ",") + "}",
            "{" + repeatElement(#""a":0"#, count: 100_000).joined(separator: ",") + "}",
            #"{"method":""# + String(repeating: "m", count: megabyte) + #""}"#,
            #"{"id":"# + String(repeating: "9", count: megabyte) + #","method":"tools/call","params":{"name":"free"}}"#,
            #"{"id":""# + String(repeating: "i", count: megabyte)
                + #"","method":"tools/call","params":{"name":"hidden"}}"#,
        ] {
            var request = Self.authorizationRequest(body: Array(text.utf8))
            request.attributes.metadataContext = .init()
            try expectAnswered(request, &asker)
        }
        var deep = Google_Protobuf_Value(stringValue: "x")
        for _ in 0..<90 { deep = Google_Protobuf_Value(structValue: .init(fields: ["k": deep])) }
        var request = Self.authorizationRequest(body: [])
        request.attributes.metadataContext.filterMetadata["deep"] = .init(fields: ["k": deep])
        let bytes: [UInt8] = try request.serializedBytes()
        #expect(throws: BinaryDecodingError.self) {
            try Envoy_Service_Auth_V3_CheckRequest(serializedBytes: bytes)
        }
    }
}
