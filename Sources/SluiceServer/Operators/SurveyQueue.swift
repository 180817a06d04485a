import DequeModule

/// Operators' questions for counters, which are read one piece at a time, in turn: however many ask at once, a check waits
/// for one piece at most, here and in the store. A value-type state machine.
struct SurveyQueue {
    private var waiting: Deque<SurveyPiece> = []
    private var isReading = false

    mutating func append(_ read: @escaping () -> Void) { waiting.append(SurveyPiece(read)) }

    /// The piece to begin; nil if one is being read, or none waits. Then `end` has to follow.
    mutating func next() -> SurveyPiece? {
        guard !isReading, let piece = waiting.popFirst() else { return nil }
        isReading = true
        return piece
    }

    mutating func end() { isReading = false }
}

/// A part of an operator's question, for one turn of the loop.
final class SurveyPiece: TurnTaker {
    private let read: () -> Void

    init(_ read: @escaping () -> Void) { self.read = read }

    func goOn() { read() }
}
