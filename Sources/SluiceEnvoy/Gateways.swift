/// How the requests of gateways become checks: see `GatewaysDocument`.
package struct Gateways: Sendable, Equatable {
    /// Where the identity of a request comes from.
    package enum GrantSource: Sendable, Equatable, CustomStringConvertible {
        /// A context extension of the route.
        case context(String)
        /// A header, in lower case.
        case header(String)
        /// A claim of the token that the JWT filter verified.
        case claim(String)
        /// What the peer's certificate names.
        case principal

        /// As the file spells it.
        package var description: String {
            switch self {
            case .context(let name): "context:\(name)"
            case .header(let name): "header:\(name)"
            case .claim(let name): "jwt:\(name)"
            case .principal: "principal"
            }
        }
    }

    /// How a denial is put for the client.
    package enum Denial: String, Sendable, CaseIterable {
        /// As a tool's result that the agent reads.
        case mcp
        /// As a JSON-RPC error.
        case error
        /// As an HTTP status with a body of JSON.
        case http
    }

    package enum RateLimitHeaders: String, Sendable, CaseIterable {
        case xRateLimit = "x-ratelimit"
        case rateLimit = "ratelimit"
        case both
        case none
    }

    package enum Missing: String, Sendable, CaseIterable { case deny, allow }

    /// The meaning of one domain's descriptors.
    package struct Domain: Sendable, Equatable {
        package enum Role: Sendable, Equatable { case grant, tool, server, session, id }

        package enum Charges: String, Sendable, CaseIterable {
            /// Hits that do not fit are denied, and charge nothing.
            case fitting
            /// Hits are charged whatever the maximum says: those that come after a call has ended.
            case always
        }

        package enum MissingTool: String, Sendable, CaseIterable {
            /// The tool is then the domain's name.
            case domain
            case deny, allow
        }

        /// What the keys of descriptors say.
        package var roles: [String: Role] = [
            "grant": .grant, "x-grant": .grant, "tool": .tool, "x-tool": .tool, "server": .server,
            "session": .session, "mcp_id": .id,
        ]
        /// The keys that are attributes; nil: all that have no role.
        package var attributes: Set<String>?
        package var toolPrefix = ""
        package var missingGrant = Missing.deny
        package var missingTool = MissingTool.domain
        package var denial = Denial.http
        package var charges = Charges.fitting

        package init() {}

        /// The default meaning, made once.
        static let standard = Domain()
    }

    package var grant: [GrantSource] = [.context("grant"), .header("x-grant"), .claim("sub"), .principal]
    package var headers = RateLimitHeaders.rateLimit
    /// For external authorization.
    package var denial = Denial.mcp
    /// What happens to a POST whose method or tool cannot be named.
    package var missingMetadata = Missing.deny
    /// nil: every domain has the default meaning.
    package var domains: [String: Domain]?

    package init() {}

    /// nil: nothing is counted for this domain.
    func domain(_ name: String) -> Domain? { domains == nil ? .standard : domains?[name] }
}
