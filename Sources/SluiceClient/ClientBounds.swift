/// Every bound of the client, with its unit, its reason, and the error when it is exceeded.
enum ClientBounds {
    /// Most requests of one connection without a reply, including abandoned ones. The server itself reads 1024 ahead;
    /// the rest wait in the socket. Over it: `SluiceError.tooManyPending`.
    static let maxPendingRequests = 16_384
    /// Default time that `connect` tries, in seconds.
    static let connectSeconds: Int64 = 5
    /// Default time that a request waits for its reply, in seconds: the sidecar answers a check within milliseconds, so
    /// after this time something is stuck.
    static let requestSeconds: Int64 = 5
}
