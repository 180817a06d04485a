import Foundation
import SluiceProcesses

/// A process that a test started: it collects what the process writes, signals it by its id alone, and sees to it that
/// it does not outlive the test, however that ends.
///
/// Safe to use from any thread. A process that still runs when the last reference goes is killed.
package final class ChildProcess: @unchecked Sendable {
    package enum Ending: Sendable, Equatable {
        case exited(status: Int32)
        case signalled(Int32)
    }

    package let name: String
    package let pid: Int32
    private let folder: TemporaryFolder
    private let watchdog: Watchdog
    private let lock = NSLock()
    private var ending: Ending?

    /// Starts a program.
    /// - Parameters:
    ///   - program: a path, or a name that is looked for in `PATH`.
    ///   - environment: put over this process' own.
    ///   - input: what it reads from its standard input, all at once.
    ///   - life: it is killed after this, so that a hanging test leaves nothing behind.
    package init(
        _ program: String, _ arguments: [String] = [], environment: [String: String] = [:], input: String = "",
        life: Duration = .seconds(300)
    ) throws {
        name = program.split(separator: "/").last.map(String.init) ?? program
        folder = try TemporaryFolder()
        try folder.write(input, to: "in")
        let files = ["in", "out", "err"].map(folder.path)
        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        pid = try Self.spawning.withLock {
            Self.keepDescriptors()
            return try ChildProgram.spawn([program] + arguments, environment: variables, files: files)
        }
        do {
            watchdog = try Watchdog(over: pid, life: life)
        } catch {
            kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
            throw error
        }
    }

    deinit {
        endAtOnce()
        watchdog.end()
    }

    /// What it has written to its standard output so far.
    package var output: String { read("out") }
    /// What it has written to its standard error so far.
    package var errors: String { read("err") }
    package var isRunning: Bool { !reap() }

    /// Sends a signal, unless it has ended: an id is never used after its process is gone.
    package func signal(_ signal: Int32) {
        lock.withLock {
            if !reapLocked() { kill(pid, signal) }
        }
    }

    /// Waits for its end.
    /// - Throws: with all that it wrote, if it goes on for longer.
    package func wait(timeout: Duration = .seconds(30)) async throws -> Ending {
        let deadline = ContinuousClock.now + timeout
        while !reap() {
            guard ContinuousClock.now < deadline else {
                throw SupportError("\(name) still runs after \(timeout)\n\(output)\(errors)")
            }
            try await Task.sleep(for: .milliseconds(2))
        }
        return lock.withLock { ending! }
    }

    /// Asks it to end (SIGTERM), and waits for that.
    @discardableResult
    package func terminate(timeout: Duration = .seconds(30)) async throws -> Ending {
        signal(SIGTERM)
        return try await wait(timeout: timeout)
    }

    /// Ends it at once (SIGKILL), and waits for that.
    package func end() async throws {
        signal(SIGKILL)
        _ = try await wait()
    }

    /// Kills it and waits for that on this thread: for when the last reference goes.
    func endAtOnce() {
        signal(SIGKILL)
        while !reap() { usleep(1_000) }
    }

    /// Whether it has ended; its id is free for others from then on.
    private func reap() -> Bool { lock.withLock { reapLocked() } }

    private func reapLocked() -> Bool {
        if ending != nil { return true }
        var status: Int32 = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return false }
        ending = status & 0x7f == 0 ? .exited(status: status >> 8 & 0xff) : .signalled(status & 0x7f)
        return true
    }

    private func read(_ name: String) -> String {
        let data = FileManager.default.contents(atPath: folder.path(name)) ?? Data()
        return String(decoding: data, as: UTF8.self)
    }

    /// Between a pipe's creation and its closing on exec no other process may be started, or it would hold the pipe
    /// open.
    fileprivate static let spawning = NSLock()

    /// Sees to it that no child gets this process' descriptors: NIO does not for connections that it accepts, and one
    /// that a child holds as well is never seen to close.
    fileprivate static func keepDescriptors() {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? [] {
            if let descriptor = Int32(name), descriptor > 2 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        }
    }

}

/// A shell that kills a process when this one ends, in whatever way, or when a time is over.
///
/// It reads from a pipe that only this process writes to: the end of the pipe is the end of this process. (The parent
/// death signal of Linux would not do: it follows the thread that started the child, and those come and go.)
private struct Watchdog {
    private let pid: pid_t
    private let pipe: Int32

    init(over child: pid_t, life: Duration) throws {
        (pid, pipe) = try ChildProcess.spawning.withLock {
            var ends: [Int32] = [-1, -1]
            guard Glibc.pipe(&ends) == 0 else { throw SupportError("pipe: \(String(cString: strerror(errno)))") }
            _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
            _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
            defer { close(ends[0]) }
            let script = "timeout \(life.components.seconds) cat >/dev/null; kill -9 \(child)"
            do {
                ChildProcess.keepDescriptors()
                return (try ChildProgram.spawn(["/bin/sh", "-c", script], input: ends[0]), ends[1])
            } catch {
                close(ends[1])
                throw error
            }
        }
    }

    /// The child is gone.
    func end() {
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        close(pipe)
    }
}
