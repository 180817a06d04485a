/// Every bound of the client, with its unit, its reason, and what a caller gets when it is met.
enum ClientBounds {
    /// Most requests of one connection whose replies have not come, those given up on counted. The server itself reads
    /// 1024 ahead; the rest wait in the socket. Over it: `SluiceError.tooManyPending`.
    static let maxPendingRequests = 16_384
    /// How long `connect` tries if the caller does not say, in seconds.
    static let connectSeconds: Int64 = 5
    /// How long a request waits for its reply if the caller does not say, in seconds: the sidecar answers a check within
    /// milliseconds, so who waits so long waits for something that is stuck.
    static let requestSeconds: Int64 = 5
}
