/// How a limit counts: its algorithm and its window, each of which restricts the other, and the algorithm's parameters.
struct CountingMethod {
    let algorithm: Algorithm
    let window: Window
    var burst: Int64?
    var holdMs: Int64?
}

/// Reads algorithms.
extension PolicyReader {
    private static let algorithms = Algorithm.allCases.map { FeatureWord($0.name, $0, needs: $0.needs) }
    private static let burstRange: ClosedRange<Int64> = 1...PolicyBounds.maxLimit
    private static let holdRange: ClosedRange<Int64> = 1...PolicyBounds.maxHoldSeconds

    /// `algorithm`, `burst`, `hold`, `window` and `timezone`.
    /// - Parameter max: the limit's maximum and its node, as far as they could be read.
    mutating func method(of object: inout ObjectReader, max: Int64?, at maxNode: DocumentNode?) -> CountingMethod? {
        // nil after a fault: then keys that belong to one algorithm only are not reported.
        let kind = object.take("algorithm").map { algorithm($0) } ?? .fixedWindow
        let burst = burst(of: &object, kind: kind, max: max)
        let hold = hold(of: &object, kind: kind)
        if kind == .concurrency {
            refuseWindow(of: &object)
            return CountingMethod(algorithm: .concurrency, window: .endless, holdMs: hold * 1000)
        }
        let windowNode = object.peek("window")
        let window = window(of: &object, isRequired: kind != nil)
        guard let kind, let window else { return nil }
        if let max, let maxNode, kind == .slidingLog {
            checkLogLength(max, at: maxNode)
        } else if let max, let maxNode, kind != .fixedWindow {
            let largest = [(size: max, node: maxNode), burst].compactMap(\.self).max { $0.size < $1.size }
            if let largest { checkExactness(of: largest.size, window: window, at: largest.node) }
        }
        guard kind.allows(window) else {
            if let windowNode { refuseUnevenWindow(window, of: kind, at: windowNode) }
            return nil
        }
        guard kind == .tokenBucket else { return CountingMethod(algorithm: kind, window: window) }
        guard let capacity = burst?.size ?? max else { return nil }
        return CountingMethod(algorithm: kind, window: window, burst: capacity)
    }

    private mutating func algorithm(_ node: DocumentNode) -> Algorithm? {
        let features = features
        return choice(node, Self.algorithms, key: "algorithm", why: Self.countedAlgorithms(features))
    }

    private static func countedAlgorithms(_ features: PolicyFeatures) -> String {
        let known = known(algorithms, features)
        return known.count == 1 ? "only fixed windows are counted" : "a limit's algorithm is \(quoted(known))"
    }

    /// `burst`: the capacity of a token bucket.
    private mutating func burst(
        of object: inout ObjectReader, kind: Algorithm?, max: Int64?
    ) -> (size: Int64, node: DocumentNode)? {
        guard let node = taken("burst", from: &object, kind: kind, only: .tokenBucket),
            let size = document.wholeNumber(node, in: Self.burstRange)
        else { return nil }
        if max == 0, kind == .tokenBucket {
            // It could mean that nothing ever passes, or that many calls pass once.
            misplaced(node, key: "burst", beside: "with the \"max\" 0", expected: "no burst where 0 blocks every call")
        }
        return (size, node)
    }

    /// `hold`: the longest life of a slot, in seconds.
    private mutating func hold(of object: inout ObjectReader, kind: Algorithm?) -> Int64 {
        let byDefault = PolicyBounds.defaultHoldSeconds
        guard let node = taken("hold", from: &object, kind: kind, only: .concurrency) else { return byDefault }
        switch node.value.content {
        case .integer(let seconds) where Self.holdRange.contains(seconds): return seconds
        case .string(let text):
            if let seconds = Self.seconds(ofTime: text), Self.holdRange.contains(seconds) { return seconds }
        default: break
        }
        document.unexpected(
            node.value.summary, at: node,
            expected: DocumentReader.wholeNumber(in: Self.holdRange, unit: "seconds") + ", or such as \"90s\" or \"5m\""
        )
        return byDefault
    }

    /// The value of a key that belongs to one algorithm; `nil` if it is absent, or was rejected.
    private mutating func taken(
        _ key: String, from object: inout ObjectReader, kind: Algorithm?, only owner: Algorithm
    ) -> DocumentNode? {
        guard let node = object.take(key) else { return nil }
        if !features.isSuperset(of: owner.needs) {
            document.notSupportedYet(key, at: node, why: Self.countedAlgorithms(features), isAboutKey: true)
            return nil
        }
        guard let kind, kind != owner else { return node }
        misplaced(
            node, key: key, beside: "with the algorithm \(kind.name.quoted)",
            expected: "it only with \(owner.name.quoted)")
        return nil
    }

    /// Calls in progress count whenever they began.
    private mutating func refuseWindow(of object: inout ObjectReader) {
        let concurrency = Algorithm.concurrency.name
        for key in ["window", "timezone"] {
            guard let node = object.take(key) else { continue }
            misplaced(
                node, key: key, beside: "with the algorithm \(concurrency.quoted)",
                expected: "no \(key.quoted): calls at once are counted, however long they take")
        }
    }

    /// A bucket refills evenly, by the same amount in every millisecond; a log keeps each charge for the same time.
    private mutating func refuseUnevenWindow(_ window: Window, of kind: Algorithm, at node: DocumentNode) {
        document.unexpected(
            "the window \(window.name)", at: node,
            expected: "a window of one length with \(kind.name.quoted): no month, and no"
                + " day or week of a time zone")
    }

    /// Each unit may be a charge that is stored with its time.
    private mutating func checkLogLength(_ max: Int64, at node: DocumentNode) {
        guard max > PolicyBounds.maxLogLimit else { return }
        document.unexpected(
            String(max), at: node,
            expected: "at most \(PolicyBounds.maxLogLimit) with \(Algorithm.slidingLog.name.quoted),"
                + " which keeps every charge")
    }

    /// Both algorithms multiply calls by milliseconds, in numbers that are exact up to 2^53.
    private mutating func checkExactness(of number: Int64, window: Window, at node: DocumentNode) {
        let most = PolicyBounds.maxExact / window.longestLengthMs
        guard number > most else { return }
        document.unexpected(
            String(number), at: node,
            expected: "at most \(most) per \(window.words): calls times milliseconds must not exceed 2^53")
    }
}
