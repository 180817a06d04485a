import NIOCore
import SluiceProtocol

/// A connection that listens to decisions.
final class DecisionListener {
    let filter: TailFilter
    private(set) var tail = DecisionTail()
    private let eventLoop: any EventLoop
    /// Called when there is something to take: once for all lines of a turn.
    private let whenReady: () -> Void
    private var isDue = false
    private var isReportDue = false
    private var hasEnded = false

    init(_ request: TailRequest, eventLoop: any EventLoop, whenReady: @escaping () -> Void) {
        filter = TailFilter(request)
        self.eventLoop = eventLoop
        self.whenReady = whenReady
    }

    func append(_ line: [UInt8], nowNs: Int64) {
        tail.append(line, nowNs: nowNs)
        callSoon(nowNs: nowNs)
    }

    func leaveOut(nowNs: Int64) {
        tail.leaveOut()
        callSoon(nowNs: nowNs)
    }

    func take(nowNs: Int64, isLast: Bool) -> [UInt8] { tail.take(nowNs: nowNs, isLast: isLast) }

    func end() { hasEnded = true }

    private func callSoon(nowNs: Int64) {
        if !tail.waiting.isEmpty, !isDue {
            isDue = true
            eventLoop.assumeIsolated().execute { [self] in
                isDue = false
                if !hasEnded { whenReady() }
            }
        }
        if let reportNs = tail.reportNs, !isReportDue {
            isReportDue = true
            eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(max(0, reportNs - nowNs))) { [self] in
                isReportDue = false
                if !hasEnded { whenReady() }
            }
        }
    }
}

/// The connections that listen, each with a bit of a set.
struct DecisionListeners {
    /// Those that may want one decision.
    typealias Members = UInt8

    private var places = [DecisionListener?](repeating: nil, count: ServerBounds.maxTails)

    var isEmpty: Bool { places.allSatisfy { $0 == nil } }
    var count: Int { places.count { $0 != nil } }

    /// - Returns: whether there was room.
    mutating func add(_ listener: DecisionListener) -> Bool {
        guard let free = places.firstIndex(where: { $0 == nil }) else { return false }
        places[free] = listener
        return true
    }

    /// - Returns: its bit.
    mutating func remove(_ listener: DecisionListener) -> Members {
        listener.end()
        guard let index = places.firstIndex(where: { $0 === listener }) else { return 0 }
        places[index] = nil
        return 1 << Members(index)
    }

    /// Those whose names match.
    func matching(_ check: CheckRequest, in input: Span<UInt8>) -> Members {
        var members: Members = 0
        for index in places.indices where places[index]?.filter.matches(check, in: input) ?? false {
            members |= 1 << Members(index)
        }
        return members
    }

    /// Whether one of them has room for a line.
    func haveRoom(_ members: Members, nowNs: Int64) -> Bool {
        members != 0 && all(members).contains { $0.tail.hasRoom(nowNs: nowNs) }
    }

    /// Those of `members` that want a decision of that kind.
    func wanting(_ members: Members, isDenial: Bool) -> [DecisionListener] {
        members == 0 ? [] : all(members).filter { isDenial || !$0.filter.deniedOnly }
    }

    private func all(_ members: Members) -> [DecisionListener] {
        places.indices.compactMap { members & 1 << Members($0) == 0 ? nil : places[$0] }
    }
}

extension LimiterHost {
    /// From now on decisions that match go to a listener; nil if there are too many already.
    ///
    /// - Parameter whenReady: called when there is something to take; not from inside this call.
    func listen(_ request: TailRequest, whenReady: @escaping () -> Void) -> DecisionListener? {
        let log = decisionLog ?? DecisionLog()
        let listener = DecisionListener(request, eventLoop: eventLoop, whenReady: whenReady)
        guard log.add(listener) else { return nil }
        decisionLog = log
        return listener
    }

    func stopListening(_ listener: DecisionListener) {
        decisionLog?.remove(listener)
        if decisionLog?.isNeeded == false { decisionLog = nil }
    }
}
