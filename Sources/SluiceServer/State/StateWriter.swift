import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceEngine

/// What a sidecar found in its state folder, and where it writes from then on.
package struct SavedState: Sendable {
    package var file: StateFile
    package var contents: StateFile.Contents

    /// - Parameter newReplica: the number of the replica if the folder names none.
    package init(folder: String, newReplica: UInt64) throws(StateFile.Failure) {
        (file, contents) = try StateFile.open(folder: folder, newReplica: newReplica)
    }
}

/// Writes records to the state's file, on a thread of its own: a disk may take its time. One write at a time; batches that
/// must not leave before theirs is done are held here.
///
/// Confined to the event loop of the limiter, but for the file, which is the thread's.
final class StateWriter {
    let folder: String
    /// How often something could not be written.
    private(set) var faults = 0
    private(set) var fileBytes: Int
    /// How many records are being written.
    private(set) var writingCount = 0
    /// What could not be written: it is tried again, ahead of what has changed since. One record of each subject.
    private(set) var failed: [StateRecord] = []
    /// Whether a write is under way.
    var isWriting: Bool { writingCount > 0 }
    /// Whether what has changed will be written by itself.
    var isDue = false
    /// Batches that may leave when what is being written is on the disk.
    var held: [Batch] = []
    /// Whether nothing may leave before the write that is under way is done.
    private(set) var isUrgent = false
    /// Set after a failure: until then nothing is written, and nothing waits for that.
    private(set) var isResting = false

    private let file: StateFile
    private let threads = NIOThreadPool(numberOfThreads: 1)
    private let eventLoop: any EventLoop
    private let logger: Logger

    init(_ file: StateFile, eventLoop: any EventLoop, logger: Logger) {
        self.file = file
        self.eventLoop = eventLoop
        self.logger = logger
        folder = file.folder
        fileBytes = file.size
        threads.start()
        // A file that may not grow any more is a failure like others, not the end.
        signal(SIGXFSZ, SIG_IGN)
    }

    deinit { threads.shutdownGracefully { _ in } }

    /// Whether there is room for more than what is to be settled.
    var hasRoom: Bool { fileBytes < ServerBounds.maxStateFileBytes / 2 }

    /// Whether a batch must wait until a write is done.
    func mustHold(urgent: Bool) -> Bool { !isResting && (!held.isEmpty || isUrgent || urgent) }

    /// Writes records, and before them those that could not be written; there must be some, and no other write under way.
    ///
    /// - Parameters:
    ///   - isUrgent: nothing may leave before it is done.
    ///   - nowMs: ms since the epoch: what is over by then need not be kept.
    ///   - completion: gets whether it is on the disk; called later, on the event loop.
    func write(_ newRecords: [StateRecord], isUrgent: Bool, nowMs: Int64, completion: @escaping (Bool) -> Void) {
        let records = failed.isEmpty ? newRecords : StateFile.latest(failed + newRecords)
        precondition(!isWriting && !records.isEmpty)
        failed = []
        writingCount = records.count
        self.isUrgent = isUrgent
        let mustRepair = faults > 0 && isResting
        let done = threads.runIfActive(eventLoop: eventLoop) { [file] in
            // After a failure nobody knows what is on the disk; and what is over may make room.
            if mustRepair { try? file.compact(nowMs: nowMs) }
            try file.append(records)
            if file.wantsCompaction { try? file.compact(nowMs: nowMs) }
            return file.size
        }
        done.assumeIsolated().whenComplete { [self] result in
            writingCount = 0
            self.isUrgent = false
            if case .failure = result { failed = records }
            finish(result, completion)
        }
    }

    private func finish(_ result: Result<Int, any Error>, _ completion: (Bool) -> Void) {
        switch result {
        case .success(let size):
            fileBytes = size
            if isResting {
                isResting = false
                logger.info("state is kept again", metadata: ["folder": "\(folder)"])
            }
            completion(true)
        case .failure(let error):
            fail(reason: "\(error)")
            completion(false)
        }
    }

    /// A write takes too long: nothing waits for it any more.
    func giveUp() { fail(reason: "the disk does not answer") }

    private func fail(reason: String) {
        faults += 1
        if !isResting {
            logger.error(
                "state is not kept: what is admitted without redis from now on is lost if sluiced ends",
                metadata: ["reason": "\(reason)"])
        }
        isResting = true
    }

    /// Lets go of the thread, and of the file with the last reference.
    func close() -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        threads.shutdownGracefully { error in
            if let error { promise.fail(error) } else { promise.succeed() }
        }
        return promise.futureResult
    }
}
