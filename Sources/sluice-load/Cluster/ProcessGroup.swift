import Glibc
import SluiceProcesses

/// The driver's child processes, in a group of their own: Ctrl-C at the terminal reaches only the driver, and when the
/// driver ends, in whatever way, so do they.
///
/// A shell leads the group and reads from a pipe that only the driver writes to: the pipe's end is the driver's end.
/// (Linux' parent death signal does not work here: it follows the thread that started the process.) The shell then
/// removes the folder and kills its own group.
struct ProcessGroup {
    private let leader: pid_t
    private let pipe: Int32

    /// - Parameter folder: removed at the end.
    init(folder: String) throws {
        var ends: [Int32] = [-1, -1]
        // No other child process may inherit it, which Swift's pipe() cannot guarantee.
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw LocalClusterFailure("socketpair: \(String(cString: strerror(errno)))")
        }
        defer { close(ends[0]) }
        pipe = ends[1]
        leader = try ChildProgram.spawn(
            ["/bin/sh", "-c", "cat >/dev/null; rm -rf -- \"$1\"; kill -9 0", "sluice-load-watch", folder],
            input: ends[0], group: 0)
    }

    /// Starts a program in the group.
    /// - Parameters:
    ///   - command: its path, or a name that is searched in `PATH`, and its arguments.
    ///   - log: the file that its output is appended to.
    func start(_ command: [String], log: String) throws -> pid_t {
        try ChildProgram.spawn(command, files: [nil, log, log], group: leader)
    }

    /// None of its processes runs any more: ends the shell.
    func end() {
        close(pipe)
        kill(leader, SIGKILL)
        waitpid(leader, nil, 0)
    }
}

/// Why the driver's own processes could not be used.
struct LocalClusterFailure: Error, Sendable, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
