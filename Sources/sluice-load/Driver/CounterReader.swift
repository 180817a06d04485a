import SluiceClient
import SluiceEngine
import SluicePolicy

/// Reads the store's counters of the run's grants at the end of a run. If the driver started Redis it reads from Redis
/// itself, which also has windows that ended up to a minute ago; otherwise from the first sidecar that answers.
struct CounterReader: Sendable {
    private let settings: LoadSettings
    private let redisSocket: String?
    private let subjects: SubjectIndex
    /// The names of counters that a tool or a server has for itself: their keys do not name the rule.
    private let namesOfEach: [Place: String]

    private struct Place: Hashable {
        var container: Limit.Container
        var counter: String
    }

    /// - Parameter redisSocket: that of the driver's own Redis.
    init(_ settings: LoadSettings, redisSocket: String?) {
        self.settings = settings
        self.redisSocket = redisSocket
        subjects = SubjectIndex(settings)
        let kinds = CountedKinds(settings.kinds)
        var names: [Place: String] = [:]
        for (kind, counted) in settings.countedLimits.enumerated() {
            for one in counted {
                guard let limit = settings.limits[one.rule], limit.eachTool || limit.eachServer else { continue }
                names[Place(container: one.container, counter: one.counter)] =
                    kinds.name(one.rule, part: kinds.part(of: kind, limit), limit)
            }
        }
        namesOfEach = names
    }

    func read() async -> CounterReading {
        var reasons: [String] = []
        if let redisSocket {
            do {
                return .read(try await readRedis(redisSocket))
            } catch {
                return .unread("\(error)")
            }
        }
        for socket in settings.socketPaths {
            guard case .path(let path) = SocketPlace(socket) else {
                reasons.append("\(socket) is no Unix socket, and only there COUNTERS is answered")
                continue
            }
            do throws(SluiceError) {
                guard let stored = try await readSidecar(path) else {
                    reasons.append("\(path) could not ask Redis")
                    continue
                }
                return .read(stored)
            } catch {
                reasons.append("\(error)")
            }
        }
        return .unread(reasons.first ?? "there is no sidecar")
    }

    // MARK: - Through a sidecar

    /// - Returns: nil if the sidecar returned its own view, since Redis did not answer.
    private func readSidecar(_ path: String) async throws(SluiceError) -> StoredUsages? {
        let limit = LoadBounds.maxReportedCounters
        let reply = try await SluiceConnection.ask(path, ["COUNTERS", "LIMIT", "\(limit)"])
        guard reply["shared"]?.integer == 1 else { return nil }
        var stored = StoredUsages(origin: .sidecar)
        stored.isTruncated = reply["truncated"]?.integer == 1
        for counter in reply["counters"]?.array ?? [] {
            func text(_ name: String) -> String { counter[name]?.string ?? "" }
            func number(_ name: String) -> Int64 { counter[name]?.integer ?? -1 }
            let grant = text("grant")
            guard text("algorithm") == Algorithm.fixedWindow.name, text("mode") == "enforce",
                let subject = subjects.subject(grant: grant.isEmpty ? nil : grant, words: text("subject")),
                number("shared_used") >= 0
            else { continue }
            let limit = settings.limits[text("rule")] ?? JudgedLimit()
            let rule = CountedKinds.name(
                text("rule"), tool: limit.eachTool ? text("tool") : nil,
                server: limit.eachServer ? text("server") : nil)
            let key = StoredUsages.Key(subject: subject, rule: rule, startMs: number("window_start_ms"))
            stored.usages[key] = StoredUsages.Usage(used: number("shared_used"), isOpen: true)
        }
        return stored
    }

    // MARK: - From Redis

    private func readRedis(_ path: String) async throws(SluiceError) -> StoredUsages {
        try await SluiceConnection.with(path) { connection throws(SluiceError) in
            var stored = StoredUsages(origin: .redis)
            var windows: [String: Window] = [:]
            var keys: [CounterKey: Int64] = [:]
            var cursor = "0"
            repeat {
                let page = try await connection.send([
                    "SCAN", cursor, "MATCH", "\(Self.keyPrefix):2:*", "COUNT", "\(LoadBounds.keysPerScan)",
                ]).array
                guard let page, page.count == 2, let next = page[0].string, let names = page[1].array else {
                    throw .malformedReply("a page of SCAN")
                }
                cursor = next
                // Redis may hold many more than those of this run.
                try await readValues(of: names.compactMap(\.string), connection, into: &keys)
                stored.isTruncated = keys.count > LoadBounds.maxStoredCounters
            } while cursor != "0" && !stored.isTruncated
            let clock = try await connection.send(["TIME"]).array?.first?.string.flatMap(Int64.init)
            guard let clock else { throw .malformedReply("TIME") }
            let nowMs = clock * 1000
            for (key, used) in keys {
                guard let subject = subjects.subject(of: key) else { continue }
                let rule = rule(of: key)
                windows[rule] = key.window
                stored.usages[StoredUsages.Key(subject: subject, rule: rule, startMs: key.windowStartMs)] =
                    StoredUsages.Usage(
                        used: used, isOpen: nowMs < key.window.bounds(atMs: key.windowStartMs).endMs)
            }
            stored.openStartMs = windows.mapValues { $0.bounds(atMs: nowMs).startMs }
            return stored
        }
    }

    /// The prefix that the driver's sidecars put before every key.
    private static let keyPrefix = "sluice"

    private func readValues(
        of names: [String], _ connection: SluiceConnection, into keys: inout [CounterKey: Int64]
    ) async throws(SluiceError) {
        let counters = names.compactMap { name in
            CounterKey(name.utf8, in: KeySpace(prefix: Self.keyPrefix)).map { (name: name, key: $0) }
        }.filter { $0.key.algorithm == .fixedWindow && !$0.key.isDenials && subjects.subject(of: $0.key) != nil }
        guard !counters.isEmpty else { return }
        let values = try await connection.send(["MGET"] + counters.map(\.name)).array
        guard let values, values.count == counters.count else { throw .malformedReply("the values of MGET") }
        for (counter, value) in zip(counters, values) {
            // A counter that has expired meanwhile has no value.
            if let used = value.string.flatMap(Int64.init) { keys[counter.key] = used }
        }
    }

    /// The limit's path in the policy, as in answers.
    private func rule(of key: CounterKey) -> String {
        if let name = namesOfEach[Place(container: key.container, counter: key.counter)] { return name }
        let place = key.container.path
        // A limit in the same container cannot have this name; one over all tools may.
        return key.counter == "rate_limit" && key.container != .allTools
            ? "\(place)/rate_limit" : "\(place)/limits/\(JSONPointer.escape(key.counter))"
    }
}

/// Finds the identities of a run by their names.
private struct SubjectIndex: Sendable {
    private let settings: LoadSettings
    private let grants: [String: Int]
    private let sessions: [String: Int]

    init(_ settings: LoadSettings) {
        self.settings = settings
        func numbers(_ count: Int, _ name: (Int) -> String) -> [String: Int] {
            Dictionary((0..<count).map { (name($0), $0) }, uniquingKeysWith: { first, _ in first })
        }
        grants = numbers(settings.grantCount, settings.grantName)
        sessions = numbers(settings.sessionCount, settings.sessionName)
    }

    func subject(of key: CounterKey) -> Int? { subject(grant: key.grant, words: key.subject.words) }

    /// - Parameter words: what is counted by besides the grant, as `COUNTERS` reports it. - Returns: nil for counters
    /// of others, or of another scope.
    func subject(grant: String?, words: String) -> Int? {
        let target: CheckTarget
        switch settings.scope {
        case .global:
            return words == CounterKey.Subject.global.words ? 0 : nil
        case .grant:
            guard words.isEmpty, let grant, let number = grants[grant] else { return nil }
            target = CheckTarget(grant: UInt32(number))
        case .session:
            // A check without a session counts for its grant; in a trace it has the session with the empty name.
            let session = words.isEmpty ? "" : words.hasPrefix("session=") ? String(words.dropFirst(8)) : nil
            guard let grant, let number = grants[grant], let session, let sessionNumber = sessions[session] else {
                return nil
            }
            target = CheckTarget(grant: UInt32(number), session: UInt32(sessionNumber))
        }
        return settings.subject(of: target)
    }
}
