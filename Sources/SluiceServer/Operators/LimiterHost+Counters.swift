import NIOCore
import NIOPosix
import SluiceEngine

/// The counters of all partitions, for operators.
extension LimiterHost {
    /// The counters, for operators: from the store if it answers, otherwise this replica's own view. - Parameter
    /// completion: gets the counters, whether they came from the store, and whether there may be more.
    func counters(
        grant: String?, tool: String?, limit: Int, completion: @escaping ([CounterReport], Bool, Bool) -> Void
    ) {
        inspectNext(
            CounterSurvey(partitions: limiter.partitions(ofGrant: grant), grant: grant, tool: tool, limit: limit),
            completion: completion)
    }

    /// Reads the counters of one partition after the other.
    private func inspectNext(_ survey: CounterSurvey, completion: @escaping ([CounterReport], Bool, Bool) -> Void) {
        var survey = survey
        guard let partition = survey.next() else { return finish(survey.found, completion: completion) }
        let query = survey.query(limiter[partition])
        guard partition < links.count, limiter[partition].isShared else {
            return inspect(CounterInspection(query, stored: nil), partition, of: survey, completion: completion)
        }
        links[partition].scan(query) { [self, survey] result in
            inspect(
                CounterInspection(query, stored: try? result.get()), partition, of: survey, completion: completion)
        }
    }

    /// Reads counters in portions, so that other work runs in between.
    private func inspect(
        _ inspection: CounterInspection, _ partition: Int, of survey: CounterSurvey,
        completion: @escaping ([CounterReport], Bool, Bool) -> Void
    ) {
        var inspection = inspection
        let isDone = inspection.look(
            at: limiter[partition], atMost: ServerBounds.countersLookedAtPerTurn,
            weight: ServerBounds.countersPerReport, now: SystemClock.now())
        guard isDone else {
            return eventLoop.assumeIsolated().execute { [self] in
                inspect(inspection, partition, of: survey, completion: completion)
            }
        }
        var survey = survey
        survey.add(inspection)
        inspectNext(survey, completion: completion)
    }

    private func finish(
        _ inspection: CounterInspection, completion: @escaping ([CounterReport], Bool, Bool) -> Void
    ) {
        let (isShared, isCutOff) = (inspection.isShared, inspection.isCutOff)
        guard inspection.count > ServerBounds.countersSortedHere else {
            return completion(inspection.sorted(), isShared, isCutOff)
        }
        let done = inspection
        NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) { done.sorted() }
            .assumeIsolated()
            .whenComplete { result in completion((try? result.get()) ?? [], isShared, isCutOff) }
    }
}
