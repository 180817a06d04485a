import NIOCore
import NIOPosix

/// Reads messages that would hold up the event loop, one after the other on a thread of its own. All but the reading is on
/// the loop.
final class LargeMessageReader {
    private let eventLoop: any EventLoop
    private let pool: NIOThreadPool?
    private var isStarted = false
    /// Bytes of the messages that wait or are read.
    private(set) var waitingBytes = 0

    /// - Parameter isAside: whether there is a thread; else messages are read at once, for a loop that stands still.
    init(eventLoop: any EventLoop, isAside: Bool) {
        self.eventLoop = eventLoop
        pool = isAside ? NIOThreadPool(numberOfThreads: 1) : nil
    }

    /// Calls `completion` on the loop once `work` is done.
    /// - Returns: false if too many bytes wait; nothing is done then.
    func read<Value: Sendable>(
        byteCount: Int, _ work: @escaping @Sendable () throws -> Value,
        completion: @escaping (Result<Value, any Error>) -> Void
    ) -> Bool {
        guard waitingBytes + byteCount <= ServerBounds.maxLargeMessageBytes else { return false }
        guard let pool else {
            completion(Result { try work() })
            return true
        }
        if !isStarted {
            isStarted = true
            pool.start()
        }
        waitingBytes += byteCount
        pool.runIfActive(eventLoop: eventLoop, work).assumeIsolated().whenComplete { [self] result in
            waitingBytes -= byteCount
            completion(result)
        }
        return true
    }

    /// Messages that still wait fail.
    func stop() {
        if isStarted { pool?.shutdownGracefully { _ in } }
    }
}
