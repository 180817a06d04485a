internal import NIOCore

/// The sentinels of one master. They are asked for its address one after the other, at each connect; the one that
/// answered is asked first the next time.
final class Sentinels {
    typealias Completion = (Result<RedisAddress.Endpoint, Failure>) -> Void

    /// In one line: no sentinel answers, or none knows the master.
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    let master: String
    private let clientName: String
    private let access: RedisAccess
    private let limits: RedisTimeLimits
    private let eventLoop: any EventLoop
    /// Never empty.
    private(set) var addresses: [RedisAddress]
    private var queries: [ObjectIdentifier: RedisQuery] = [:]

    /// nil if the address names no sentinels.
    init?(_ configuration: RedisLink.Configuration, eventLoop: any EventLoop) {
        guard case .master(let name, let sentinels) = configuration.address.endpoint else { return nil }
        master = name
        addresses = sentinels.map { RedisAddress(endpoint: .tcp(host: $0.host, port: $0.port)) }
        access = configuration.sentinelAccess
        clientName = "sluice-\(String(configuration.replica, radix: 16))"
        var limits = configuration.limits
        limits.connect = min(limits.connect, limits.sentinel)
        limits.handshake = min(limits.handshake, limits.sentinel)
        self.limits = limits
        self.eventLoop = eventLoop
    }

    /// Asks for the master's address. The completion is called once, and not from inside this call.
    func find(completion: @escaping Completion) {
        ask(addresses[...], unknownTo: [], silent: [], completion: completion)
    }

    /// Begins to open a connection to a sentinel.
    func connection(to address: RedisAddress, owner: any RedisConnectionOwner) -> RedisConnection {
        RedisConnection(
            to: RedisTarget(address: address, access: access, sentinels: nil),
            handshake: { [clientName] credentials in
                RedisHandshake(
                    address: address, credentials: credentials, clientName: clientName, keyPrefix: "",
                    isForCharging: false)
            }, limits: limits, eventLoop: eventLoop, owner: owner)
    }

    private func ask(
        _ rest: ArraySlice<RedisAddress>, unknownTo sentinels: [String], silent: [String],
        completion: @escaping Completion
    ) {
        guard let address = rest.first else {
            return completion(.failure(failure(unknownTo: sentinels, silent: silent)))
        }
        let query = RedisQuery(
            [["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master]], timeLimit: limits.sentinel, eventLoop: eventLoop)
        queries[ObjectIdentifier(query)] = query
        query.start(connection(to: address, owner: query)) { answer in
            self.queries[ObjectIdentifier(query)] = nil
            switch Self.outcome(of: answer) {
            case .found(let endpoint):
                if let index = self.addresses.firstIndex(of: address) {
                    self.addresses.insert(self.addresses.remove(at: index), at: 0)
                }
                completion(.success(endpoint))
            case .unknown:
                self.ask(
                    rest.dropFirst(), unknownTo: sentinels + ["\(address.endpoint)"], silent: silent,
                    completion: completion)
            case .failed(let reason):
                self.ask(
                    rest.dropFirst(), unknownTo: sentinels, silent: silent + ["\(address.endpoint): \(reason)"],
                    completion: completion)
            }
        }
    }

    private enum Outcome {
        case found(RedisAddress.Endpoint)
        /// It answers, and does not know the master.
        case unknown
        case failed(String)
    }

    private static func outcome(of answer: Result<[FlatReply], RedisQuery.Failure>) -> Outcome {
        let reply: FlatReply
        switch answer {
        case .success(let replies): reply = replies[0]
        case .failure(let failure): return .failed(failure.reason)
        }
        if let error = reply.error { return .failed(error.reason) }
        switch reply.tree() {
        case .null: return .unknown
        case .array(let parts):
            guard parts.count == 2, case .string(let host) = parts[0], case .string(let port) = parts[1],
                let port = Int(String(decoding: port, as: UTF8.self)), (1...65_535).contains(port),
                (1...RedisBounds.maxHostBytes).contains(host.count)
            else { fallthrough }
            return .found(.tcp(host: String(decoding: host, as: UTF8.self), port: port))
        default: return .failed("it answered with other than an address: is it a sentinel?")
        }
    }

    private func failure(unknownTo sentinels: [String], silent: [String]) -> Failure {
        let silence = silent.joined(separator: "; ")
        if sentinels.isEmpty { return Failure(description: "no sentinel answers: \(silence)") }
        let asked = sentinels.joined(separator: ", ")
        return Failure(
            description: "no sentinel knows the master \"\(master)\" (asked: \(asked)): --redis must hold the name of "
                + "sentinel.conf's line \"sentinel monitor\"\(silence.isEmpty ? "" : "; no answer from \(silence)")")
    }
}
