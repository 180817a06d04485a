import Foundation
import NIOConcurrencyHelpers
import NIOCore

/// An event loop whose tasks run when a test says so, and which the threads of a `NIOThreadPool` may hand theirs: an
/// `EmbeddedEventLoop` would run these on such a thread, beside the test.
final class PolledLoop: EventLoop {
    private let tasks = NIOLockedValueBox<[@Sendable () -> Void]>([])

    /// Any thread but a pool's: a test may go on on another one whenever it waits.
    var inEventLoop: Bool {
        let name = try? String(contentsOfFile: "/proc/thread-self/comm", encoding: .utf8)
        return name?.hasPrefix("TP-") != true
    }

    func execute(_ task: @escaping @Sendable () -> Void) { tasks.withLockedValue { $0.append(task) } }

    /// Runs what was handed over, and what that hands over.
    func run() {
        while true {
            let due = tasks.withLockedValue { tasks in
                defer { tasks = [] }
                return tasks
            }
            guard !due.isEmpty else { return }
            for task in due { task() }
        }
    }

    func scheduleTask<T>(deadline: NIODeadline, _ task: @escaping @Sendable () throws -> T) -> Scheduled<T> {
        preconditionFailure("it has no clock")
    }

    func scheduleTask<T>(in: TimeAmount, _ task: @escaping @Sendable () throws -> T) -> Scheduled<T> {
        preconditionFailure("it has no clock")
    }

    func shutdownGracefully(queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void) {
        queue.async { callback(nil) }
    }
}
