import SluiceProtocol
import SluiceTerminal

/// The screen of `top`, for any size: the figures, then as many rows of grants, limits and denials as fit.
struct TopLayout {
    let model: TopModel
    /// The time of the day, or empty.
    let time: String

    private var data: TopData { model.shown }

    /// With so many columns limits stand beside the others.
    private static let wideColumns = 150
    /// With so many rows there are empty lines between the parts.
    private static let roomyRows = 20
    private static let absence = "(none)"

    /// At most `rows` lines of at most `columns` columns.
    func lines() -> [ScreenLine] {
        let (columns, rows) = (model.columns, model.rows)
        var lines = Array(head.prefix(max(1, rows - 1)))
        if rows >= Self.roomyRows { lines.append(ScreenLine()) }
        let room = rows - lines.count - 1
        lines += columns >= Self.wideColumns ? beside(room) : below(room)
        if rows > 1 { lines.append(foot) }
        return lines.prefix(rows).map { line in
            var line = line
            line.cut(to: columns)
            return line
        }
    }

    // MARK: - Head and foot

    private var head: [ScreenLine] {
        var head = [title, calls]
        // A small screen has its rows for names.
        if model.rows >= 16 { head.append(sources) }
        head.append(redis)
        head += data.troubles.sorted { $0.key < $1.key }.prefix(2).map {
            ScreenLine("\($0.key): \($0.value)", .caution)
        }
        return head
    }

    private var title: ScreenLine {
        var line = ScreenLine("sluice", .strong)
        if model.isPaused { line.add("  PAUSED", .caution) }
        if !time.isEmpty { line.add("  \(time)") }
        if let uptime = data.status?.integer("uptime_ms") {
            line.add("  up \(DurationText.format(milliseconds: uptime))", .faint)
        }
        line.add("  \(model.socket)", .faint)
        return line
    }

    private var calls: ScreenLine {
        let rates = data.rates
        var line = ScreenLine("calls/s ")
        line.add(Self.rate(rates.calls), .strong)
        line.add("  denied/s ")
        line.add(Self.rate(rates.denied), rates.denied > 0 ? .bad : .strong)
        if rates.calls > 0 { line.add(" (\(Int((100 * rates.denied / rates.calls).rounded()))%)") }
        line.add("  waiting \(data.status?.text("waiting") ?? "-")")
        for (name, field) in [("late", "late"), ("busy", "overloaded")] {
            guard let count = data.status?.integer(field), count > 0 else { continue }
            line.add("  \(name) \(count)", .caution)
        }
        return line
    }

    private var sources: ScreenLine {
        var line = ScreenLine("answers/s ")
        let names = data.rates.sources.map { "\($0.name) \(Self.rate($0.rate))" }
        line.add(names.isEmpty ? "-" : names.joined(separator: "  "))
        return line
    }

    private var redis: ScreenLine {
        guard let status = data.status else { return ScreenLine("redis -") }
        guard status.hasRedis else { return ScreenLine("no redis, counting alone") }
        var line = ScreenLine("redis ")
        line.add(status.redisState, status.isShared ? .good : .bad)
        if let ms = status.unavailableMs {
            line.add(", alone for \(DurationText.format(milliseconds: ms))", .bad)
        } else if let ms = status.integer("redis_shared_ms"), ms > 0 {
            line.add(" for \(DurationText.format(milliseconds: ms))")
        }
        let breaker = status.text("redis_state")
        if breaker != "closed" { line.add("  breaker \(breaker)", .caution) }
        if let checks = data.rates.checksInBatch {
            line.add("  batch \(Self.rate(checks)) checks, \(Self.rate(data.rates.batches))/s")
        }
        if let outages = status.integer("outages"), outages > 0 { line.add("  outages \(outages)", .caution) }
        if !status.isShared, let error = status.redisError { line.add("  \(error)", .caution) }
        return line
    }

    private var foot: ScreenLine {
        if model.isTyping {
            var line = ScreenLine("filter: ", .strong)
            line.add(model.filter + "_")
            line.add("  (enter: keep, esc: none)", .faint)
            return line
        }
        var line = ScreenLine("s", .strong)
        line.add(" sort: \(model.order.rawValue)  ", .faint)
        line.add("/", .strong)
        line.add(model.filter.isEmpty ? " filter  " : " filter: ", .faint)
        if !model.filter.isEmpty { line.add("\(model.filter)  ", .caution) }
        line.add("p", .strong)
        line.add(model.isPaused ? " go on  " : " pause  ", .faint)
        line.add("q", .strong)
        line.add(" quit", .faint)
        return line
    }

    // MARK: - Tables

    private var grants: TopTable {
        TopTable(
            columns: [
                .init(heading: data.isSampled ? "GRANTS (a sample)" : "GRANTS", isFlexible: true),
                .init(heading: "calls/s", alignment: .right), .init(heading: "denied/s", alignment: .right),
                .init(heading: "last denied by", rank: 1, isFlexible: true),
            ],
            rows: model.grants.map { grant in
                [
                    .init(grant.name), .init(Self.rate(grant.rate)),
                    .init(Self.rate(grant.deniedRate), grant.deniedRate > 0 ? .bad : .plain), .init(grant.note, .faint),
                ]
            }, absence: Self.absence)
    }

    private var rules: TopTable {
        TopTable(
            columns: [
                .init(heading: "DENIED BY", isFlexible: true), .init(heading: "denied/s", alignment: .right),
                .init(heading: "grants", alignment: .right), .init(heading: "last grant", rank: 1, isFlexible: true),
            ],
            rows: model.rules.map { rule in
                let count = rule.others.count
                return [
                    .init(rule.name), .init(Self.rate(rule.rate), .bad),
                    .init(count < TopSketch.maxOthers ? "\(count)" : "\(count)+"), .init(rule.note),
                ]
            }, absence: Self.absence)
    }

    private var limits: TopTable {
        TopTable(
            columns: [
                .init(heading: "LIMITS", isFlexible: true), .init(heading: "counter", rank: 2, isFlexible: true),
                .init(heading: "used/max", alignment: .right), .init(heading: "full", alignment: .right, rank: 1),
                .init(heading: "resets in", alignment: .right, rank: 3),
            ],
            rows: model.limits.map { row in
                let fullness = row.fullness ?? 0
                let tone: Style.Tone = fullness >= 1 ? .bad : fullness >= 0.8 ? .caution : .plain
                let grant = row.grant.isEmpty ? "(all grants)" : row.grant
                return [
                    .init(row.subject.isEmpty ? grant : "\(grant) \(row.subject)"),
                    .init("\(row.title): \(row.counter)", .faint), .init("\(row.used)/\(row.max)", tone),
                    .init("\(Int(fullness * 100))%", tone),
                    .init(row.resetMs < 0 ? "-" : "\(WaitTime(milliseconds: row.resetMs))"),
                ]
            }, absence: Self.absence)
    }

    /// One part below the other.
    private func below(_ rows: Int) -> [ScreenLine] { stack([grants, limits, rules], model.columns, rows) }

    /// Limits to the right of the others.
    private func beside(_ rows: Int) -> [ScreenLine] {
        let left = (model.columns - 3) / 2
        let lines = stack([grants, rules], left, rows)
        let others = stack([limits], model.columns - 3 - left, rows)
        return (0..<max(lines.count, others.count)).map { row in
            var line = row < lines.count ? lines[row] : ScreenLine()
            line.fill(to: left)
            line.add(" │ ", .faint)
            if row < others.count { line.add(others[row]) }
            return line
        }
    }

    /// - Parameter rows: how many lines there are for all tables.
    private func stack(_ tables: [TopTable], _ columns: Int, _ rows: Int) -> [ScreenLine] {
        let hasGaps = model.rows >= Self.roomyRows
        // A heading without a row says nothing: a small screen has fewer parts.
        let shown = tables.prefix(max(0, rows / (hasGaps ? 3 : 2)))
        let room = rows - (hasGaps ? max(0, shown.count - 1) : 0)
        let shares = Self.shares(of: room, among: shown.map { 1 + max(1, $0.rows.count) })
        var lines: [ScreenLine] = []
        for (table, share) in zip(shown, shares) {
            if hasGaps && !lines.isEmpty { lines.append(ScreenLine()) }
            lines += table.lines(columns: columns, rows: share)
        }
        return lines
    }

    /// How many rows each gets that wants so many: what one does not need the others share.
    static func shares(of rows: Int, among wanted: [Int]) -> [Int] {
        var shares = wanted.map { _ in 0 }
        var left = max(0, rows)
        while left > 0,
            let index = shares.indices.filter({ shares[$0] < wanted[$0] }).min(by: { shares[$0] < shares[$1] })
        {
            shares[index] += 1
            left -= 1
        }
        return shares
    }

    /// A rate: with a tenth below ten.
    static func rate(_ rate: Double) -> String {
        guard rate < 10 else { return "\(Int(rate.rounded()))" }
        let tenths = Int((rate * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    }
}

extension TopModel {
    /// The screen, for a terminal.
    func frame(_ style: Style, time: String) -> [String] {
        TopLayout(model: self, time: time).lines().map { $0.render(style) }
    }

    /// The same for programs: everything that is known, in its order.
    var json: JSONText {
        let (data, status) = (shown, shown.status)
        return [
            "version": .string(status?.text("sluice_version") ?? "-"),
            "uptime_ms": .known(status?.integer("uptime_ms") ?? -1),
            "calls_per_s": Self.tenths(data.rates.calls), "denied_per_s": Self.tenths(data.rates.denied),
            "waiting": .known(status?.integer("waiting") ?? -1),
            "sources": .object(data.rates.sources.map { ($0.name, Self.tenths($0.rate)) }),
            "redis": [
                "state": .string(status?.text("redis_state") ?? "-"), "shared": .boolean(status?.isShared ?? false),
                "shared_ms": .known(status?.integer("redis_shared_ms") ?? -1),
                "unavailable_ms": .known(status?.unavailableMs ?? -1),
                "batches_per_s": Self.tenths(data.rates.batches),
                "checks_in_batch": data.rates.checksInBatch.map { Self.tenths($0) } ?? .null,
                "last_error": .text(status?.redisError),
            ],
            "sampled": .boolean(data.isSampled),
            "grants": .array(
                grants.map {
                    [
                        "grant": .string($0.name), "calls_per_s": Self.tenths($0.rate),
                        "denied_per_s": Self.tenths($0.deniedRate),
                        "last_rule": $0.note.isEmpty ? .null : .string($0.note),
                    ]
                }),
            "denials": .array(
                rules.map {
                    [
                        "rule": .string($0.name), "denied_per_s": Self.tenths($0.rate),
                        "grants": .integer($0.others.count), "last_grant": .string($0.note),
                    ]
                }),
            "limits": .array(limits.map { CountersReport.json($0) }),
            "troubles": .object(data.troubles.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }),
        ]
    }

    private static func tenths(_ rate: Double) -> JSONText { .tenths(Int64((rate * 10).rounded())) }
}
