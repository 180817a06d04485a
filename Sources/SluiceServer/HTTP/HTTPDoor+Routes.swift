import NIOCore
import NIOHTTP1
import SluiceEngine
import SluicePolicy
import SluiceProtocol
import SluiceTerminal

/// What is asked where.
extension HTTPDoor {
    typealias Completion = (HTTPAnswer) -> Void

    private enum Route {
        case check(CheckBody.Command)
        case forwardAuth
        case page, metrics, healthz, readyz, status, counters, clear, override

        init?(_ path: String) {
            switch path {
            case "/v1/check": self = .check(.check)
            case "/v1/peek": self = .check(.peek)
            case "/v1/charge": self = .check(.charge)
            case "/v1/refund": self = .check(.refund)
            case "/v1/commit": self = .check(.commit)
            case "/v1/cancel": self = .check(.cancel)
            case "/v1/release": self = .check(.release)
            case "/v1/forward-auth": self = .forwardAuth
            case "/": self = .page
            case "/metrics": self = .metrics
            case "/healthz": self = .healthz
            case "/readyz": self = .readyz
            case "/v1/status": self = .status
            case "/v1/counters": self = .counters
            case "/v1/clear": self = .clear
            case "/v1/override": self = .override
            default: return nil
            }
        }

        var methods: [HTTPMethod] {
            switch self {
            case .check, .clear, .override: [.POST]
            case .forwardAuth: [.GET, .HEAD, .POST]
            case .page, .metrics, .healthz, .readyz, .status, .counters: [.GET, .HEAD]
            }
        }

        /// Whether a page in a browser of this machine must not reach it under a name of its own. A proxy passes its
        /// client's host on, and a question without the identity's headers charges nothing.
        var isForThisHostAlone: Bool {
            switch self {
            case .check, .page, .status, .counters, .clear, .override: true
            case .forwardAuth, .metrics, .healthz, .readyz: false
            }
        }
    }

    func answer(_ question: HTTPQuestion, on connection: HTTPConnection, completion: @escaping Completion) {
        guard let route = Route(question.path) else {
            return completion(
                .error(
                    .notFound, "ERR",
                    "nothing is here: there are /metrics, /healthz, /readyz, /v1/check and more, see the README"))
        }
        guard route.methods.contains(question.method) else {
            let methods = route.methods.map(\.rawValue).joined(separator: ", ")
            return completion(
                .error(.methodNotAllowed, "ERR", "\(question.path) takes \(methods)").adding("allow", methods))
        }
        guard connection.origin != .loopback || !route.isForThisHostAlone || question.isForLoopback else {
            return completion(
                .error(
                    .misdirectedRequest, "NOPERM",
                    "this door is for this machine: ask for it as localhost or by its address"))
        }
        switch route {
        case .check(let command): check(command, question, completion: completion)
        case .forwardAuth: forwardAuth(question, completion: completion)
        case .page: completion(.page)
        case .metrics:
            report { [self] in
                let text = MetricsReport(host: host, facts: facts, now: SystemClock.now()).text
                completion(HTTPAnswer(.ok, contentType: MetricsReport.contentType, ByteBuffer(string: text)))
            }
        case .healthz: completion(.text(.ok, "ok"))
        case .readyz: completion(ready(question))
        case .status:
            report { [self] in
                completion(.json(.ok, StatusReport(host: host, facts: facts, now: SystemClock.now()).json))
            }
        case .counters:
            report { [self] in counters(question, on: connection, completion: completion) }
        case .clear:
            report { [self] in clear(question, on: connection, completion: completion) }
        case .override:
            report { [self] in override(question, on: connection, completion: completion) }
        }
    }

    // MARK: - Checks

    private func check(_ command: CheckBody.Command, _ question: HTTPQuestion, completion: @escaping Completion) {
        guard question.isJSON else {
            return completion(
                .error(.unsupportedMediaType, "BADARG", "the body must be JSON, send content-type: application/json"))
        }
        if let answer = notYet { return completion(answer) }
        switch CheckBody.words(command, question.body) {
        case .failure(let faults): completion(.error(.badRequest, "BADARG", faults.description))
        case .success(let words):
            ask(words) { outcome in
                switch outcome {
                case .decision(let decision): completion(.json(.ok, decision.json))
                case .settled(let done): completion(.json(.ok, ["done": .boolean(done)]))
                case .error(let error): completion(.error(error))
                }
            }
        }
    }

    /// What a check is answered while none can be decided; nil if it can.
    private var notYet: HTTPAnswer? {
        guard readiness == .starting else { return nil }
        return .error(.serviceUnavailable, "BUSY", "the sidecar is starting, retry in a moment")
            .adding("retry-after", "1")
    }

    // MARK: - Forward authorization

    /// The identity comes from headers, which the proxy must set itself, or from the proxy's own query.
    private func forwardAuth(_ question: HTTPQuestion, completion: @escaping Completion) {
        let denial = question.parameter("deny").map { Int($0) }
        guard question.hasOnly(["deny", "tool"]), denial != .some(nil),
            denial.flatMap(\.self).map({ (400...599).contains($0) }) ?? true
        else {
            return completion(
                .error(
                    .badRequest, "BADARG",
                    "unknown parameter: send deny with a status from 400 to 599, and tool with a tool's name"))
        }
        let denied = denial.flatMap(\.self).map { HTTPResponseStatus(statusCode: $0) }
        func refuse(_ status: HTTPResponseStatus, _ code: String, _ sentence: String) {
            completion(.error(denied ?? status, code, sentence))
        }
        if let answer = notYet {
            var answer = answer
            if let denied { answer.status = denied }
            return completion(answer)
        }
        var words = ["CHECK"]
        var options: [String] = []
        for field in ForwardedField.allCases {
            let values = field.headers.flatMap { question.headers[$0] }
            let value = field == .tool ? question.parameter("tool") ?? values.first : values.first
            // Of two values the proxy may have set one, and its client the other.
            guard values.count <= 1 else {
                return refuse(.forbidden, "BADARG", "the header \(field.headers[0]) is there twice, set it once")
            }
            switch (field, value) {
            case (.grant, let value?), (.tool, let value?): words.append(value)
            case (.grant, nil), (.tool, nil):
                return refuse(.forbidden, "BADARG", "the header \(field.headers[0]) is missing, set it in the proxy")
            case (_, let value?): options += [field.word, value]
            case (_, nil): break
            }
        }
        ask(words + options) { outcome in
            switch outcome {
            case .decision(let decision):
                var answer =
                    decision.allowed
                    ? HTTPAnswer(.ok, contentType: "application/json", ByteBuffer())
                    : .json(denied ?? decision.status, decision.json)
                answer.headers = decision.rateLimitHeaders
                answer.headers.append(("x-sluice-verdict", ReplyVerdict(decision.verdict).rawValue))
                completion(answer)
            case .settled: refuse(.internalServerError, "ERR", "a settlement")
            case .error(let error):
                var answer = HTTPAnswer.error(error)
                // An identity that is no name is as good as none: the proxy's client is denied.
                if error.code == .badArgument { answer.status = .forbidden }
                if let denied { answer.status = denied }
                completion(answer)
            }
        }
    }

    private enum ForwardedField: CaseIterable {
        case grant, tool, server, session, cost

        /// The first is the one to set.
        var headers: [String] {
            switch self {
            case .grant: ["x-grant"]
            case .tool: ["x-tool"]
            case .server: ["x-server"]
            case .session: ["x-session", "mcp-session-id"]
            case .cost: ["x-cost"]
            }
        }

        var word: String {
            switch self {
            case .grant, .tool: ""
            case .server: "SERVER"
            case .session: "SESSION"
            case .cost: "COST"
            }
        }
    }

    // MARK: - Operators

    private func counters(_ question: HTTPQuestion, on connection: HTTPConnection, completion: @escaping Completion) {
        guard connection.isOperator else {
            return completion(
                .error(
                    .forbidden, "NOPERM",
                    "counters name grants, so they are for operators: ask at --http-socket, as the user that runs "
                        + "sluiced or as root"))
        }
        let limit = question.parameter("limit").map { Int($0) } ?? ServerBounds.countersPerPage
        let offset = question.parameter("offset").map { Int($0) } ?? 0
        guard question.hasOnly(["grant", "tool", "limit", "offset"]), let limit, let offset,
            (1...ServerBounds.maxCountersPerPage).contains(limit),
            (0...ProtocolBounds.maxCounterRows - limit).contains(offset)
        else {
            return completion(
                .error(
                    .badRequest, "BADARG",
                    "send grant, tool, limit (1 to \(ServerBounds.maxCountersPerPage)) and offset, together at most "
                        + "\(ProtocolBounds.maxCounterRows) counters"))
        }
        host.counters(
            .init(grant: question.parameter("grant"), tool: question.parameter("tool"), limit: offset + limit)
        ) { listing in
            completion(
                .json(
                    .ok,
                    [
                        "shared": .boolean(listing.isShared),
                        "counters": .array(listing.reports.dropFirst(offset).prefix(limit).map(\.json)),
                        "next_offset": listing.isCutOff ? .integer(offset + limit) : .null,
                    ]))
        }
    }

    private func clear(_ question: HTTPQuestion, on connection: HTTPConnection, completion: @escaping Completion) {
        operate(.clear, "clearing counters", question, on: connection, completion: completion) { words, peer in
            clear(words, by: peer) { completion($0.answer(\.json)) }
        }
    }

    private func override(_ question: HTTPQuestion, on connection: HTTPConnection, completion: @escaping Completion) {
        operate(.override, "overriding maxima", question, on: connection, completion: completion) { words, peer in
            override(words, by: peer) { completion($0.answer(\.json)) }
        }
    }

    /// Does with the words of a body what only operators may do.
    private func operate(
        _ command: CheckBody.Command, _ what: String, _ question: HTTPQuestion, on connection: HTTPConnection,
        completion: Completion, _ act: ([String], PeerCredentials) -> Void
    ) {
        guard let peer = connection.operatorPeer else {
            return completion(
                .error(
                    .forbidden, "NOPERM",
                    "\(what) is for operators: ask at --http-socket, as the user that runs sluiced or as root"))
        }
        guard question.isJSON else {
            return completion(
                .error(.unsupportedMediaType, "BADARG", "the body must be JSON, send content-type: application/json"))
        }
        switch CheckBody.words(command, question.body) {
        case .failure(let faults): completion(.error(.badRequest, "BADARG", faults.description))
        case .success(let words): act(words, peer)
        }
    }

    // MARK: - Health

    /// Whether gateways should be sent here, and what it waits for.
    private func ready(_ question: HTTPQuestion) -> HTTPAnswer {
        let counting =
            host.links.isEmpty
            ? "counting is local: there is no redis"
            : host.limiter.isShared ? "counting is shared" : "counting is \(host.counting): \(storeTrouble)"
        switch readiness {
        case .draining: return .text(.serviceUnavailable, "not ready: it is stopping")
        case .starting:
            let end = facts.requiresStore ? ", which it requires (--require-redis)" : ", for a second at most"
            return .text(
                .serviceUnavailable,
                host.links.isEmpty || host.limiter.isShared
                    ? "not ready: it opens its socket" : "not ready: it waits for redis\(end): \(storeTrouble)")
        case .ready:
            if question.parameter("require") == "shared", !host.links.isEmpty, !host.limiter.isShared {
                return .text(.serviceUnavailable, "not ready for require=shared: \(counting)")
            }
            return .text(.ok, "ready: \(counting)")
        }
    }

    private var storeTrouble: String {
        let masters = host.storeServers.filter { $0.place != nil }
        let away = masters.filter { !$0.isShared }
        guard let first = away.first?.place else { return storeReason }
        return "masters away: \(away.count) of \(masters.count), \(first): \(storeReason)"
    }

    private var storeReason: String {
        if !host.limiter.storeError.isEmpty { return host.limiter.storeError.onOneLine }
        return "redis has not answered yet (\(host.limiter.storeState))"
    }
}

extension HTTPQuestion {
    var isJSON: Bool {
        let type = headers.first(name: "content-type") ?? ""
        return type.prefix { $0 != ";" }.trimmed.lowercased() == "application/json"
    }

    /// Whether the host that it was sent to is this machine by name or address: a page of another host that its owner
    /// let point here says another one.
    var isForLoopback: Bool {
        guard let host = headers.first(name: "host") else { return true }
        let name = host.hasPrefix("[") ? host.prefix { $0 != "]" }.dropFirst() : host.prefix { $0 != ":" }
        return ListenAddress.isLoopback(String(name))
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        var text = self
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return text
    }
}

extension HTTPAnswer {
    static func error(_ error: RequestError) -> HTTPAnswer {
        let status: HTTPResponseStatus =
            switch error.code {
            case .badArgument: .badRequest
            case .tooBig: .payloadTooLarge
            case .busy: .serviceUnavailable
            case .noPermission: .forbidden
            default: .badRequest
            }
        let answer = HTTPAnswer.error(status, error.code.rawValue, error.sentence)
        return error.code == .busy ? answer.adding("retry-after", "1") : answer
    }

    /// The operators' page: nothing in it comes from elsewhere, and it may ask this door alone.
    static var page: HTTPAnswer {
        HTTPAnswer(.ok, contentType: "text/html; charset=utf-8", ByteBuffer(bytes: PackageResources.page_html))
            .adding(
                "content-security-policy",
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                    + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
            .adding("referrer-policy", "no-referrer")
    }
}

extension CounterReport {
    /// As `COUNTERS` reports it.
    var json: JSONText {
        [
            "grant": .string(key.grant ?? ""), "tool": .string(key.tool ?? ""), "counter": .string(key.counter),
            "subject": .string(key.subject.words), "algorithm": .string(key.algorithm.name),
            "window": .string(key.window.name), "mode": .string(isShadow ? "shadow" : "enforce"),
            "rule": .string(rule), "window_start_ms": .integer(key.windowStartMs), "reset_ms": .integer(resetMs),
            "max": .integer(max), "shared_used": .integer(sharedUsed), "local_used": .integer(localUsed),
            "local_share": .integer(localShare), "remaining": .integer(remaining), "would_deny": .integer(denials),
        ]
    }
}

extension Result where Failure == RequestError {
    fileprivate func answer(_ json: (Success) -> JSONText) -> HTTPAnswer {
        switch self {
        case .success(let page): .json(.ok, json(page))
        case .failure(let error): .error(error)
        }
    }
}
