import Logging
import NIOCore
import SluiceEngine
import SluicePolicy
import SluiceProtocol

/// Clearing a grant's counters for an operator.
extension LimiterHost {
    typealias ClearCompletion = (Result<ClearedPage, RequestError>) -> Void

    /// Lists the next counters of a grant, or of one of its tools, and clears them in one call of Redis; nothing is cleared
    /// unless they are counted there by all replicas.
    ///
    /// - Parameter door: what the command came in by.
    func clear(
        _ request: ClearRequest, by peer: PeerCredentials, door: String, completion: @escaping ClearCompletion
    ) {
        let policies = limiter.policies
        let names = request.tool.map { policies.toolNames(ofTool: $0, forGrant: request.grant) } ?? []
        var question = CounterSurvey.Question(
            grant: request.grant, tool: names.count == 1 ? names[0] : nil, limit: EngineBounds.maxCountersPerClear)
        if let text = request.cursor {
            guard let cursor = CounterCursor(text), cursor.partition < limiter.partitionCount else {
                return completion(
                    .failure(RequestError(.badArgument, "CURSOR is \(text.quoted), send one that CLEAR has returned")))
            }
            question.cursor = cursor
        }
        guard canClear(request.grant) else { return completion(.failure(.cannotClear(storeTrouble))) }
        counters(question) { [self] listing in
            guard links.isEmpty || listing.isShared else { return completion(.failure(.cannotClear(storeTrouble))) }
            let reports = listing.reports.filter { report in
                report.key.grant != nil && report.key.algorithm != .concurrency
                    && (names.isEmpty || names.contains { $0 == report.key.tool })
            }
            var page = ClearedPage(
                grant: request.grant, tool: request.tool, door: door, isShared: !links.isEmpty, counters: [],
                kept: policies.kept(ofTool: request.tool, forGrant: request.grant), cursor: listing.cursor)
            func add(_ report: CounterReport, _ outcome: CounterClearing.Outcome?) {
                guard let outcome, outcome != .held(0) else { return }
                page.counters.append(ClearedPage.Counter(report: report, outcome: outcome))
            }
            guard !request.isDryRun else {
                for report in reports { add(report, .held(max(0, report.sharedUsed) + report.localUsed)) }
                return completion(.success(page))
            }
            clear(reports.map(\.key), ofGrant: request.grant) { [self] answer in
                switch answer {
                case .cleared(let counters):
                    for (report, counter) in zip(reports, counters) { add(report, counter.outcome) }
                    log(page, "an operator cleared counters", by: peer)
                    decisionLog?.cleared(page, by: peer, now: SystemClock.now())
                    completion(.success(page))
                case .overloaded(let cause): completion(.failure(.busy(cause)))
                case .storeUnavailable:
                    for report in reports { add(report, .held(report.sharedUsed)) }
                    log(page, "an operator's clear was not answered: these counters may be cleared or not", by: peer)
                    completion(.failure(.clearIsUnclear))
                case .decision, .otherArguments, .settled, .notSettled, .overridden:
                    preconditionFailure("a clear is no check and no settlement")
                }
            }
        }
    }

    /// Clears counters of a grant: see `Limiter.clear`. A waiting answer comes in a later turn.
    private func clear(
        _ keys: [CounterKey], ofGrant grant: String, completion: @escaping (Limiter.Completion.Answer) -> Void
    ) {
        openTurn()
        let number = clears.insert(completion)
        let outcome = limiter.clear(
            keys, ofGrant: grant, ticket: Ticket(slot: Self.operatorSlot, number: number), now: SystemClock.now())
        switch outcome {
        case .waiting: return schedulePump()
        case .cleared(let counters):
            clears.remove(number)
            recordSoon()
            completion(.cleared(counters))
        case .overloaded:
            clears.remove(number)
            completion(.overloaded(.waiting))
        case .storeUnavailable:
            clears.remove(number)
            completion(.storeUnavailable)
        }
    }

    private func canClear(_ grant: String) -> Bool {
        links.isEmpty || limiter.partitions(ofGrant: grant).allSatisfy { limiter[$0].isShared }
    }

    var storeTrouble: String { limiter.storeError.isEmpty ? limiter.storeState : limiter.storeError.onOneLine }

    /// Who cleared what: the one line that names a grant, because it is for audits.
    private func log(_ page: ClearedPage, _ message: Logger.Message, by peer: PeerCredentials) {
        let listed = page.counters.prefix(ServerBounds.maxLoggedClears).map { counter in
            let name = counter.report.rule.isEmpty ? counter.report.key.counter : counter.report.rule
            let subject = counter.report.key.subject.words
            let found = counter.fault.isEmpty ? "\(counter.held)" : counter.fault
            return "\(name)\(subject.isEmpty ? "" : " \(subject)"): \(found)"
        }
        logger.notice(
            message,
            metadata: [
                "grant": "\(page.grant)", "tool": "\(page.tool ?? "*")", "counters": "\(page.heldCount)",
                "cleared": "\(listed.joined(separator: ", "))", "uid": "\(peer.userID)", "pid": "\(peer.processID)",
                "door": "\(page.door)",
            ])
    }
}
