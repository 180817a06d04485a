import Foundation

/// Runs blocking work on threads of its own, so that it does not hold up those of Swift's tasks, and waits for all of it.
/// - Returns: what each made, in order of its index.
/// - Throws: the first error.
package func onThreads<Value: Sendable>(
    _ count: Int, _ work: @escaping @Sendable (Int) throws -> Value
) async throws -> [Value] {
    try await withThrowingTaskGroup(of: (Int, Value).self) { group in
        for index in 0..<count {
            group.addTask {
                (
                    index,
                    try await withCheckedThrowingContinuation { continuation in
                        let thread = Thread { continuation.resume(with: Result { try work(index) }) }
                        thread.stackSize = 1 << 20
                        thread.start()
                    }
                )
            }
        }
        var values: [Int: Value] = [:]
        for try await (index, value) in group { values[index] = value }
        return (0..<count).map { values[$0]! }
    }
}

/// A word that threads leave for each other: "stop now".
package final class StopSign: @unchecked Sendable {
    private let lock = NSLock()
    private var isUp = false

    package init() {}

    package var isRaised: Bool { lock.withLock { isUp } }

    package func raise() { lock.withLock { isUp = true } }
}
