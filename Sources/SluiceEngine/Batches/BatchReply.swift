/// The store's answer to one `Batch`.
package struct BatchReply: Sendable, Equatable {
    package enum Status: Int64, Sendable {
        /// The entries were decided.
        case ran = 1
        /// The store does not have the acknowledged sequence. Nothing was charged.
        case forgot = 0
        /// A later batch of this replica ran before this one, or the one that it requires did not. Nothing was charged.
        case outOfOrder = -1
    }

    package var status: Status = .ran
    /// The store's own clock, ms since the epoch.
    package var timeMs: Int64 = 0
    /// The sequence that the store had recorded for this replica before this batch: of the last batch that may have
    /// charged; 0 if none. A batch that may charge, and whose answer never came, ran if and only if its sequence is
    /// not above this. If `outOfOrder`, it is the sequence of the last batch that ran at all, which does not prove
    /// that.
    package var previousSequence: Int64 = 0
    /// If the status is `forgot`, since when the store has reported that to this replica, ms since the epoch; else 0.
    package var forgotSinceMs: Int64 = 0
    /// For each entry in turn: how many of its checks were admitted (for a peek: 1 if it would be), then the usage of
    /// each of its charges after that, in `Batch.Charge.usageCount` numbers; or one of the codes below with the
    /// numbers it describes. For a settlement: 1 if it was done, 0 if there is no such reservation or it was settled
    /// before. For an answer to store: 1, or 0 if there was one. For an answer to delete: 1 if it was deleted. For a
    /// restore: 1, then the usage. For a clear: 1, then the usage before it. For a heartbeat: 1, the number of replicas
    /// listed, then for each its number (as a bit pattern), the time of its last heartbeat, and its last `writtenBackMs` (0: none), ms since the epoch; then
    /// how many other members their lists held. For overrides: 1 if the change was made, or if there was none, 0 if there
    /// was nothing to end, 2 if there are too many; then the version of the list, of which `words` has the text, empty if
    /// the replica knows that version. Empty unless `status` is `ran`.
    package var results: [Int64] = []
    /// The store's message for each `fault` and `passedOver`, and the reservation for each `replayed`, in order. If
    /// the store `forgot` because this replica's marker had an unexpected value: that value.
    package var words: [String] = []
    /// What the batch lowered, as `ChangeFeedEvent.changed` names it to the other replicas.
    package var lowered: [[UInt8]] = []

    /// In place of an entry's results: one of its windows does not contain the store's time. Nothing was charged.
    package static let windowIsOver: Int64 = -1
    /// In place of an entry's results: a counter could not be charged (a key of the wrong type, say). Whatever the
    /// entry had charged was taken back.
    package static let fault: Int64 = -2
    /// In place of an entry's results: this id was admitted before, and nothing was charged now. Then come the time of
    /// that admission, ms, negated if a replica admitted it alone; how many numbers follow; and those numbers: the
    /// usage as reported then, or none if its counters were others. In `words`: the id of its reservation, or nothing.
    package static let replayed: Int64 = -3
    /// In place of an entry's results: this id was admitted before, with other arguments. Nothing was charged.
    package static let otherArguments: Int64 = -4
    /// In place of a settlement's results: the settled cost exceeds what can be counted (2^53). Nothing was done.
    package static let tooMuch: Int64 = -5
    /// In place of a settlement's results: it was done, except for a counter with an unexpected value. In `words`:
    /// what is wrong with it.
    package static let passedOver: Int64 = -6

    package init() {}
}

extension BatchReply {
    /// What an entry asked for, as far as its results need it to be read.
    package enum Question: Sendable, Equatable {
        /// A check, a write-back or a restore, whose charges report this many numbers.
        case charge(usageCount: Int)
        /// A settlement, or an answer to store or delete.
        case settlement
        case heartbeat
        case overrides
    }

    /// The results of one entry. Slices share the memory of `results`.
    package enum Outcome: Sendable, Equatable {
        /// - Parameter admitted: how many of its checks; for a peek, 1 if it would be; for a restore, 1.
        case charged(admitted: Int64, usage: ArraySlice<Int64>)
        case windowIsOver
        case fault(String)
        case tooMuch
        case passedOver(String)
        case otherArguments
        /// - Parameters:
        ///   - atMs: when it was admitted, ms since the epoch.
        ///   - isLocal: whether a replica admitted it alone.
        ///   - usage: empty if its counters were others.
        ///   - reservation: empty if it has none.
        case replayed(atMs: Int64, isLocal: Bool, usage: ArraySlice<Int64>, reservation: String)
        /// - Parameters:
        ///   - replicas: for each its number, the time of its last heartbeat and its last `writtenBackMs`.
        ///   - unnamed: how many other members their lists held.
        case heartbeat(replicas: ArraySlice<Int64>, unnamed: Int64)
        /// Whether there was something to settle, store or delete.
        case settled(Bool)
        /// - Parameter list: empty if the version is the known one. See `Override.list`.
        case overrides(OverrideOutcome, version: Int64, list: String)
    }

    /// Reads the results of a reply that `ran`, entry by entry. The store's answers are validated before, where they
    /// are decoded; a reply that ends early is a fault of the program.
    package struct Cursor: Sendable {
        private let results: [Int64]
        private let words: [String]
        private var at = 0
        private var word = 0

        package init(_ reply: BatchReply) {
            results = reply.results
            words = reply.words
        }

        /// Whether all results are read.
        package var isAtEnd: Bool { at == results.count && word == words.count }

        /// Reads the next entry if its checks were decided; nil if its outcome is another one, which `next` reads. A
        /// shortcut for the path of most checks.
        @inline(__always)
        mutating func nextCharged(usageCount: Int) -> (admitted: Int64, usage: ArraySlice<Int64>)? {
            guard results[at] >= 0 else { return nil }
            let admitted = nextNumber()
            return (admitted, nextNumbers(usageCount))
        }

        /// - Parameter question: that of the next entry.
        package mutating func next(_ question: Question) -> Outcome {
            let outcome = nextNumber()
            switch outcome {
            case BatchReply.windowIsOver: return .windowIsOver
            case BatchReply.fault: return .fault(nextWord())
            case BatchReply.tooMuch: return .tooMuch
            case BatchReply.passedOver: return .passedOver(nextWord())
            case BatchReply.otherArguments: return .otherArguments
            case BatchReply.replayed:
                let atMs = nextNumber()
                let usage = nextNumbers(Int(nextNumber()))
                return .replayed(atMs: abs(atMs), isLocal: atMs < 0, usage: usage, reservation: nextWord())
            default: break
            }
            switch question {
            case .charge(let usageCount): return .charged(admitted: outcome, usage: nextNumbers(usageCount))
            case .settlement: return .settled(outcome == 1)
            case .heartbeat:
                let replicas = nextNumbers(3 * Int(nextNumber()))
                return .heartbeat(replicas: replicas, unnamed: nextNumber())
            case .overrides:
                let result: OverrideOutcome = outcome == 1 ? .done : outcome == 0 ? .notFound : .full
                return .overrides(result, version: nextNumber(), list: nextWord())
            }
        }

        @inline(__always)
        private mutating func nextNumber() -> Int64 {
            defer { at += 1 }
            return results[at]
        }

        @inline(__always)
        private mutating func nextNumbers(_ count: Int) -> ArraySlice<Int64> {
            defer { at += count }
            return results[at..<at + count]
        }

        private mutating func nextWord() -> String {
            defer { word += 1 }
            return words[word]
        }
    }
}

/// Why a batch has no `BatchReply`.
package enum BatchFailure: Error, Sendable, Equatable {
    /// The store rejected it before it ran (`LOADING`, `READONLY`, `OOM`, `NOAUTH` and the like): nothing was charged.
    case rejected(String)
    /// The connection broke, or the reply made no sense: the batch may have run, and may still run.
    case unknown(String)
}
