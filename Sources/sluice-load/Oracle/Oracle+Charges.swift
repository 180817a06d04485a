import SluicePolicy
import SluiceProtocol

/// Charges and refunds: answers to them do not name the window that they counted in.
extension Oracle {
    /// A refund is about to be sent: what it gives back may be taken by others before its answer is read.
    mutating func refunding(_ refund: Refund, subject: Int, nowNs: Int64) {
        forWindows(of: Int(refund.target.kind), subject: subject, fromNs: nowNs, toNs: nowNs) { window, _ in
            window.account(.refund, refund.cost, isCertain: false)
        }
    }

    /// A charge was answered.
    mutating func charged(_ answer: Answer) {
        report.answers += 1
        guard answer.source != .policy else { return }
        forWindows(of: answer.kind, subject: answer.subject, fromNs: answer.sentNs, toNs: answer.receivedNs) {
            window, isOnly in
            if answer.source != .shared { window.mayHoldMore = true }
            window.account(.charge, answer.cost, isCertain: isOnly && answer.source == .shared)
        }
    }

    /// A refund was answered: its charge was in the same window, or what it gave back depends on what was in another one.
    mutating func refunded(_ refund: Refund, _ answer: Answer) {
        report.answers += 1
        guard answer.source != .policy else { return }
        let kind = answer.kind
        forWindows(of: kind, subject: answer.subject, fromNs: refund.chargeSentNs, toNs: answer.receivedNs) {
            window, isOnly in
            if answer.source != .shared { window.mayHoldMore = true }
            if isOnly && answer.source == .shared {
                window.confirmRefund(refund.cost)
            } else {
                window.account(.refund, refund.cost, isCertain: false)
            }
        }
    }

    /// The windows that were open at some moment between two times, by the clock of Redis, which is this machine's but for
    /// `LoadBounds.clockSlackNs`.
    /// - Parameter body: also gets whether there is no other.
    private mutating func forWindows(
        of kind: Int, subject: Int, fromNs: Int64, toNs: Int64, _ body: (inout OracleWindow, Bool) -> Void
    ) {
        guard kind < countedLimits.count else { return }
        let fromMs = (fromNs + wallOffsetNs - LoadBounds.clockSlackNs) / 1_000_000
        let toMs = (toNs + wallOffsetNs + LoadBounds.clockSlackNs) / 1_000_000
        for limit in countedLimits[kind] where !limit.countsCalls {
            guard let rule = findRule(limit.rule, kind: kind) else { continue }
            let track = findTrack(rule, of: subject)
            let lastMs = limit.window.startMs(at: toMs)
            var startMs = limit.window.startMs(at: fromMs)
            let isOnly = startMs == lastMs
            while startMs <= lastMs {
                let look = TraceEntry(rule: limit.rule, windowStartMs: startMs, used: 0, max: limit.max)
                if let window = findWindow(look, track: track, subject: subject) {
                    rules[rule].firstStartMs = min(rules[rule].firstStartMs, startMs)
                    rules[rule].lastStartMs = max(rules[rule].lastStartMs, startMs)
                    body(&tracks[subject][track].windows[window], isOnly)
                } else {
                    report.lateAnswers += 1
                    ledger.loseSight(ofSubject: subject, rule: rule, startMs: startMs)
                }
                startMs = limit.window.bounds(atMs: startMs).endMs
            }
        }
    }
}
