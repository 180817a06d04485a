import SluiceEngine

/// A way to the limiter beside the socket that gateways call. Its checks wait like theirs: the door gets the answers by
/// the numbers that it chose.
protocol Door: AnyObject {
    /// Its name in metrics.
    var name: String { get }
    /// How its checks were decided.
    var decisions: DoorDecisions { get }
    var connectionCount: Int { get }

    /// The limiter answered what waited under that number.
    func complete(_ number: UInt32, _ answer: Limiter.Completion.Answer)
}

/// How the checks of one door were decided, by verdict.
struct DoorDecisions {
    private var counts = [Int64](repeating: 0, count: Decision.Verdict.allCases.count)

    mutating func count(_ decision: Decision) { counts[Int(decision.verdict.rawValue)] += 1 }

    func count(_ verdict: Decision.Verdict) -> Int64 { counts[Int(verdict.rawValue)] }
}
