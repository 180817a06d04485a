import SluiceProtocol

/// The server under load.
enum LoadTarget: String, Sendable, CaseIterable {
    /// Sidecars, with `CHECK`.
    case sluice
    /// Redis itself, with one script per check: a limiter without a sidecar.
    case redis
    /// Any server that speaks RESP, with `PING`: the cost of the socket and the driver alone.
    case ping

    /// The name under which a source's answers are reported: without a sidecar the only source is the target itself.
    func name(of source: ReplySource) -> String { self == .sluice ? source.rawValue : rawValue }

    /// What the server is called in messages.
    var noun: String {
        switch self {
        case .sluice: "sidecar"
        case .redis: "Redis"
        case .ping: "RESP server"
        }
    }
}
