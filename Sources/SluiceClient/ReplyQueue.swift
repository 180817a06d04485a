internal import NIOCore
internal import Synchronization

/// Identifies a request until its reply arrives. It also carries a cancellation that arrives before the request does.
final class Ticket: Sendable {
    let isCancelled = Atomic(false)
}

/// The requests of a connection without a reply, in the order of sending. Replies arrive in that order, so an abandoned
/// request keeps its place.
struct ReplyQueue {
    typealias Continuation = CheckedContinuation<Result<Reply, SluiceError>, Never>

    struct Waiter {
        var ticket: Ticket
        /// `nil` after the caller was resumed with an error.
        var continuation: Continuation?
        var timeout: Scheduled<Void>
    }

    private var waiters = CircularBuffer<Waiter>()

    var count: Int { waiters.count }

    mutating func append(_ waiter: Waiter) {
        waiters.append(waiter)
    }

    /// The request that the next reply answers; `nil` if none was sent.
    mutating func popFirst() -> Waiter? {
        waiters.popFirst()
    }

    /// Takes the continuation of an abandoned request; its place stays, so that its reply is matched.
    mutating func abandon(_ ticket: Ticket) -> Waiter? {
        guard let index = waiters.firstIndex(where: { $0.ticket === ticket }) else { return nil }
        let waiter = waiters[index]
        waiters[index].continuation = nil
        return waiter
    }

    /// Empties the queue.
    mutating func removeAll() -> [Waiter] {
        defer { waiters.removeAll() }
        return Array(waiters)
    }
}
