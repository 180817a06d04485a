import Glibc
import Logging
import NIOCore
import NIOPosix
import SluiceDecisionLog

/// Appends lines to a file on a thread of its own, because a disk may be slow. It never waits: lines for which there is no
/// room are dropped and counted, and the next line that is written says how many.
///
/// Confined to the host's loop, except for the file, which belongs to the thread.
final class LineWriter {
    private var file: LineFile
    /// Replaces names in lines, on the thread; nil: they are written as they are.
    private let identities: DecisionLogIdentities?
    private let threads = NIOThreadPool(numberOfThreads: 1)
    private let eventLoop: any EventLoop
    private let logger: Logger
    /// Whole lines that wait to be written.
    private var waiting: [UInt8] = []
    private var waitingCount: Int64 = 0
    /// Lines among them that report dropped ones: which each is, counted from 1, and how many it reports.
    private var reports: [(line: Int, count: Int64)] = []
    private var isWriting = false
    private var isDue = false
    private var wantsReopen = false
    private var whenClosed: (() -> Void)?
    private var isFailing = false
    /// Whether the file ends within a line.
    private var isCut = false
    private(set) var droppedCount: Int64 = 0
    /// Of those dropped, how many no line of the file reports yet.
    private var unreported: Int64 = 0

    init(_ file: LineFile, identities: DecisionLogIdentities? = nil, eventLoop: any EventLoop, logger: Logger) {
        self.file = file
        self.identities = identities
        self.eventLoop = eventLoop
        self.logger = logger
        threads.start()
        // A file that may not grow any more (SIGXFSZ) is an ordinary failure and must not end the process.
        signal(SIGXFSZ, SIG_IGN)
    }

    deinit { threads.shutdownGracefully { _ in } }

    /// - Parameter line: with its line feed.
    func append(_ line: [UInt8]) {
        guard waiting.count + line.count <= ServerBounds.maxUnwrittenDecisionBytes else { return drop(1) }
        reportDropped()
        waiting += line
        waitingCount += 1
        guard !isDue, !isWriting else { return }
        isDue = true
        // What comes in the same turn is written together.
        eventLoop.assumeIsolated().execute { [self] in
            isDue = false
            write()
        }
    }

    /// Counts lines that are not written.
    func drop(_ count: Int64) {
        droppedCount += count
        unreported += count
    }

    private func reportDropped() {
        guard unreported > 0 else { return }
        waiting += "{\"dropped\":\(unreported)}\n".utf8
        reports.append((Int(waitingCount) + reports.count + 1, unreported))
        unreported = 0
    }

    private func write() {
        guard !isWriting else { return }
        if wantsReopen { return reopenNow() }
        guard !waiting.isEmpty else {
            whenClosed?()
            whenClosed = nil
            return
        }
        isWriting = true
        var bytes: [UInt8] = isCut ? [UInt8(ascii: "\n")] : []
        let head = bytes.count
        bytes += waiting
        let (count, reports) = (waitingCount, reports)
        self.reports = []
        waiting.removeAll(keepingCapacity: true)
        waitingCount = 0
        threads.runIfActive(eventLoop: eventLoop) { [file, identities, bytes] in
            let lines = identities?.replaced(in: bytes) ?? bytes
            return (lines, file.append(lines[...]))
        }
        .assumeIsolated().whenComplete { [self] result in
            isWriting = false
            let (lines, done) = (try? result.get()) ?? (bytes, (0, "it is closed"))
            wrote(done, of: lines, head: head, count, reports)
            write()
        }
    }

    private func wrote(
        _ done: (count: Int, reason: String?), of bytes: [UInt8], head: Int, _ count: Int64,
        _ reports: [(line: Int, count: Int64)]
    ) {
        guard let reason = done.reason else {
            if isFailing { logger.info("the decision log is written again", metadata: metadata) }
            (isFailing, isCut) = (false, false)
            return
        }
        let written = bytes.prefix(done.count)
        let lines = written.dropFirst(head).reduce(0) { $1 == UInt8(ascii: "\n") ? $0 + 1 : $0 }
        let lost = reports.filter { $0.line > lines }
        unreported += lost.reduce(0) { $0 + $1.count }
        drop(max(0, count - Int64(lines - (reports.count - lost.count))))
        if done.count > 0 { isCut = written.last != UInt8(ascii: "\n") }
        guard !isFailing else { return }
        isFailing = true
        logger.error(
            "the decision log cannot be written, decisions are missing in it",
            metadata: metadata.merging(["reason": "\(reason)"]) { $1 })
    }

    private var metadata: Logger.Metadata { ["file": "\(file.path ?? LineFile.standardError)"] }

    /// Later lines go to a new file of the same name, if the old one was moved away.
    func reopen() {
        wantsReopen = true
        write()
    }

    private func reopenNow() {
        wantsReopen = false
        guard let path = file.path else { return write() }
        isWriting = true
        // The lines before go to the old file: those that wait were appended after the signal, or a moment earlier.
        threads.runIfActive(eventLoop: eventLoop) { try LineFile(path) }
            .assumeIsolated().whenComplete { [self] result in
                isWriting = false
                switch result {
                case .success(let new):
                    file.close()
                    file = new
                    isCut = false
                    logger.info("the decision log was opened again", metadata: metadata)
                case .failure(let error):
                    logger.error(
                        "the decision log cannot be opened again, the old file stays", metadata: ["fault": "\(error)"])
                }
                write()
            }
    }

    /// Writes what waits, and calls back on the loop.
    func close(_ completion: @escaping () -> Void) {
        whenClosed = completion
        reportDropped()
        write()
    }
}
