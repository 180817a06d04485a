package import Foundation

/// How programs of this project, and its tests, start other programs.
package enum ChildProgram {
    /// Why a program could not be started.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// Starts a program with no signal ignored or blocked, as this process may have them.
    /// - Parameters:
    ///   - command: its path, or a name that is searched in `PATH`, and its arguments.
    ///   - files: of standard input, output and error; nil for `/dev/null`. What is written is appended.
    ///   - input: a descriptor to read from instead.
    ///   - group: the process group that it joins, 0 for one of its own; nil for this process's.
    /// - Returns: its process id.
    package static func spawn(
        _ command: [String], environment: [String: String] = ProcessInfo.processInfo.environment,
        files: [String?] = [nil, nil, nil], input: Int32? = nil, group: pid_t? = nil
    ) throws(Failure) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (descriptor, path) in files.enumerated() {
            let flags = descriptor == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND
            posix_spawn_file_actions_addopen(&actions, Int32(descriptor), path ?? "/dev/null", flags, 0o600)
        }
        if let input { posix_spawn_file_actions_adddup2(&actions, input, 0) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var all = sigset_t()
        var none = sigset_t()
        sigfillset(&all)
        sigemptyset(&none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, group ?? 0)
        let flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (group == nil ? 0 : POSIX_SPAWN_SETPGROUP)
        posix_spawnattr_setflags(&attributes, Int16(flags))
        let arguments = command.map { strdup($0) } + [nil]
        let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawnp(&pid, command[0], &actions, &attributes, arguments, variables)
        guard result == 0 else {
            throw Failure(description: "cannot start \(command[0]): \(String(cString: strerror(result)))")
        }
        return pid
    }

    /// The path of a program that was built beside this one; nil if there is none.
    package static func builtBeside(_ name: String) -> String? {
        let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return [own, CommandLine.arguments.first].compactMap(\.self)
            .map { URL(fileURLWithPath: $0).deletingLastPathComponent().appendingPathComponent(name).path }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}
