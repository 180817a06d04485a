import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceEngine

/// The content of the state folder, and the file that later writes go to.
package struct SavedState: Sendable {
    package var file: StateFile
    package var contents: StateFile.Contents

    /// - Parameter newReplica: the replica's number if the folder has none.
    package init(folder: String, newReplica: UInt64) throws(StateFile.Failure) {
        (file, contents) = try StateFile.open(folder: folder, newReplica: newReplica)
    }
}

/// A batch that may not leave before a write is on the disk.
struct HeldBatch {
    var partition: Int
    var batch: Batch
}

/// Writes records to the state's file, on a thread of its own because a disk may be slow. One write at a time; batches
/// that must not leave before their write completes are held here.
///
/// Confined to the limiter's event loop, except for the file, which belongs to the thread.
final class StateWriter {
    let folder: String
    /// How many writes have failed.
    private(set) var faults = 0
    private(set) var fileBytes: Int
    /// How many records are being written.
    private(set) var writingCount = 0
    /// Records that could not be written: retried before later changes. One record of each subject.
    private(set) var failed: [StateRecord] = []
    /// Whether a write is in progress.
    var isWriting: Bool { writingCount > 0 }
    /// Whether a write of the changes is already scheduled.
    var isDue = false
    /// Batches that may leave when the current write is on the disk.
    var held: [HeldBatch] = []
    /// Whether no batch may leave before the current write completes.
    private(set) var isUrgent = false
    /// Set for a while after a failure: nothing is written, and no batch waits for the disk.
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
        // A file that may not grow any more (SIGXFSZ) is an ordinary failure and must not end the process.
        signal(SIGXFSZ, SIG_IGN)
    }

    deinit { threads.shutdownGracefully { _ in } }

    /// Whether there is room for more than what is not yet written back.
    var hasRoom: Bool { fileBytes < ServerBounds.maxStateFileBytes / 2 }

    /// Whether a batch must wait until a write completes.
    func mustHold(urgent: Bool) -> Bool { !isResting && (!held.isEmpty || isUrgent || urgent) }

    /// Writes records, after those that could not be written before. There must be some, and no other write in
    /// progress.
    ///
    /// - Parameters:
    ///   - isUrgent: whether no batch may leave before it completes.
    ///   - nowMs: ms since the epoch: records that expired before it need not be kept.
    ///   - completion: gets whether it is on the disk; called later, on the event loop.
    func write(_ newRecords: [StateRecord], isUrgent: Bool, nowMs: Int64, completion: @escaping (Bool) -> Void) {
        let records = failed.isEmpty ? newRecords : StateFile.latest(failed + newRecords)
        precondition(!isWriting && !records.isEmpty)
        failed = []
        writingCount = records.count
        self.isUrgent = isUrgent
        let mustRepair = faults > 0 && isResting
        let done = threads.runIfActive(eventLoop: eventLoop) { [file] in
            // After a failure it is unknown what is on the disk; and dropping expired records may make room.
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

    /// A write takes too long: no batch waits for it any more.
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

    /// Releases the thread, and the file with its last reference.
    func close() -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        threads.shutdownGracefully { error in
            if let error { promise.fail(error) } else { promise.succeed() }
        }
        return promise.futureResult
    }
}
