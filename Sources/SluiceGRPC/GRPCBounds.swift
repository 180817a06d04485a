/// Every bound of gRPC connections, with its unit, its reason, and what the caller gets when it is met.
package enum GRPCBounds {
    /// Most streams at once on a connection, as `SETTINGS_MAX_CONCURRENT_STREAMS` says: Envoy's own default. Clients wait
    /// for a free one; with one more the connection gets `GOAWAY` with `PROTOCOL_ERROR`, and is closed. Until the client
    /// has acknowledged the settings it may have 100, as clients assume.
    package static let maxStreams = 1_024
    /// Largest message of a method that does not say otherwise, bytes, as of the socket protocol. A larger one is
    /// answered `RESOURCE_EXHAUSTED` as soon as its length has arrived.
    package static let maxMessageBytes = 65_536
    /// Largest message of external authorization, bytes: it may carry the request's body.
    package static let maxAuthorizationBytes = 1_048_576
    /// Most bytes of messages on one connection that have begun and not ended. The message that passes it is answered
    /// `RESOURCE_EXHAUSTED`.
    package static let maxUnfinishedBytes = 16 * 1_048_576
    /// Most bytes of a request's header list as HPACK counts them, as `SETTINGS_MAX_HEADER_LIST_SIZE` says. At the bound
    /// the connection gets `GOAWAY` with `PROTOCOL_ERROR`: its compression state is lost.
    package static let maxHeaderListBytes = 16_384
    /// Most `CONTINUATION` frames of one header block; with more the connection gets `GOAWAY` with `ENHANCE_YOUR_CALM`.
    package static let maxContinuations = 5
    /// Flow-control window of one stream, bytes: the largest message with its prefix and some padding. So a stream never
    /// waits for an update, and a message that does not fit is rejected by its length.
    package static let streamWindowBytes = maxAuthorizationBytes + 65_536
    /// Flow-control window of a connection, bytes: as much as the network may hold while the loop does other work.
    /// Given back as it is read; what streams keep is bounded by `maxUnfinishedBytes`.
    package static let connectionWindowBytes = 1_048_576
    /// Most bytes read from a connection at once: some hundred calls. What is more than its share of the turn waits,
    /// and nothing more is read meanwhile.
    package static let maxReadBytes = 8_192
    /// What a frame counts, in units of about a microsecond.
    static let workPerFrame = 2
    /// What the frame that ends a request counts in addition: the call is decided and answered.
    static let workPerCall = 12
    /// How many bytes of frames count as one unit in addition: they are read, and messages are made of them.
    static let bytesPerWork = 64
    /// Most resets by the peer in `floodWindowSeconds`: a gateway cancels calls whose client has gone, or that took too
    /// long. With more the connection gets `GOAWAY` with `ENHANCE_YOUR_CALM`, and is closed.
    package static let maxResets = 1_000
    /// Most `PING`, `SETTINGS` and `PRIORITY` frames in `floodWindowSeconds`; the same happens with more. Clients that
    /// measure the bandwidth ping a few times a second.
    package static let maxControlFrames = 200
    /// Most empty `DATA` frames in a row that end no request; the same happens with more.
    package static let maxEmptyDataFrames = 1
    /// Most stream errors in `floodWindowSeconds`; the same happens with more.
    package static let maxStreamErrors = 200
    /// Most stream errors of a connection in all its life; the same happens with more.
    package static let maxStreamErrorsEver = 10_000
    /// The time in which frames that cost work and ask nothing are counted, s.
    package static let floodWindowSeconds: Int64 = 1
    /// Most answers to control frames that a peer leaves unread; the same happens with more.
    package static let maxBufferedControlFrames = 1_000
    /// Streams that were reset lately whose late frames are ignored; a frame of an older one is a stream error.
    package static let maxRecentlyResetStreams = maxStreams
    /// How long a request may take from its headers to its end, ns; then it is answered `DEADLINE_EXCEEDED`.
    package static let requestLimitNs: Int64 = 10_000_000_000
    /// How long the peer's windows may hold an answer back, ns; then its stream is reset with `ENHANCE_YOUR_CALM`.
    package static let answerLimitNs: Int64 = 30_000_000_000
    /// How long a new connection may take to send its preface, ns; then it is closed.
    package static let prefaceLimitNs: Int64 = 10_000_000_000
    /// How long a connection may be without streams, ns; then it gets `GOAWAY` and is closed. A gateway's pool keeps
    /// idle connections for an hour.
    package static let idleLimitNs: Int64 = 2 * 3_600_000_000_000
    /// How long the peer may take to acknowledge that no more streams are wanted, ns: see `GRPCStreams.drain`.
    package static let goAwayLimitNs: Int64 = 1_000_000_000
    /// Longest `grpc-message`, bytes: it is a sentence.
    package static let maxStatusMessageBytes = 1_024
}
