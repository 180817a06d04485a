internal import NIOCore
internal import SluiceProtocol
internal import Synchronization

/// What tells one request from another until its reply has come. It also carries word of a cancellation that arrives before
/// the request does.
final class Ticket: Sendable {
    let isCancelled = Atomic(false)
}

/// The requests of a connection that have no reply yet, in the order in which they were sent. Replies come in that order, so
/// one that nobody waits for any more keeps its place.
struct ReplyQueue {
    typealias Continuation = CheckedContinuation<Result<RESPValue, SluiceError>, Never>

    struct Waiter {
        var ticket: Ticket
        /// `nil` once the caller has been told that it waits in vain.
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

    /// Takes the continuation of a request that is given up on; its place stays, so that its reply finds it.
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
