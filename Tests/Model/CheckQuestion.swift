package import SluiceEngine

/// Everything that a gateway may say of a check.
package struct CheckQuestion {
    package var tool = "t"
    package var grant = "g"
    package var session: String?
    package var server: String?
    package var attributes: [String: String] = [:]
    package var cost: Int64 = 1
    package var isPeek = false
    package var approved = false
    package var wantsTrace = false
    package var reserves = false
    package var id: String?
    package var action = CheckAction.check

    package init(
        tool: String = "t", grant: String = "g", session: String? = nil, server: String? = nil,
        attributes: [String: String] = [:], cost: Int64 = 1, isPeek: Bool = false, approved: Bool = false,
        wantsTrace: Bool = false, reserves: Bool = false, id: String? = nil, action: CheckAction = .check
    ) {
        self.action = action
        self.tool = tool
        self.grant = grant
        self.session = session
        self.server = server
        self.attributes = attributes
        self.cost = cost
        self.isPeek = isPeek
        self.approved = approved
        self.wantsTrace = wantsTrace
        self.reserves = reserves
        self.id = id
    }

    /// Of everything that makes another check under the same id another one.
    package var argumentsHash: UInt64 {
        let others = attributes.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        let action = action == .check ? "" : "\(action) "
        let said = "\(action)\(cost) \(session ?? "-") \(server ?? "-") \(reserves) \(approved) \(others)"
        return stableHash(said.utf8)
    }

    /// As a shell fills it: only what some limit counts by.
    package func identity(_ counted: IdentityFields) -> Identity {
        var identity = Identity()
        identity.fill(grant: grant.utf8Span.span, tool: tool.utf8Span.span, approved: approved)
        if let server, counted.servers { identity.append(server: server.utf8Span.span) }
        if let session, counted.sessions { identity.append(session: session.utf8Span.span) }
        for name in counted.attributes {
            let name = String(decoding: name, as: UTF8.self)
            guard let value = attributes[name] else { continue }
            identity.append(attribute: name.utf8Span.span, value: value.utf8Span.span)
        }
        return identity
    }
}
