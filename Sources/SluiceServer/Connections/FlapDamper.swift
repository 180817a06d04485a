import SluiceEngine

/// Which changes of Redis are logged one by one: one that comes and goes would fill the log.
///
/// Pure: time is passed in, by the monotonic clock.
struct FlapDamper {
    enum Action: Equatable {
        case log
        /// It is counted, and a later line says so.
        case count
        /// Log that it flaps, and how many changes there were in the last minute.
        case logFlapping(changes: Int)
        /// Log that it is stable again, and how many changes there were in all.
        case logStable(changes: Int)
    }

    private enum State {
        /// Changes are logged one by one. `timesNs` are those of the last minute. Becomes `flapping` when there is one more in it
        /// than are logged.
        case calm(timesNs: [Int64])
        /// Changes are counted. Becomes `calm` when none came for a minute.
        case flapping(Flapping)
    }

    private struct Flapping {
        var lastNs: Int64
        /// When the last line was logged.
        var loggedNs: Int64
        /// Changes since then.
        var unlogged = 0
        var total: Int
        /// Why Redis was lost, as far as it was logged since it flaps.
        var reasons: [String] = []
    }

    private var state = State.calm(timesNs: [])

    var isFlapping: Bool {
        switch state {
        case .calm: false
        case .flapping: true
        }
    }

    /// When `tick` has something to do, ns; nil: never.
    var nextTickNs: Int64? {
        guard case .flapping(let flapping) = state else { return nil }
        let stableNs = flapping.lastNs + ServerBounds.flapWindowNs
        return flapping.unlogged == 0 ? stableNs : min(stableNs, flapping.loggedNs + ServerBounds.flapWindowNs)
    }

    /// Redis was reached or lost.
    mutating func change(nowNs: Int64) -> Action {
        switch state {
        case .calm(var timesNs):
            timesNs.removeAll { nowNs - $0 >= ServerBounds.flapWindowNs }
            timesNs.append(nowNs)
            guard timesNs.count > ServerBounds.loggedChangesPerWindow else {
                state = .calm(timesNs: timesNs)
                return .log
            }
            state = .flapping(Flapping(lastNs: nowNs, loggedNs: nowNs, total: timesNs.count))
            return .logFlapping(changes: timesNs.count)
        case .flapping(var flapping):
            flapping.lastNs = nowNs
            flapping.unlogged += 1
            flapping.total += 1
            state = .flapping(flapping)
            return logIfDue(nowNs: nowNs) ?? .count
        }
    }

    /// Whether to log a reason why Redis is unavailable: each once while it flaps, because a new one may need a person.
    mutating func logs(reason: String) -> Bool {
        guard case .flapping(var flapping) = state else { return true }
        guard !flapping.reasons.contains(reason), flapping.reasons.count < EngineBounds.maxReportedReasons else {
            return false
        }
        flapping.reasons.append(reason)
        state = .flapping(flapping)
        return true
    }

    /// Time has passed. - Returns: nil if there is nothing to log.
    mutating func tick(nowNs: Int64) -> Action? {
        guard case .flapping(let flapping) = state else { return nil }
        if nowNs - flapping.lastNs >= ServerBounds.flapWindowNs {
            state = .calm(timesNs: [])
            return .logStable(changes: flapping.total)
        }
        return logIfDue(nowNs: nowNs)
    }

    /// One line a minute.
    private mutating func logIfDue(nowNs: Int64) -> Action? {
        guard case .flapping(var flapping) = state, flapping.unlogged > 0,
            nowNs - flapping.loggedNs >= ServerBounds.flapWindowNs
        else { return nil }
        let changes = flapping.unlogged
        flapping.unlogged = 0
        flapping.loggedNs = nowNs
        state = .flapping(flapping)
        return .logFlapping(changes: changes)
    }
}
