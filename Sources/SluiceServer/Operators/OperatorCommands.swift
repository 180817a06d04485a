import Glibc
import NIOCore
import NIOPosix
package import SluiceEngine
import SluicePolicy
import SluiceProtocol

/// The operators' commands that have one answer: `CLEAR`, `COUNTERS`, `INFO`, `OVERRIDE` and `POLICY`.
final class OperatorCommands {
    /// Writes a reply in the form that the asking connection wants.
    typealias Write = (ReplyWriter, inout ByteBuffer) -> Void

    private let host: LimiterHost
    private let facts: ServerFacts
    private let operatorUserIDs: Set<UInt32>

    init(host: LimiterHost, facts: ServerFacts, operatorUserIDs: Set<UInt32>) {
        self.host = host
        self.facts = facts
        self.operatorUserIDs = operatorUserIDs.union([0, geteuid()])
    }

    /// Determines whether the peer of a Unix socket may use operators' commands, by the user id from the kernel; nil if not.
    func recognise(_ channel: any Channel, completion: @escaping (PeerCredentials?) -> Void) {
        guard let provider = channel as? any SocketOptionProvider else { return completion(nil) }
        let credentials: EventLoopFuture<PeerCredentials> = provider.unsafeGetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
        credentials.assumeIsolated().whenComplete { [operatorUserIDs] result in
            completion((try? result.get()).flatMap { operatorUserIDs.contains($0.userID) ? $0 : nil })
        }
    }

    /// Some clients ask for `INFO` while they connect. It holds no grant and no secret; callers that are not operators
    /// get figures only.
    func isOpenToAll(_ request: OperatorRequest) -> Bool {
        if case .info = request { return true }
        return false
    }

    func answer(
        _ request: OperatorRequest, of peer: PeerCredentials?, completion: @escaping (@escaping Write) -> Void
    ) {
        switch request {
        case .info(let sections):
            let text = InfoReport(host: host, facts: facts, now: SystemClock.now(), isForOperators: peer != nil)
                .text(sections: sections)
            completion { $0.writeText(text, to: &$1) }
        case .counters(let request):
            counters(request, completion: completion)
        case .tail:
            // The connection itself becomes the stream.
            completion { $0.writeError(.error, "TAIL is answered at the socket only, send it there", to: &$1) }
        case .policy(let words):
            policy(words, completion: completion)
        case .override(let request): override(request, of: peer, completion: completion)
        case .clear(let request):
            host.clear(request, by: peer ?? PeerCredentials(), door: "socket") { result in
                completion { writer, output in
                    switch result {
                    case .success(let page): page.write(writer, to: &output)
                    case .failure(let error): writer.writeError(error, to: &output)
                    }
                }
            }
        }
    }

    private func override(
        _ request: OverrideRequest, of peer: PeerCredentials?, completion: @escaping (@escaping Write) -> Void
    ) {
        host.override(request, by: peer ?? PeerCredentials(), door: "socket") { result in
            completion { writer, output in
                switch result {
                case .success(let page): page.write(writer, to: &output)
                case .failure(let error): writer.writeError(error, to: &output)
                }
            }
        }
    }

    private func counters(_ request: CountersRequest, completion: @escaping (@escaping Write) -> Void) {
        var question = CounterSurvey.Question(
            grant: request.grant, tool: request.tool, isAtLimit: request.isAtLimit,
            order: request.order.map { CounterOrder($0) }, limit: request.limit)
        if let text = request.cursor {
            guard let cursor = CounterCursor(text), cursor.partition < host.limiter.partitionCount else {
                return completion {
                    $0.writeError(
                        .badArgument, "CURSOR is \(text.quoted), send one that COUNTERS has returned", to: &$1)
                }
            }
            question.cursor = cursor
        }
        host.counters(question) { listing in completion { Self.write(listing, $0, to: &$1) } }
    }

    /// Runs on another thread, since a long answer would hold up the checks.
    private func policy(_ words: [String], completion: @escaping (@escaping Write) -> Void) {
        guard let question = PolicyQuestion(words) else {
            let found = words.joined(separator: " ").quoted
            completion {
                $0.writeError(
                    .badArgument, "POLICY: found \(found), expected \(PolicyQuestion.expected)", to: &$1)
            }
            return
        }
        let (policies, source) = (host.limiter.policies, facts.policyDescription)
        NIOThreadPool.singleton.runIfActive(eventLoop: host.eventLoop) { question.answer(policies, source: source) }
            .assumeIsolated()
            .whenComplete { result in
                completion { writer, output in
                    switch result {
                    case .success(let answer): answer.write(writer, to: &output)
                    case .failure: writer.writeError(.busy, "the sidecar is stopping, ask again later", to: &output)
                    }
                }
            }
    }

    /// Writes a map of `shared` (whether usages were just read from the store), `truncated`, `cursor` (empty at the end), and
    /// `counters`, each a map.
    private static func write(_ listing: CounterListing, _ writer: ReplyWriter, to output: inout ByteBuffer) {
        writer.writeMapHeader(4, to: &output)
        writer.writeBulkString("shared", to: &output)
        writer.writeInteger(listing.isShared ? 1 : 0, to: &output)
        writer.writeBulkString("truncated", to: &output)
        writer.writeInteger(listing.isCutOff ? 1 : 0, to: &output)
        writer.writeBulkString("cursor", to: &output)
        writer.writeBulkString(listing.cursor.map { "\($0)" } ?? "", to: &output)
        writer.writeBulkString("counters", to: &output)
        writer.writeArrayHeader(listing.reports.count, to: &output)
        for report in listing.reports {
            let texts = [
                ("grant", report.key.grant ?? ""), ("tool", report.key.tool ?? ""),
                ("server", report.key.container.server ?? ""), ("group", report.key.group ?? ""),
                ("counter", report.key.counter),
                ("subject", report.key.subject.words), ("algorithm", report.key.algorithm.name),
                ("window", report.key.window.name), ("mode", report.isShadow ? "shadow" : "enforce"),
                ("rule", report.rule),
            ]
            let numbers = [
                ("window_start_ms", report.key.windowStartMs),
                ("reset_ms", report.resetMs), ("max", report.max), ("shared_used", report.sharedUsed),
                ("local_used", report.localUsed), ("local_share", report.localShare), ("remaining", report.remaining),
                ("would_deny", report.denials),
            ]
            writer.writeMapHeader(texts.count + numbers.count, to: &output)
            writer.write(texts, numbers, to: &output)
        }
    }
}

extension CounterOrder {
    init(_ order: CountersRequest.Order) {
        self =
            switch order {
            case .used: .used
            case .remaining: .remaining
            case .grant: .grant
            }
    }
}

/// `struct ucred` of Linux, unix(7).
struct PeerCredentials {
    var processID: Int32 = 0
    var userID: UInt32 = 0
    var groupID: UInt32 = 0
}

/// Facts that `INFO` reports besides figures.
package struct ServerFacts: Sendable {
    package var version: String
    /// Where the policy came from.
    package var policyDescription: String
    /// The store's address without its password; `none` without a store.
    package var storeAddress: String
    package var replicaID: String
    package var startedAt: ClockReading
    /// Whether a start fails without the store (`--require-redis`).
    package var requiresStore = false
    /// The gateways file; nil without one.
    package var gatewaysFile: String?

    package init(
        version: String, policyDescription: String, storeAddress: String, replicaID: String, startedAt: ClockReading
    ) {
        self.version = version
        self.policyDescription = policyDescription
        self.storeAddress = storeAddress
        self.replicaID = replicaID
        self.startedAt = startedAt
    }
}
