import SluiceEngine

/// A connection of the host: whatever it speaks, it asks the limiter, waits for answers, and is bounded.
protocol HostedConnection: AnyObject {
    /// How many bytes the host has recorded for it.
    var heldBytes: Int { get }
    /// Takes the answer to a check or a settlement that waited, under the number that was given with it.
    func complete(_ number: UInt32, _ answer: Limiter.Completion.Answer)
    /// Sends what `complete` took. Called once for all of a turn.
    func flushCompleted()
    /// Ends what has taken too long.
    func sweep(now: ClockReading)
    /// Takes no more requests; what was read is answered, and then it closes.
    func drain()
    /// Closes at once, even if answers are missing.
    func cutOff()
    /// Checks whether written output has left.
    func verifyUnread()
}
