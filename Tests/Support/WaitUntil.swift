import Foundation

/// Waits until something is so, looking every few milliseconds. For what other processes do; it gives up loudly.
/// - Parameters:
///   - what: completes "still not so after 30 seconds: ..." in the error.
///   - timeout: how long to look; generous, since only failures wait for all of it.
package func waitUntil(
    _ what: String, timeout: Duration = .seconds(30), _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + timeout
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw SupportError("still not so after \(timeout): \(what)") }
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// Runs an operation that must end in time: for waiting on events that may never come.
/// - Throws: what the operation throws, or that it took too long (it is cancelled then).
package func within<Value: Sendable>(
    _ timeout: Duration = .seconds(30), _ what: String, _ operation: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask { try await operation() }
        group.addTask {
            try await Task.sleep(for: timeout)
            return nil
        }
        defer { group.cancelAll() }
        guard let value = try await group.next(), let value else {
            throw SupportError("not done after \(timeout): \(what)")
        }
        return value
    }
}
