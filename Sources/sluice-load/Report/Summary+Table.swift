import Histogram
import SluiceProtocol
import SluiceTerminal

extension Summary {
    /// The summary in a form for people.
    func table(style: Style) -> String {
        var lines = [style.apply(.strong, to: heading), ""]
        lines += facts([
            (
                "checks",
                "\(Format.count(decidedWhileSending)) in \(Format.decimal(Double(elapsedNs) / 1e9, places: 2)) s"
            ),
            ("rate", style.apply(.strong, to: "\(Format.count(Int64(checksPerSecond.rounded()))) checks/s")),
        ])
        lines.append("")
        if !timeline.marks.isEmpty {
            lines += facts(
                timeline.marks.enumerated().map { index, mark in
                    (
                        index == 0 ? "done" : "",
                        "at \(Format.decimal(Double(mark.atNs) / 1e9, places: 1)) s: \(TerminalText.visible(mark.text))"
                    )
                })
            lines.append("")
        }
        lines += searchLines(style) + rampLines(style) + latencyLines(style)
        lines.append("")
        lines += sourceLines(style)
        lines.append("")
        lines += facts(failureFacts(style) + driverFacts(style) + oracleFacts(style))
        return lines.joined(separator: "\n") + "\n"
    }

    var heading: String {
        let loop = settings.ratePerSecond.map { rate in
            let ramp = settings.rampToPerSecond.map {
                "from \(Format.count(Int64(rate))) to \(Format.count(Int64($0)))"
            }
            return "open loop \(ramp ?? "at \(Format.count(Int64(rate)))") checks/s"
        }
        let replay = settings.replay.map { "a trace of \(plural($0.entries.count, "check"))" }
        let count = settings.socketPaths.count
        let what =
            settings.target == .redis ? "\(Format.count(Int64(count))) Redis" : plural(count, settings.target.noun)
        var parts = [
            what, plural(settings.connectionCount, "connection"),
            replay ?? loop ?? "closed loop, \(settings.pipeline) in flight each",
            plural(settings.threadCount, "thread"),
            plural(settings.grantCount, "grant") + (settings.namedGrants == nil ? "" : " of a file")
                + (settings.skew > 0 ? " skewed by \(settings.skew)" : ""),
        ]
        if settings.sessionCount > 0 { parts.append("\(plural(settings.sessionCount, "session")) each") }
        parts.append("seed \(settings.seed)")
        if isInterrupted { parts.append("ended early") }
        return "sluice-load: " + parts.joined(separator: ", ")
    }

    private func plural(_ count: some BinaryInteger, _ noun: String) -> String {
        "\(Format.count(Int64(count))) \(noun)\(count == 1 ? "" : "s")"
    }

    /// Names in one column, facts in the next.
    private func facts(_ facts: [(name: String, text: String)]) -> [String] {
        facts.map { pad($0.name, Self.nameColumns) + $0.text }
    }

    private static let nameColumns = 12
    private static let valueColumns = 14

    private func pad(_ text: String, _ columns: Int) -> String {
        text + String(repeating: " ", count: max(0, columns - text.count))
    }

    private func row(_ name: String, _ cells: [String]) -> String {
        let cells = cells.map { String(repeating: " ", count: max(1, Self.valueColumns - $0.count)) + $0 }
        return pad(name, Self.nameColumns) + cells.joined()
    }

    private func latencyLines(_ style: Style) -> [String] {
        let names = Self.percentiles.map(\.name)
        let values = Self.percentiles.map { Format.time(statistics.latency.valueAtPercentile($0.value)) }
        let note = !settings.isOpenLoop ? "from sending to answer" : "from when it should have been sent"
        var lines = [
            style.apply(.strong, to: row("", names)), row("latency", values) + "   " + style.apply(.faint, to: note),
        ]
        for more in moreLatencies {
            let values = Self.percentiles.map { Format.time(more.histogram.valueAtPercentile($0.value)) }
            lines.append(row(more.name, values) + "   " + style.apply(.faint, to: more.note))
        }
        return lines
    }

    /// The latencies besides that of checks.
    var moreLatencies: [(name: String, histogram: Histogram<UInt64>, note: String)] {
        var rows: [(name: String, histogram: Histogram<UInt64>, note: String)] = []
        if settings.isOpenLoop {
            rows.append(("since sent", statistics.latencySinceSent, "from when it really was sent: the sidecar's part"))
            rows.append(("late sends", statistics.lateness, "how late the driver itself was"))
        }
        if let commits = statistics.commitLatency {
            rows.append(("commit", commits, "from sending COMMIT to its answer"))
        }
        if let cancels = statistics.cancelLatency {
            rows.append(("cancel", cancels, "from sending CANCEL to its answer"))
        }
        return rows
    }

    /// How many decisions took longer than the budget, and why.
    var lateNote: String {
        let count =
            "\(Format.count(statistics.overBudget)) decisions took over \(Format.time(UInt64(settings.budgetNs)))"
        let sentLate = statistics.overBudget - statistics.overBudgetSinceSent
        guard settings.isOpenLoop, statistics.overBudget > 0 else { return count }
        return count + ": \(Format.count(statistics.overBudgetSinceSent)) took so long to be answered, "
            + "\(Format.count(sentLate)) only because the driver sent them late"
    }

    private func sourceLines(_ style: Style) -> [String] {
        var lines = [style.apply(.strong, to: row("source", ["allowed", "denied"]))]
        for source in ReplySource.allCases where statistics[source] != LoadStatistics.Decisions() {
            lines.append(
                row(
                    settings.target.name(of: source),
                    [Format.count(statistics[source].allowed), Format.count(statistics[source].denied)]))
        }
        let decided = statistics.decided
        lines.append(row("all", [Format.count(decided.allowed), Format.count(decided.denied)]))
        return lines
    }

    private func failureFacts(_ style: Style) -> [(name: String, text: String)] {
        var kinds = LoadStatistics.Failure.allCases.filter { statistics[$0] > 0 }
            .map { "\(Format.count(statistics[$0])) \($0.words)" }
        if statistics.brokenConnections > 0 { kinds.append(plural(statistics.brokenConnections, "broken connection")) }
        let count = Format.count(statistics.failureCount)
        var facts = [
            ("errors", kinds.isEmpty ? count : style.apply(.bad, to: count) + ": " + kinds.joined(separator: ", "))
        ]
        if let fault = statistics.firstFault, !kinds.isEmpty {
            facts.append(("", "first: \(TerminalText.visible(fault))"))
        }
        if statistics.committed + statistics.cancelled + statistics.unknownReservations > 0 {
            facts.append(
                (
                    "reserved",
                    "\(Format.count(statistics.committed)) committed, \(Format.count(statistics.cancelled)) cancelled, "
                        + "\(Format.count(statistics.unknownReservations)) unknown to the sidecar"
                ))
        }
        facts.append(("late", lateNote))
        return facts
    }

    private func driverFacts(_ style: Style) -> [(name: String, text: String)] {
        let seconds = Format.decimal(Double(processorNs) / 1e9, places: 2)
        let perCheck = Format.decimal(processorNsPerCheck / 1e3, places: 2)
        let busy = Format.decimal(busyShare * 100, places: 0)
        let verdict =
            bottlenecks.isEmpty
            ? "it was not the bottleneck"
            : style.apply(.bad, to: "it may have been the bottleneck") + ": " + bottlenecks.joined(separator: "; ")
        return [("driver", "\(seconds) s of CPU, \(perCheck) us a check, \(busy) % of its busiest thread; \(verdict)")]
    }

    /// A sentence about sidecars that did not write back completely, whether that breaks a promise or not.
    var unsettledNote: String? {
        guard let oracle, oracle.unsettledWindows > 0 else { return nil }
        return
            "not settled up: in \(plural(oracle.unsettledWindows, "window")) a sidecar was back at Redis without adding "
            + "what it had admitted locally, so more than the limit may have passed"
    }

    private func oracleFacts(_ style: Style) -> [(name: String, text: String)] {
        guard let oracle else { return [("oracle", "not asked")] }
        let kept =
            nothingJudged.map { style.apply(.bad, to: "nothing was judged") + ": " + $0 }
            ?? (oracle.isKept
                ? style.apply(.good, to: "every promise was kept")
                : style.apply(.bad, to: plural(oracle.breakCount, "broken promise")))
        var facts = [
            ("oracle", "\(kept) (\(Format.count(oracle.answers)) answers, \(Format.count(oracle.windows)) windows)")
        ]
        facts += oracle.breaks.map { ("", TerminalText.visible(describe($0))) }
        facts.append(
            (
                "",
                "full windows from start to end: \(Format.count(oracle.fullWindows)), admitted = max in "
                    + "\(Format.count(oracle.exactWindows)); windows with local admissions: "
                    + "\(Format.count(oracle.localWindows))"
            ))
        facts += counterFacts(oracle, style)
        if let note = unsettledNote { facts.append(("", style.apply(.bad, to: note))) }
        let skipped = oracle.lateAnswers + oracle.unjudgedAnswers + oracle.untracedAnswers
        if skipped > 0 {
            facts.append(
                (
                    "",
                    "not judged: \(Format.count(oracle.lateAnswers)) late answers, "
                        + "\(Format.count(oracle.unjudgedAnswers)) that could not be distinguished, "
                        + "\(Format.count(oracle.untracedAnswers)) without a trace"
                ))
        }
        if !oracle.unjudgedRules.isEmpty {
            facts.append(("", "not judged, since only fixed windows that are enforced are: " + unjudgedRuleNames))
        }
        return facts
    }

    /// The limits that were only measured.
    var unjudgedRuleNames: String {
        (oracle?.unjudgedRules.sorted() ?? []).map(TerminalText.visible).joined(separator: ", ")
    }

    /// The comparison of the store's counters with the admissions, in one line; nil without an oracle.
    var countersNote: String? {
        guard let oracle else { return nil }
        if let reason = oracle.countersUnread { return "counters at the end were not read: \(reason)" }
        guard let counters = oracle.counters else { return nil }
        let compared = counters.agreeing + counters.differing
        var note =
            "counters at the end, from \(counters.origin.rawValue): used = admitted in "
            + "\(Format.count(counters.agreeing)) of \(plural(compared, "window"))"
        var rest: [String] = []
        if counters.notSettled > 0 {
            rest.append("\(Format.count(counters.notSettled)) not settled (answered locally meanwhile)")
        }
        if counters.unknown > 0 { rest.append("\(Format.count(counters.unknown)) unknown") }
        if counters.isTruncated { rest.append("and more than were read") }
        if !rest.isEmpty { note += "; beside them " + rest.joined(separator: ", ") }
        return note
    }

    private func counterFacts(_ oracle: OracleReport, _ style: Style) -> [(name: String, text: String)] {
        guard let note = countersNote else { return [] }
        let isBroken = (oracle.counters?.differing ?? 0) > 0
        let visible = TerminalText.visible(note)
        return [("", isBroken ? style.apply(.bad, to: visible) : visible)]
            + (oracle.counters?.firstNotSettled ?? []).map {
                ("", TerminalText.visible("not settled: " + describeFacts($0)))
            }
    }
}

extension LoadStatistics.Failure {
    /// The word in the table, after a count.
    var words: String {
        switch self {
        case .busy: "answered BUSY"
        case .refused: "other error answers"
        case .malformed: "answers that made no sense"
        case .lost: "lost with their connection"
        case .unsent: "not sent, their connection was down"
        case .unanswered: "not answered"
        }
    }
}
