import Foundation
import Support

/// A folder with a policy, and the arguments that start a sidecar there.
struct Place {
    let folder: TemporaryFolder
    let policy: String
    let socketPath: String
    var arguments: [String] { ["--socket", socketPath, "--policy", policy] }

    init(policy text: String = Policies.seed) throws {
        folder = try TemporaryFolder()
        policy = try folder.write(text, to: "policy.json")
        socketPath = folder.path("s.sock")
    }

    func makeFIFO(_ name: String) throws -> String {
        guard mkfifo(folder.path(name), 0o600) == 0 else { throw SupportError("mkfifo") }
        return folder.path(name)
    }

    func makeFolder(_ name: String, mode: mode_t) throws -> String {
        // The mode of `mkdir` is cut by the umask.
        guard mkdir(folder.path(name), mode) == 0, chmod(folder.path(name), mode) == 0 else {
            throw SupportError("mkdir")
        }
        return folder.path(name)
    }
}
