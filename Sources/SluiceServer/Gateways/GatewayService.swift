import SluiceEngine
import SluiceEnvoy
import SluiceGRPC
import SluicePolicy

/// What all gRPC connections of a server share.
final class GatewayService {
    enum Method: Int, CaseIterable {
        case authorize, shouldRateLimit, checkRateLimit, reportRateLimit, health, watchHealth

        fileprivate var method: GRPCMethods.Method {
            switch self {
            case .authorize:
                GRPCMethods.Method(
                    "/envoy.service.auth.v3.Authorization/Check", maxMessageBytes: GRPCBounds.maxAuthorizationBytes)
            case .shouldRateLimit: GRPCMethods.Method("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit")
            case .checkRateLimit: GRPCMethods.Method("/kuadrant.service.ratelimit.v1.RateLimitService/CheckRateLimit")
            case .reportRateLimit: GRPCMethods.Method("/kuadrant.service.ratelimit.v1.RateLimitService/Report")
            case .health: GRPCMethods.Method("/grpc.health.v1.Health/Check")
            case .watchHealth: GRPCMethods.Method("/grpc.health.v1.Health/Watch")
            }
        }
    }

    static let methods = GRPCMethods(Method.allCases.map(\.method))

    /// The services whose health can be asked for; the empty name is the server.
    static let services: Set = [
        "", "envoy.service.auth.v3.Authorization", "envoy.service.ratelimit.v3.RateLimitService",
        "kuadrant.service.ratelimit.v1.RateLimitService", "grpc.health.v1.Health",
    ]

    let host: LimiterHost
    var gateways: Gateways
    /// How long a check may take, ns.
    let budgetNs: Int64
    let largeMessages: LargeMessageReader

    init(host: LimiterHost, gateways: Gateways, budgetNs: Int64, largeMessages: LargeMessageReader) {
        self.largeMessages = largeMessages
        self.host = host
        self.gateways = gateways
        self.budgetNs = budgetNs
    }

    /// Whether the policy of a grant says anything about a tool of that name, on that server.
    func isListed(grant: String, tool: String, server: String?) -> Bool {
        Self.isListed(host.limiter.policies.ruling(forGrant: grant, tool: tool, server: server))
    }

    private static func isListed(_ ruling: Ruling) -> Bool {
        switch ruling {
        case .deny(let rule, _), .approve(let rule, _, _), .count(let rule, _):
            !["(default deny)", "(default allow)", "(no policy)"].contains(rule)
        case .shadow(let ruling, _, _): isListed(ruling)
        case .within(_, let open, _): isListed(open)
        }
    }
}
