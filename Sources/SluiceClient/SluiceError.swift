/// Why a request has no usable reply.
public enum SluiceError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The socket at `path` could not be opened.
    case connect(path: String, reason: String)
    /// Sluice answered with an error: a code word to branch on (`ERR`, `BADARG`, `TOOBIG`, `BUSY`, `NOPERM`, `NOPROTO`)
    /// and a sentence to read. The connection stays open, unless the sentence begins with `Protocol error`.
    case server(code: String, message: String)
    /// The connection is closed. A pending request may or may not have been counted.
    case closed
    /// No reply came in time. The check may still be counted; the connection stays open, and a late reply is dropped.
    case timedOut
    /// The task was cancelled. The check may still be counted, as with `timedOut`.
    case cancelled
    /// The request was not sent, because so many requests of this connection have no reply yet.
    case tooManyPending(Int)
    /// The request was not sent, because it is invalid: why.
    case badRequest(String)
    /// The bytes are not RESP, or not the expected kind of reply: what was expected. If they are not RESP, the
    /// connection is closed.
    case malformedReply(String)

    public var description: String {
        switch self {
        case .connect(let path, let reason): "cannot connect to \(path): \(reason)"
        case .server(let code, let message): "\(code) \(message)"
        case .closed: "the connection is closed"
        case .timedOut: "no reply came in time"
        case .cancelled: "the task was cancelled"
        case .tooManyPending(let count): "\(count) requests of this connection have no reply yet"
        case .badRequest(let reason): reason
        case .malformedReply(let expected): "malformed reply: \(expected)"
        }
    }
}
