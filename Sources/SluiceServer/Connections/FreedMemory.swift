import Glibc

/// Decides when memory that was freed is given back to the system: the allocator keeps it otherwise. That takes some
/// milliseconds in which no check is answered, so it waits for a second with hardly any.
struct FreedMemory {
    /// The most that was held since memory was last given back, bytes.
    private var highestBytes = 0
    /// The checks at the last look.
    private var checks: Int64 = 0

    /// Called once a second.
    ///
    /// - Parameters:
    ///   - heldBytes: what tables and connections hold now.
    ///   - checks: how many were answered so far.
    mutating func isDue(heldBytes: Int, checks: Int64) -> Bool {
        let isQuiet = checks - self.checks <= ServerBounds.checksInQuietSecond
        self.checks = checks
        highestBytes = max(highestBytes, heldBytes)
        guard isQuiet, highestBytes - heldBytes >= ServerBounds.fewestFreedBytes else { return false }
        highestBytes = heldBytes
        return true
    }

    /// Gives free pages of the allocator back to the system, where its allocator is glibc's: Swift's `Glibc` lacks the
    /// declaration of `malloc_trim(3)`.
    static func giveBack() {
        typealias Trim = @convention(c) (Int) -> CInt
        guard let symbol = dlsym(nil, "malloc_trim") else { return }
        _ = unsafeBitCast(symbol, to: Trim.self)(0)
    }
}
