import Foundation
import Support
import Testing

@testable import SluiceServer

@Suite struct SocketFileTests {
    private let folder: TemporaryFolder
    private let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.path("s.sock")
    }

    /// Makes a socket that listens.
    private func make(_ path: String, mode: UInt32 = 0o660) throws -> (SocketFile, Int32) {
        try SocketFile.make(path: path, mode: mode, groupID: nil) { handle in
            guard listen(handle, 8) == 0 else { throw SupportError("listen") }
            return handle
        }
    }

    private func failure(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch { return "\(error)" }
    }

    @Test func theModeIsSetBeforeAnyoneCanConnect() throws {
        let (file, handle) = try SocketFile.make(path: path, mode: 0o640, groupID: nil) { handle in
            var status = stat()
            #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o640)
            #expect(throws: SupportError.self) { try RedisClient(path: path) }
            listen(handle, 8)
            return handle
        }
        _ = try RedisClient(path: path)
        file.remove()
        #expect(!FileManager.default.fileExists(atPath: path))
        close(handle)
    }

    @Test func aLiveSocketIsInUseAndAStaleOneIsReplaced() throws {
        let (_, first) = try make(path)
        #expect(
            failure { _ = try make(path) }
                == "\(path): another sluiced is listening there, stop it first or choose another --socket")
        let ofDoor = DoorSocketFailure(setting: "http-socket", failure: .notASocket(path))
        #expect(
            "\(ofDoor)" == "\(path): there is a file that is not a socket, remove it or choose another --http-socket")
        #expect(SocketFile.Failure.inUse(path).isInUse && !SocketFile.Failure.notASocket(path).isInUse)
        close(first)
        let (file, second) = try make(path)
        file.remove()
        close(second)
    }

    /// A socket with no room for one more connection is in use all the same.
    @Test func aBusySocketIsInUse() throws {
        let (_, handle) = try SocketFile.make(path: path, mode: 0o660, groupID: nil) { handle in
            listen(handle, 0)
            return handle
        }
        let waiting = try RedisClient(path: path)
        #expect(throws: SocketFile.Failure.inUse(path)) { try make(path) }
        withExtendedLifetime(waiting) {}
        close(handle)
    }

    @Test func nothingIsLeftBehindWhenItFails() throws {
        #expect(throws: SupportError.self) {
            try SocketFile.make(path: path, mode: 0o660, groupID: nil) { _ in throw SupportError("no") }
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func whatIsNoSocketIsLeftAlone() throws {
        let folder = try TemporaryFolder()
        let file = try folder.write("text", to: "file")
        try FileManager.default.createDirectory(atPath: folder.path("folder"), withIntermediateDirectories: false)
        try FileManager.default.createSymbolicLink(atPath: folder.path("link"), withDestinationPath: file)
        for name in ["file", "folder", "link"] {
            let path = folder.path(name)
            #expect(throws: SocketFile.Failure.notASocket(path)) { try make(path) }
            #expect(FileManager.default.fileExists(atPath: path))
        }
    }

    /// A later owner's socket is not removed, also where it has the number of the one before.
    @Test func onlyTheOwnFileIsRemoved() throws {
        let (first, one) = try make(path)
        unlink(path)
        let (second, other) = try make(path)
        first.remove()
        #expect(FileManager.default.fileExists(atPath: path))
        second.remove()
        #expect(!FileManager.default.fileExists(atPath: path))
        second.remove()
        for handle in [one, other] { close(handle) }
    }

    private static func word(_ standing: SocketFile.Standing) -> String {
        switch standing {
        case .inPlace: "in place"
        case .gone: "gone"
        case .replaced: "replaced"
        }
    }

    @Test func whatIsAtThePathIsReported() throws {
        let (file, handle) = try make(path)
        #expect(Self.word(file.standing()) == "in place")
        // Touched, it still leads to this process, and is known by its new time.
        try #require(
            utimensat(AT_FDCWD, path, [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)], 0) == 0)
        guard case .inPlace(let touched) = file.standing() else { throw SupportError("touched") }
        file.remove()
        #expect(FileManager.default.fileExists(atPath: path))
        touched.remove()
        #expect(Self.word(touched.standing()) == "gone")
        _ = try folder.write("text", to: "s.sock")
        #expect(Self.word(file.standing()) == "replaced")
        unlink(path)
        let (_, stale) = try make(path)
        close(stale)
        #expect(Self.word(file.standing()) == "replaced")
        close(handle)
        try FileManager.default.removeItem(atPath: folder.path)
        #expect(Self.word(file.standing()) == "gone")
    }

    @Test func aPathIsBounded() throws {
        let folder = try TemporaryFolder()
        let fits = folder.path(String(repeating: "x", count: 102 - folder.path.utf8.count))
        #expect(fits.utf8.count == 103)
        let (file, handle) = try make(fits)
        file.remove()
        close(handle)
        #expect(throws: SocketFile.Failure.pathTooLong(fits + "x")) { try make(fits + "x") }
    }

    /// It does not wait: to try again, and for how long, is the server's to say.
    @Test(.timeLimit(.minutes(1)))
    func aLockedFolderIsReportedAtOnce() throws {
        let lock = open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        #expect(flock(lock, LOCK_EX) == 0)
        let failure = #expect(throws: SocketFile.Failure.self) { try make(path) }
        #expect(failure == .folderLocked(path, folder: folder.path) && failure?.isLocked == true)
        close(lock)
        let (file, handle) = try make(path)
        file.remove()
        close(handle)
    }

    @Test(arguments: [(0o777, false), (0o733, false), (0o1777, true), (0o770, true), (0o755, true)])
    func aFolderThatEverybodyMayWriteIsNotTaken(mode: Int, isTaken: Bool) throws {
        chmod(folder.path, mode_t(mode))
        if isTaken {
            let (file, handle) = try make(path)
            file.remove()
            close(handle)
        } else {
            #expect(throws: SocketFile.Failure.folderWritable(path, folder: folder.path)) { try make(path) }
            #expect(!FileManager.default.fileExists(atPath: path))
        }
    }

    @Test(.enabled(if: getuid() == 0, "only root may give a folder away"))
    func anothersFolderIsNotTaken() throws {
        chown(folder.path, 65_534, 65_534)
        #expect(throws: SocketFile.Failure.folderForeign(path, folder: folder.path, owner: 65_534)) { try make(path) }
    }

    /// Not even for the moment between its making and the setting of its mode.
    @Test func theModeIsThereFromTheStart() throws {
        let before = umask(0)
        defer { umask(before) }
        let (file, handle) = try make(path, mode: 0o600)
        var status = stat()
        #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        file.remove()
        close(handle)
    }

    @Test func aMissingFolderIsNamed() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("none/s.sock")
        #expect(failure { _ = try make(path) } == "\(path): cannot open its folder: No such file or directory")
    }
}
