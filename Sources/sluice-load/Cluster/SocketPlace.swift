import NIOCore
import NIOPosix

/// Where a socket is: a path, or `tcp://host:port`.
enum SocketPlace: Equatable {
    case path(String)
    case tcp(host: String, port: Int)

    private static let tcpPrefix = "tcp://"

    /// Any other text is a path.
    init(_ text: String) {
        guard text.hasPrefix(Self.tcpPrefix), let colon = text.lastIndex(of: ":"),
            let port = Int(text[text.index(after: colon)...]), (1...65_535).contains(port)
        else {
            self = .path(text)
            return
        }
        self = .tcp(host: String(text[text.index(text.startIndex, offsetBy: Self.tcpPrefix.count)..<colon]), port: port)
    }

    func connect(_ bootstrap: ClientBootstrap) -> EventLoopFuture<any Channel> {
        switch self {
        case .path(let path): bootstrap.connect(unixDomainSocketPath: path)
        case .tcp(let host, let port):
            bootstrap.channelOption(.socketOption(.tcp_nodelay), value: 1).connect(host: host, port: port)
        }
    }
}
