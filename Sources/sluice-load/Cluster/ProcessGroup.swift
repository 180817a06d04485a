import Foundation
import Glibc

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
        leader = try Self.spawn(
            ["/bin/sh", "-c", "cat >/dev/null; rm -rf -- \"$1\"; kill -9 0", "sluice-load-watch", folder], group: 0,
            input: ends[0], log: "/dev/null")
    }

    /// Starts a program in the group.
    /// - Parameters:
    ///   - command: its path, or a name that is searched in `PATH`, and its arguments.
    ///   - log: the file that its output is appended to.
    func start(_ command: [String], log: String) throws -> pid_t {
        try Self.spawn(command, group: leader, input: nil, log: log)
    }

    /// None of its processes runs any more: ends the shell.
    func end() {
        close(pipe)
        kill(leader, SIGKILL)
        waitpid(leader, nil, 0)
    }

    private static func spawn(_ command: [String], group: pid_t, input: Int32?, log: String) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let input {
            posix_spawn_file_actions_adddup2(&actions, input, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The driver ignores and traps signals that its children must receive.
        var all = sigset_t()
        var none = sigset_t()
        sigfillset(&all)
        sigemptyset(&none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, group)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
        let arguments = command.map { strdup($0) } + [nil]
        let variables = ProcessInfo.processInfo.environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawnp(&pid, command[0], &actions, &attributes, arguments, variables)
        guard result == 0 else {
            throw LocalClusterFailure("cannot start \(command[0]): \(String(cString: strerror(result)))")
        }
        return pid
    }
}

/// Why the driver's own processes could not be used.
struct LocalClusterFailure: Error, Sendable, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
