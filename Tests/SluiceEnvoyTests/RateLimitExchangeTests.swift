import FoundationEssentials
import SluiceEngine
import SwiftProtobuf
import Testing

@testable import SluiceEnvoy

private typealias Request = Envoy_Service_Ratelimit_V3_RateLimitRequest
private typealias Response = Envoy_Service_Ratelimit_V3_RateLimitResponse

@Suite struct RateLimitExchangeTests {
    private static func request(
        _ descriptors: [(String, String)]..., domain: String = "mcp", hits: UInt32 = 0
    ) -> Request {
        var request = Request()
        request.domain = domain
        request.hitsAddend = hits
        request.descriptors = descriptors.map { entries in
            var descriptor = Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor()
            descriptor.entries = entries.map { key, value in
                var entry = Envoy_Extensions_Common_Ratelimit_V3_RateLimitDescriptor.Entry()
                entry.key = key
                entry.value = value
                return entry
            }
            return descriptor
        }
        return request
    }

    private static let run = [("grant", "alice"), ("tool", "opencode_run")]

    private var asker: Asker

    init() throws { asker = try Asker() }

    private mutating func answer(
        _ request: Request, for purpose: RateLimitExchange.Purpose = .decide, _ gateways: Gateways = Gateways()
    ) throws -> Response {
        let exchange = try RateLimitExchange(request, for: purpose, gateways)
        return try exchange.message(to: exchange.checks.map { asker.ask($0) })
    }

    private func checks(_ request: Request, _ gateways: Gateways = Gateways()) throws -> [GatewayCheck] {
        try RateLimitExchange(request, gateways).checks
    }

    private func headers(_ response: Response) -> [String: String] {
        Dictionary(uniqueKeysWithValues: response.responseHeadersToAdd.map { ($0.key, $0.value) })
    }

    @Test mutating func aPolicysOwnMessageHasTheWaitAtItsPlace() throws {
        let request = Self.request([("grant", "alice"), ("tool", "own_words")])
        _ = try answer(request)
        #expect(try answer(request).rawBody == Data("Wait 29 seconds!".utf8))
    }

    @Test mutating func tenPassAndTheEleventhIsOverTheLimit() throws {
        for left: UInt32 in (0..<10).reversed() {
            let response = try answer(Self.request(Self.run))
            #expect(response.overallCode == .ok)
            let status = response.statuses[0]
            #expect(status.code == .ok)
            #expect(status.limitRemaining == left)
            #expect(status.currentLimit.requestsPerUnit == 10)
            #expect(status.currentLimit.unit == .minute)
            #expect(!status.currentLimit.hasUnitMultiplier)
            #expect(status.currentLimit.name == "opencode_run_rate")
            #expect(status.durationUntilReset == Google_Protobuf_Duration(seconds: 28, nanos: 317_000_000))
            #expect(response.rawBody.isEmpty)
        }
        let response = try answer(Self.request(Self.run))
        #expect(response.overallCode == .overLimit)
        #expect(response.statuses[0].code == .overLimit)
        #expect(
            String(decoding: response.rawBody, as: UTF8.self)
                == "opencode_run is limited to 10 calls per minute for this grant. Try again in 29 seconds.")
        #expect(headers(response)["Retry-After"] == "29")
        #expect(response.dynamicMetadata.fields["verdict"]?.stringValue == "limit")
    }

    @Test func theAddendIsTheDescriptorsOrTheRequestsOrOne() throws {
        #expect(try checks(Self.request(Self.run))[0].cost == 1)
        #expect(try checks(Self.request(Self.run, hits: 3))[0].cost == 3)
        var request = Self.request(Self.run, hits: 3)
        request.descriptors[0].hitsAddend.value = 5
        #expect(try checks(request)[0].cost == 5)
        request.descriptors[0].hitsAddend.value = 0
        #expect(try checks(request)[0].kind == .look)
        request.descriptors[0].hitsAddend.value = 5
        request.descriptors[0].isNegativeHits = true
        #expect(try checks(request)[0].kind == .refund)
        #expect(try RateLimitExchange(Self.request(Self.run), for: .report, Gateways()).checks[0].kind == .charge)
        var (gateways, domain) = (Gateways(), Gateways.Domain())
        domain.charges = .always
        gateways.domains = [Self.request(Self.run).domain: domain]
        #expect(try RateLimitExchange(Self.request(Self.run, hits: 9), gateways).checks[0].kind == .charge)
        #expect(try RateLimitExchange(Self.request(Self.run, hits: 9), for: .look, Gateways()).checks[0].kind == .look)
        request.descriptors[0].hitsAddend.value = .max
        #expect(throws: RateLimitExchange.Fault.self) { try checks(request) }
    }

    @Test mutating func anAddendOfZeroLooksWhetherAnythingIsLeft() throws {
        var look = Self.request(Self.run)
        look.descriptors[0].hitsAddend.value = 0
        #expect(try answer(look).overallCode == .ok)
        #expect(try answer(Self.request(Self.run, hits: 10)).overallCode == .ok)
        #expect(try answer(look).overallCode == .overLimit)
        #expect(try answer(Self.request(Self.run), for: .look).overallCode == .overLimit)
    }

    @Test mutating func aDescriptorThatNoLimitConcernsIsOKWithoutALimit() throws {
        let response = try answer(Self.request([("grant", "alice"), ("tool", "free")]))
        #expect(response.overallCode == .ok)
        #expect(!response.statuses[0].hasCurrentLimit)
        var gateways = Gateways()
        gateways.domains = [:]
        let other = try answer(Self.request(Self.run, [("tool", "x")]), for: .decide, gateways)
        #expect(other.overallCode == .ok)
        #expect(other.statuses.map(\.code) == [.ok, .ok])
        #expect(other.responseHeadersToAdd.isEmpty)
    }

    @Test mutating func withoutAGrantItIsDenied() throws {
        let response = try answer(Self.request([("tool", "opencode_run")]))
        #expect(response.overallCode == .overLimit)
        #expect(String(decoding: response.rawBody, as: UTF8.self).contains("carries no grant"))
        var gateways = Gateways()
        var domain = Gateways.Domain()
        domain.missingGrant = .allow
        gateways.domains = ["mcp": domain]
        #expect(try answer(Self.request([("tool", "opencode_run")]), for: .decide, gateways).overallCode == .ok)
    }

    @Test func aMissingToolIsTheDomainUnlessSaidOtherwise() throws {
        let request = Self.request([("grant", "alice")])
        #expect(try checks(request)[0].subject == .call(GatewayCheck.Call(grant: "alice", tool: "mcp")))
        var gateways = Gateways()
        var domain = Gateways.Domain()
        domain.missingTool = .allow
        gateways.domains = ["mcp": domain]
        #expect(try checks(request, gateways).isEmpty)
        domain.missingTool = .deny
        gateways.domains = ["mcp": domain]
        #expect(try RateLimitExchange(request, gateways).message(to: []).overallCode == .overLimit)
    }

    @Test func keysMeanWhatTheDomainSays() throws {
        let request = Self.request([
            ("x-tenant-id", "t"), ("model", "gpt"), ("team", "red"), ("region", "eu"), ("mcp_id", "5"),
        ])
        var gateways = Gateways()
        var domain = Gateways.Domain()
        domain.roles = ["x-tenant-id": .grant, "model": .tool, "mcp_id": .id]
        domain.toolPrefix = "llm/"
        domain.attributes = ["team"]
        gateways.domains = ["mcp": domain]
        let red = GatewayCheck.Attribute(name: "team", value: "red")
        #expect(
            try checks(request, gateways)[0].subject
                == .call(GatewayCheck.Call(grant: "t", tool: "llm/gpt", attributes: [red])))
    }

    @Test mutating func statusesAreInTheOrderOfDescriptors() throws {
        _ = try answer(Self.request(Self.run, hits: 10))
        let response = try answer(Self.request([("grant", "alice"), ("tool", "slow")], Self.run))
        #expect(response.overallCode == .overLimit)
        #expect(response.statuses.map(\.code) == [.ok, .overLimit])
        #expect(response.statuses[0].currentLimit.unit == .minute)
        #expect(response.statuses[0].currentLimit.unitMultiplier.value == 15)
        // Numbers saturate.
        #expect(response.statuses[0].currentLimit.requestsPerUnit == .max)
        #expect(response.statuses[0].limitRemaining == .max)
        #expect(headers(response)["RateLimit-Policy"] == "\"opencode_run_rate\";q=10;w=60")
    }

    @Test mutating func aLimitOfItsOwnNeedsNoPolicy() throws {
        var request = Self.request([("anything", "x")])
        request.descriptors[0].limit.requestsPerUnit = 2
        request.descriptors[0].limit.unit = .minute
        request.descriptors[0].limit.unitMultiplier.value = 5
        #expect(try (0..<3).map { _ in try answer(request).overallCode } == [.ok, .ok, .overLimit])
        let status = try answer(request).statuses[0]
        #expect(status.currentLimit.requestsPerUnit == 2)
        #expect(status.currentLimit.unit == .minute)
        #expect(status.currentLimit.unitMultiplier.value == 5)
        request.domain = "other"
        #expect(try answer(request).overallCode == .ok)
        request.descriptors[0].limit.unit = .unknown
        #expect(throws: RateLimitExchange.Fault.self) { try checks(request) }
        request.descriptors[0].limit.unit = .year
        #expect(throws: RateLimitExchange.Fault.self) { try checks(request) }
        request.descriptors[0].limit.unitMultiplier.value = 0
        #expect(throws: RateLimitExchange.Fault.self) { try checks(request) }
    }

    @Test func entriesOfDifferentDescriptorsNeverHaveTheSameKey() throws {
        func key(_ entries: [(String, String)]) throws -> GatewayCheck.Subject {
            var request = Self.request(entries)
            request.descriptors[0].limit.requestsPerUnit = 1
            request.descriptors[0].limit.unit = .hour
            return try checks(request)[0].subject
        }
        #expect(try key([("a", "bc")]) != key([("ab", "c")]))
        #expect(try key([("a", "1:b")]) != key([("a", "1"), ("b", "")]))
    }

    @Test mutating func anMCPDomainAnswersWithAToolResult() throws {
        var gateways = Gateways()
        var domain = Gateways.Domain()
        domain.denial = .mcp
        gateways.domains = ["mcp": domain]
        _ = try answer(Self.request(Self.run, hits: 10), for: .decide, gateways)
        func body(_ id: String) throws -> String {
            let response = try answer(Self.request(Self.run + [("mcp_id", id)]), for: .decide, gateways)
            #expect(headers(response)["Content-Type"] == "application/json")
            return String(decoding: response.rawBody, as: UTF8.self)
        }
        #expect(
            try body("21").hasPrefix(#"{"jsonrpc":"2.0","id":21,"result":{"resultType":"complete","isError":true,"#))
        #expect(try body("a").hasPrefix(#"{"jsonrpc":"2.0","id":"a","result":"#))
        #expect(try body("007").hasPrefix(#"{"jsonrpc":"2.0","id":"007","result":"#))
    }

    @Test mutating func headersAreOfTheKindThatWasChosen() throws {
        func names(_ kind: Gateways.RateLimitHeaders) throws -> [String: String] {
            var gateways = Gateways()
            gateways.headers = kind
            return headers(try answer(Self.request([("grant", "g"), ("tool", "monthly")]), for: .look, gateways))
        }
        #expect(try names(.none).isEmpty)
        #expect(try names(.rateLimit)["RateLimit-Policy"] == "\"m\";q=3;w=2592000")
        #expect(try names(.xRateLimit)["X-RateLimit-Limit"] == "3, 3;w=2592000")
        #expect(
            try Set(names(.xRateLimit).keys) == ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"])
        #expect(try names(.both).count == 5)
        #expect(try !names(.both).values.contains { $0.contains("\"g\"") })
    }

    @Test mutating func aWrongRequestIsAFault() throws {
        for request in [
            Self.request(Self.run, domain: ""), Self.request(),
            Self.request([("grant", String(repeating: "x", count: 257))]),
            Self.request([("grant", "a\0b")]),
            Self.request(Array(repeating: ("k", "v"), count: EnvoyBounds.maxEntries + 1)),
            Self.request([("grant", "a")] + (0..<17).map { ("k\($0)", "v") }),
        ] {
            #expect(throws: RateLimitExchange.Fault.self) { try checks(request) }
        }
        var many = Self.request(Self.run)
        many.descriptors = Array(repeating: many.descriptors[0], count: EnvoyBounds.maxDescriptors + 1)
        #expect(throws: RateLimitExchange.Fault.self) { try checks(many) }
    }

    @Test func aBusyLimiterIsAFault() throws {
        let exchange = try RateLimitExchange(Self.request(Self.run), Gateways())
        #expect(throws: RateLimitExchange.Fault(message: "wait")) { try exchange.response(to: [.busy("wait")]) }
    }
}
