import SluiceClient
import SluiceProtocol

/// Whether a cell's checks were counted correctly, and their results other than decisions.
struct BenchCounts: Sendable, Equatable {
    /// The sums of one kind of counters in Redis.
    struct Stored: Sendable, Equatable {
        var sum: Int64 = 0
        var highest: Int64 = 0
    }

    /// Who charged counters.
    typealias Owner = BenchCell.Contender.Target

    struct Admitted: Sendable, Equatable {
        var allowed: Int64 = 0
        var denied: Int64 = 0
        /// Decisions of local counters.
        var local: Int64 = 0
    }

    /// Over all rounds, warm-ups included.
    var admitted: [Owner: Admitted] = [:]
    var failures: Int64 = 0
    var firstFault: String?
    /// The oracle's findings in the judged round; nil if no sidecar was checked.
    var oracle: OracleReport?
    /// The faults, a sentence each.
    private(set) var faults: [String] = []
    /// What could not be compared, and why.
    private(set) var gaps: [String] = []

    /// Whether everything was counted correctly and nothing failed.
    var isClean: Bool { faults.isEmpty && failures == 0 }

    mutating func add(_ statistics: borrowing LoadStatistics, owner: Owner) {
        failures += statistics.failureCount
        if firstFault == nil { firstFault = statistics.firstFault }
        guard Owner.charging.contains(owner) else { return }
        admitted[owner, default: Admitted()].allowed += statistics.decided.allowed
        admitted[owner, default: Admitted()].denied += statistics.decided.denied
        if owner == .sluice { admitted[owner]?.local += statistics[.local].allowed + statistics[.local].denied }
    }

    mutating func add(_ other: BenchCounts) {
        failures += other.failures
        if firstFault == nil { firstFault = other.firstFault }
        for (owner, more) in other.admitted {
            admitted[owner, default: Admitted()].allowed += more.allowed
            admitted[owner, default: Admitted()].denied += more.denied
            admitted[owner, default: Admitted()].local += more.local
        }
    }

    mutating func fail(_ sentence: String) { faults.append(sentence) }

    mutating func judge(_ report: OracleReport, describe: (OracleReport.Break) -> String) {
        oracle = report
        for found in report.breaks { fail(describe(found)) }
        if report.untracedAnswers > 0 { fail("\(report.untracedAnswers) answers had no trace") }
    }

    /// Compares the admissions with the counters in Redis.
    /// - Parameters:
    ///   - stored: nil if there is no Redis.
    ///   - complaints: the troubles that sidecars logged.
    ///   - hasTurned: whether a window ended meanwhile, so that counters of two windows may exist, or one may be gone.
    mutating func compare(
        _ owner: Owner, with stored: Stored?, setting: BenchCell.Setting, complaints: [String] = [], hasTurned: Bool
    ) {
        guard let admitted = admitted[owner] else { return }
        if !setting.isMostlyDenied, admitted.denied > 0 {
            fail("\(owner.rawValue): \(admitted.denied) checks were denied far below the maximum")
        }
        guard let stored else { return }
        guard !hasTurned else { return gaps.append("\(owner.rawValue): a day ended meanwhile") }
        guard admitted.local == 0 else {
            let reason = complaints.isEmpty ? "no sidecar said why" : complaints.joined(separator: "; ")
            return gaps.append("\(owner.rawValue): \(Format.count(admitted.local)) answers were local (\(reason))")
        }
        guard failures == 0 else { return gaps.append("\(owner.rawValue): not every answer came") }
        if stored.highest > setting.maximum {
            fail("\(owner.rawValue): a counter stands at \(stored.highest), its maximum is \(setting.maximum)")
        }
        // One script counts direct checks under the same number of limits.
        let charges = admitted.allowed * Int64(setting.limits)
        if stored.sum != charges {
            fail("\(owner.rawValue): Redis holds \(stored.sum) charges, \(charges) were admitted")
        }
    }
}

/// Sums up the counters in a Redis.
enum StoreTotal {
    /// The prefix of a cell's counters, as a pattern for Redis's `MATCH`.
    static func pattern(of owner: BenchCounts.Owner) -> String {
        owner == .direct ? "\(BaselineScript.keyPrefix)*" : "sluice:2:{*"
    }

    /// ARGV[1]: the cursor of SCAN. ARGV[2]: the keys' pattern. ARGV[3]: `1` in a cluster. Returns the next cursor, the sum of these keys'
    /// values, and the highest value. A bucket's value is what was charged to it, if it leaks one call a day and is no older than that.
    private static let script = """
        local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', 5000)
        local time, day = redis.call('TIME'), 86400000
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local sum, highest = 0, 0
        for first = 1, #found[2], 1000 do
            local last = math.min(first + 999, #found[2])
            local values = #found[2] > 0 and ARGV[3] == '0' and redis.call('MGET', unpack(found[2], first, last))
            for i = first, last do
                local value = values and values[i - first + 1]
                -- The keys of a cluster's node are in many slots; beside counters there are markers.
                if not values and not string.find(found[2][i], '}:replica', 1, true) then
                    value = redis.pcall('GET', found[2][i])
                end
                if type(value) ~= 'string' then
                    value = 0
                elseif string.find(found[2][i], ':bucket$') then
                    value = math.ceil((value - now) / day)
                else
                    local level = string.match(value, '^(%d+) %d+$')
                    value = level and math.ceil(level / day) or tonumber(value) or 0
                end
                sum = sum + value
                if value > highest then highest = value end
            end
        end
        return {found[1], string.format('%.0f', sum), string.format('%.0f', highest)}
        """

    /// As Redis reports it; nil if it does not.
    static func version(_ redisSocket: String) async -> String? {
        let script = "return redis.call('INFO', 'server'):match('redis_version:([^\\r\\n]+)')"
        return try? await SluiceConnection.ask(redisSocket, ["EVAL", script, "0"]).string
    }

    /// - Parameter sockets: the first is no node of a cluster, and the others are.
    /// - Throws: `SluiceError`, or `CancellationError`.
    static func read(_ owner: BenchCounts.Owner, from sockets: [String]) async throws -> BenchCounts.Stored {
        var total = BenchCounts.Stored()
        for (index, socket) in sockets.enumerated() {
            let stored = try await read(owner, from: socket, isNode: index > 0)
            total.sum += stored.sum
            total.highest = max(total.highest, stored.highest)
        }
        return total
    }

    private static func read(
        _ owner: BenchCounts.Owner, from redisSocket: String, isNode: Bool
    ) async throws -> BenchCounts.Stored {
        var stored = BenchCounts.Stored()
        var cursor = "0"
        repeat {
            try Task.checkCancellation()
            let page =
                try await SluiceConnection.ask(
                    redisSocket, ["EVAL", script, "0", cursor, pattern(of: owner), isNode ? "1" : "0"]
                ).array ?? []
            guard page.count == 3, let next = page[0].string, let sum = page[1].string.flatMap(Int64.init),
                let highest = page[2].string.flatMap(Int64.init)
            else { throw SluiceError.malformedReply("the sum of Redis's counters") }
            stored.sum += sum
            stored.highest = max(stored.highest, highest)
            cursor = next
        } while cursor != "0"
        return stored
    }
}
