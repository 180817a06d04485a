import NIOCore
import NIOPosix
import SluiceEngine

/// The counters of all partitions, for operators.
extension LimiterHost {
    typealias CounterCompletion = (CounterListing) -> Void

    /// The counters, for operators: from the store if it answers, otherwise this replica's own view.
    ///
    /// It takes `ServerBounds.counterSurveyNs`, and the store's last answer; what it did not come to, its cursor names.
    func counters(_ question: CounterSurvey.Question, completion: @escaping CounterCompletion) {
        let survey = CounterSurvey(
            question, partitions: limiter.partitions(ofGrant: question.grant),
            untilNs: SystemClock.monotonicNs() + ServerBounds.counterSurveyNs)
        surveys.append { [self] in inspectNext(survey, completion: completion) }
        surveyNext()
    }

    /// Begins the next piece in a later turn, if none is being read: surveys take turns, piece by piece.
    private func surveyNext() {
        if let piece = surveys.next() { goOnLater(piece) }
    }

    /// The piece that was begun has ended.
    private func endPiece() {
        surveys.end()
        surveyNext()
    }

    /// Reads a piece of the counters of one partition after the other.
    private func inspectNext(_ survey: CounterSurvey, completion: @escaping CounterCompletion) {
        guard let (partition, place) = survey.next(nowNs: SystemClock.monotonicNs()) else {
            return finish(survey, completion: completion)
        }
        let query = survey.query(limiter[partition], place)
        var isOfTable = false
        if case .table? = place { isOfTable = true }
        // What was begun in the store cannot go on in the table.
        let isBegun = query.place != .beginning
        guard !isOfTable, partition < links.count, limiter[partition].isShared else {
            if isBegun { return finish(survey, completion: completion) }
            return inspect(query, stored: nil, partition, of: survey, completion: completion)
        }
        links[partition].scan(query) { [self, survey] result in
            let stored = try? result.get()
            if stored == nil && isBegun { return finish(survey, completion: completion) }
            inspect(query, stored: stored, partition, of: survey, completion: completion)
        }
    }

    private func inspect(
        _ query: CounterQuery, stored: StoredCounters?, _ partition: Int, of survey: CounterSurvey,
        completion: @escaping CounterCompletion
    ) {
        inspect(
            survey.inspection(query, stored: stored, partition: partition), next: stored?.next, partition, of: survey,
            completion: completion)
    }

    /// Reads counters in portions, so that other work runs in between.
    private func inspect(
        _ inspection: CounterInspection, next: StorePlace?, _ partition: Int, of survey: CounterSurvey,
        completion: @escaping CounterCompletion
    ) {
        var inspection = inspection
        add(work: ServerBounds.workPerCounterPortion)
        let isDone = inspection.look(
            at: limiter[partition], atMost: ServerBounds.countersLookedAtPerTurn,
            weight: ServerBounds.countersPerReport, now: SystemClock.now())
        guard isDone else {
            return goOnLater(
                SurveyPiece { [self] in
                    inspect(inspection, next: next, partition, of: survey, completion: completion)
                })
        }
        var rest = survey
        rest.add(inspection, next: next)
        guard rest.next(nowNs: SystemClock.monotonicNs()) != nil else { return finish(rest, completion: completion) }
        surveys.append { [self, rest] in inspectNext(rest, completion: completion) }
        endPiece()
    }

    private func finish(_ survey: CounterSurvey, completion: @escaping CounterCompletion) {
        endPiece()
        guard survey.count > ServerBounds.countersSortedHere else { return completion(survey.listing()) }
        NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) { survey.listing() }
            .assumeIsolated()
            .whenComplete { result in completion((try? result.get()) ?? CounterListing(isCutOff: true)) }
    }
}
