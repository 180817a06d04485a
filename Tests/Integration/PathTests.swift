import Foundation
import Support
import Testing

extension Integration {
    /// Files, folders and locks that others put in the way: none holds a sidecar up, and none is trusted unseen.
    @Suite struct Paths {
        /// Holds the lock of a folder until it goes, as anyone may who can read it.
        private final class FolderLock {
            private let handle: Int32

            init(_ path: String) throws {
                handle = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                guard handle >= 0, flock(handle, LOCK_EX) == 0 else { throw SupportError("flock") }
            }

            deinit { close(handle) }
        }

        // MARK: - What may block for ever

        @Test func aLockedSocketFolderEndsTheStart() async throws {
            let place = try Place()
            let lock = try FolderLock(place.folder.path)
            let errors = try await SidecarProcess.startErrors(place.arguments, status: 69)
            #expect(
                errors.last
                    == "\(place.socketPath): another process keeps its folder locked, end that (lsof \(place.folder.path)) "
                    + "or choose a folder that only sluiced's user may read")
            #expect(!FileManager.default.fileExists(atPath: place.socketPath))
            withExtendedLifetime(lock) {}
        }

        @Test func aLockThatIsLetGoIsWaitedFor() async throws {
            let place = try Place()
            var lock: FolderLock? = try FolderLock(place.folder.path)
            let process = try SidecarProcess.launch(place.arguments)
            try await waitUntil("it says what it waits for") { process.errors.contains("waits for the lock") }
            #expect(lock != nil)
            lock = nil
            try await SidecarProcess.waitUntilReady(process)
            #expect(try RedisClient(path: place.socketPath).command("PING") == .string("PONG"))
        }

        @Test(arguments: [SIGTERM, SIGINT, SIGQUIT])
        func aSignalEndsTheWaitForALock(signal: Int32) async throws {
            let place = try Place()
            let lock = try FolderLock(place.folder.path)
            let process = try SidecarProcess.launch(place.arguments)
            try await waitUntil("it waits for the lock") { process.errors.contains("waits for the lock") }
            process.signal(signal)
            #expect(try await process.wait() == .exited(status: 0))
            withExtendedLifetime(lock) {}
        }

        @Test func whatIsNoRegularFileIsNotRead() async throws {
            let place = try Place()
            let fifo = try place.makeFIFO("fifo")
            let policies = try place.makeFolder("policies", mode: 0o755)
            let document = try place.makeFIFO("policies/a.json")
            let socket = ["--socket", place.socketPath]
            for (arguments, path) in [
                (socket + ["--policy", fifo], fifo), (socket + ["--policy", "/dev/zero"], "/dev/zero"),
                (socket + ["--policies", policies], document), (place.arguments + ["--config", fifo], fifo),
                (place.arguments + ["--redis", "redis://127.0.0.1:1", "--redis-password-file", fifo], fifo),
            ] {
                let errors = try await SidecarProcess.startErrors(arguments)
                #expect(errors == ["\(path): is not a regular file"])
            }
        }

        @Test func aStateThatIsNoRegularFileIsNotRead() async throws {
            let place = try Place()
            let state = try place.makeFolder("state", mode: 0o700)
            let journal = try place.makeFIFO("state/journal")
            let errors = try await SidecarProcess.startErrors(
                place.arguments + ["--redis", "redis://127.0.0.1:1", "--state-dir", state])
            #expect(
                errors.last
                    == "--state-dir: \(journal): is not a regular file: remove it, or choose another folder")
        }

        /// Nor when it takes the place of a document that was read.
        @Test func aReloadIsNotHeldUp() async throws {
            let place = try Place()
            let process = try SidecarProcess.launch(place.arguments)
            try await SidecarProcess.waitUntilReady(process)
            try FileManager.default.removeItem(atPath: place.policy)
            _ = try place.makeFIFO("policy.json")
            process.signal(SIGHUP)
            try await waitUntil("it is refused") {
                process.errors.contains("policy rejected") && process.errors.contains("is not a regular file")
            }
            #expect(try await process.terminate() == .exited(status: 0))
        }

        // MARK: - Whom to trust

        @Test(arguments: [(0o777, false), (0o702, false), (0o1777, true), (0o755, true), (0o700, true)])
        func theSocketsFolderIsLookedAt(mode: Int, isTaken: Bool) async throws {
            let place = try Place()
            let folder = try place.makeFolder("run", mode: mode_t(mode))
            let path = "\(folder)/s.sock"
            let arguments = ["--socket", path, "--policy", place.policy]
            if isTaken {
                let process = try SidecarProcess.launch(arguments)
                try await SidecarProcess.waitUntilReady(process)
                #expect(try RedisClient(path: path).command("PING") == .string("PONG"))
            } else {
                let errors = try await SidecarProcess.startErrors(arguments)
                #expect(
                    errors.last
                        == "\(path): its folder \(folder) may be written by everybody, who could put another socket "
                        + "there: chmod o-w \(folder), or choose another folder")
                #expect(!FileManager.default.fileExists(atPath: path))
            }
        }

        @Test(.enabled(if: getuid() == 0, "only root may give a folder away"))
        func foldersOfOthersAreNotTaken() async throws {
            let place = try Place()
            let folder = try place.makeFolder("run", mode: 0o755)
            chown(folder, 65_534, 65_534)
            let socket = try await SidecarProcess.startErrors([
                "--socket", "\(folder)/s.sock", "--policy", place.policy,
            ])
            #expect(
                socket.last
                    == "\(folder)/s.sock: its folder \(folder) belongs to user 65534, who could put another socket there: "
                    + "chown \(getuid()) \(folder), or choose another folder")

            let state = try await SidecarProcess.startErrors(
                place.arguments + ["--redis", "redis://127.0.0.1:1", "--state-dir", folder])
            #expect(
                state.last
                    == "--state-dir: \(folder): belongs to user 65534: chown \(getuid()) \(folder), or choose another "
                    + "folder")
        }

        @Test(arguments: [(0o777, false), (0o1777, false), (0o770, false), (0o750, true)])
        func theStateFolderIsLookedAt(mode: Int, isTaken: Bool) async throws {
            let place = try Place()
            let state = try place.makeFolder("state", mode: mode_t(mode))
            let arguments = place.arguments + ["--redis", "redis://127.0.0.1:1", "--state-dir", state]
            if isTaken {
                let process = try SidecarProcess.launch(arguments)
                try await SidecarProcess.waitUntilReady(process)
            } else {
                let errors = try await SidecarProcess.startErrors(arguments)
                #expect(
                    errors.last
                        == "--state-dir: \(state): may be written by others: chmod go-w \(state), or choose another folder"
                )
            }
        }

        @Test func aStateFolderIsNotFollowedElsewhere() async throws {
            let place = try Place()
            let real = try place.makeFolder("real", mode: 0o700)
            let link = place.folder.path("state")
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: real)
            let errors = try await SidecarProcess.startErrors(
                place.arguments + ["--redis", "redis://127.0.0.1:1", "--state-dir", link])
            #expect(
                errors.last == "--state-dir: \(link): is a symbolic link, give the folder that it stands for")
            #expect(try FileManager.default.contentsOfDirectory(atPath: real).isEmpty)
        }
    }
}
