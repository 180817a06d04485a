import Foundation
import Support
import Testing

@testable import SluiceEngine
@testable import SluiceServer

/// The file that outlives a sidecar: whatever becomes of its end, its beginning is read.
@Suite struct StateFileTests {
    private let folder: TemporaryFolder
    private let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.path("state/journal")
    }

    /// A flight is the smallest record.
    private func record(_ number: Int64) -> StateRecord {
        let item = FlightState.Item(
            baseKey: Array("baseKey\(number)".utf8), isRestore: false, amount: number, windowMs: 5)
        return .flight(FlightState(sequence: number, writeBacks: [item]))
    }

    private func open(_ replica: UInt64 = 1) throws -> (StateFile, StateFile.Contents) {
        try StateFile.open(folder: folder.path("state"), newReplica: replica)
    }

    /// Writes these, each by itself.
    /// - Returns: how large the file was before the first, and after each.
    @discardableResult
    private func write(_ numbers: ClosedRange<Int64>) throws -> [Int] {
        let (file, _) = try open()
        return try [file.size]
            + numbers.map {
                try file.append([record($0)])
                return file.size
            }
    }

    private func write(_ records: [StateRecord]) throws { try open().0.append(records) }

    private func bytes() throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }
    private func overwrite(_ bytes: Data) throws { try bytes.write(to: URL(fileURLWithPath: path)) }

    @Test func whatWasWrittenIsRead() throws {
        let sizes = try write(1...3)
        let (file, contents) = try open(2)
        #expect(contents == StateFile.Contents(replica: 1, records: (1...3).map { record($0) }))
        #expect(file.size == sizes[3])
        try file.append([record(4), record(5)])
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        let parent = try FileManager.default.attributesOfItem(atPath: folder.path("state"))
        #expect(parent[.posixPermissions] as? Int == 0o700)
    }

    /// A record with numbers that cannot be, and yet written as it should be, cuts nothing off: it is for the engine to pass over.
    @Test func aRecordThatCannotBeHurtsNoOther() throws {
        let window = CounterState.WindowState(sharedUsed: -1, sharedPrevious: .min, own: .max, ownPrevious: 0)
        let counter = StateRecord.counter(
            CounterState(
                baseKey: [58], startMs: .max, countsUntilMs: .min, isSeen: true, needsRestore: false,
                usage: .window(window)))
        let replica = StateRecord.replica(
            ReplicaState(
                keys: "sluice", lastSequence: .max, acknowledgedSequence: .min, highestStoreMs: .max,
                aheadMs: .max,
                others: []))
        let records = [record(1), counter, replica, record(.max), record(2)]
        try write(records)
        let (_, contents) = try open(2)
        #expect(contents.droppedBytes == 0 && contents.records == records)
        #expect(contents.records.map { $0.isPlausible } == [true, false, false, false, true])
    }

    /// Cut anywhere, it is read up to the last record that is whole, and goes on from there.
    @Test func aTornTailIsCutOff() throws {
        let sizes = try write(1...3)
        let whole = try bytes()
        for count in sizes[0]...sizes[3] {
            try overwrite(whole.prefix(count))
            let complete = sizes.lastIndex { $0 <= count } ?? 0
            do {
                let (file, contents) = try open(2)
                #expect(contents.replica == 1 && contents.droppedBytes == count - sizes[complete])
                #expect(contents.records == (1...3).prefix(complete).map { record($0) })
                try file.append([record(9)])
            }
            let (_, contents) = try open(2)
            #expect(contents.records.count == complete + 1 && contents.records.last == record(9))
            #expect(contents.droppedBytes == 0)
        }
    }

    /// What was written at once is read whole or not at all.
    @Test func whatIsWrittenAtOnceIsNotSplit() throws {
        let before = try write(1...1)[1]
        do {
            let (file, _) = try open()
            try file.append((2...4).map { record($0) })
        }
        let whole = try bytes()
        for count in before...whole.count {
            try overwrite(whole.prefix(count))
            let (_, contents) = try open(2)
            #expect(contents.records == (1...(count == whole.count ? 4 : 1)).map { record($0) })
        }
    }

    /// An earlier sluiced wrote it, each record by itself: it is read, and goes on as what it is now.
    @Test func anEarlierVersionIsRead() throws {
        try write(1...3)
        var earlier = [UInt8](try bytes())
        earlier[StateFile.magic.count] = 1
        let headEnd = StateFile.magic.count + 12
        let checksum = Checksum.crc32(earlier[..<headEnd])
        for index in 0..<4 { earlier[headEnd + index] = UInt8(truncatingIfNeeded: checksum >> UInt32(8 * index)) }
        try overwrite(Data(earlier + [1, 2, 3]))
        do {
            let (file, contents) = try open(2)
            #expect(contents.replica == 1 && contents.droppedBytes == 3)
            #expect(contents.records == (1...3).map { record($0) })
            try file.append([record(4), record(5)])
        }
        #expect(try bytes()[StateFile.magic.count] == 2)
        let (_, contents) = try open(2)
        #expect(contents.replica == 1 && contents.records == (1...5).map { record($0) })
    }

    /// A bit that is wrong anywhere: nothing behind it is believed, and nothing that was never written is read.
    @Test func aWrongBit() throws {
        let sizes = try write(1...3)
        let whole = try bytes()
        for index in whole.indices {
            var spoilt = whole
            spoilt[index] ^= 1 << UInt8(index % 8)
            try overwrite(spoilt)
            // Somebody else's, or a later version.
            if index < StateFile.magic.count + 4 {
                #expect(throws: StateFile.Failure.self) { _ = try open(2) }
                continue
            }
            let (_, contents) = try open(2)
            if index < sizes[0] {
                #expect(contents.isSetAside && contents.replica == 2 && contents.records.isEmpty)
                #expect(FileManager.default.fileExists(atPath: path + ".unreadable"))
            } else {
                let before = sizes.lastIndex { $0 <= index } ?? 0
                #expect(contents.records == (1...3).prefix(before).map { record($0) })
                #expect(contents.droppedBytes == whole.count - sizes[before])
            }
        }
    }

    @Test func aHeadThatWasNeverFinished() throws {
        try write(1...1)
        let whole = try bytes()
        for count in 0..<24 {
            try overwrite(whole.prefix(count))
            let (_, contents) = try open(2)
            #expect(contents.isSetAside && contents.replica == 2)
        }
    }

    @Test func whatIsNotOursIsLeftAlone() throws {
        try write(1...1)
        for text in ["x", "a file of somebody else's that is long enough"] {
            try overwrite(Data(text.utf8))
            #expect(throws: StateFile.Failure.notOurs(path: path)) { _ = try open() }
            #expect(try bytes() == Data(text.utf8))
        }
    }

    @Test func aNewerVersionIsRefused() throws {
        try write(1...1)
        var newer = try bytes()
        newer[StateFile.magic.count] = 3
        try overwrite(newer)
        #expect(throws: StateFile.Failure.isNewer(path: path, version: 3)) { _ = try open() }
        #expect(try bytes() == newer)
        #expect("\(StateFile.Failure.isNewer(path: "p", version: 3))".contains("version 3"))
    }

    @Test func onlyOneMayHaveIt() throws {
        do {
            let (file, contents) = try open()
            #expect(throws: StateFile.Failure.inUse(folder: folder.path("state"))) { _ = try open() }
            #expect(contents.records.isEmpty && file.size > 0)
        }
        _ = try open()
    }

    @Test func aFolderThatCannotBe() {
        #expect(throws: StateFile.Failure.system("cannot be made", path: "/proc/none", errno: ENOENT)) {
            _ = try StateFile.open(folder: "/proc/none", newReplica: 1)
        }
    }

    @Test func onlyWhatCountsIsWrittenAgain() throws {
        let (file, _) = try open()
        for round in Int64(1)...50 {
            for number in Int64(1)...20 {
                var changed = FlightState(sequence: number)
                if number <= 10 {
                    changed.writeBacks = [FlightState.Item(baseKey: [1], isRestore: false, amount: round, windowMs: 1)]
                }
                try file.append([.flight(changed)])
            }
        }
        let before = file.size
        try file.compact(nowMs: 0)
        #expect(file.size < before / 50)
        try file.append([record(99)])
        let again = folder.path("state")
        // The lock is this process's own: read a copy.
        let copy = try TemporaryFolder()
        try FileManager.default.copyItem(atPath: again, toPath: copy.path("state"))
        let (_, contents) = try StateFile.open(folder: copy.path("state"), newReplica: 2)
        #expect(contents.replica == 1 && contents.records.count == 11 && contents.records.last == record(99))
        #expect(
            contents.records.dropLast().allSatisfy {
                if case .flight(let state) = $0 { state.writeBacks.first?.amount == 50 } else { false }
            })
    }

    /// A bit of a compacted file is wrong: everything before it is read, and batches come before counters.
    @Test func mostOfASpoiltFileIsRead() throws {
        func counter(_ number: Int) -> StateRecord {
            let usage = CounterState.WindowState(
                sharedUsed: 1, sharedPrevious: 0, own: Int64(number), ownPrevious: 0)
            return .counter(
                CounterState(
                    baseKey: Array("baseKey\(number)".utf8), startMs: 0, countsUntilMs: .max, isSeen: true,
                    needsRestore: false,
                    usage: .window(usage)))
        }
        let counters = (1...2 * ServerBounds.countersPerFrame + 1).map(counter)
        do {
            let (file, _) = try open()
            try file.append(counters)
            try file.append([record(1)])
            try file.compact(nowMs: 0)
        }
        var spoilt = try bytes()
        spoilt[spoilt.count - 1] ^= 1
        try overwrite(spoilt)
        let (_, contents) = try open(2)
        #expect(contents.replica == 1 && contents.droppedBytes > 0)
        #expect(contents.records == [record(1)] + counters.dropLast())
    }

    /// A process ended during a compaction: the old file counts.
    @Test func aFileThatWasNotFinishedIsRemoved() throws {
        try write(1...2)
        try Data("half".utf8).write(to: URL(fileURLWithPath: path + ".new"))
        let (_, contents) = try open()
        #expect(contents.records.count == 2)
        #expect(!FileManager.default.fileExists(atPath: path + ".new"))
    }

    // MARK: - What others put there

    private func failure() -> String {
        do {
            _ = try open()
            return ""
        } catch { return "\(error)" }
    }

    /// A link in the place of the compacted file is not followed: its target stays unchanged.
    @Test func aLinkIsNotWrittenThrough() throws {
        let victim = try folder.write("precious", to: "victim")
        let (file, _) = try open()
        try file.append((1...3).map { record($0) })
        for _ in 1...2 {
            try FileManager.default.createSymbolicLink(atPath: path + ".new", withDestinationPath: victim)
            try file.compact(nowMs: 0)
            #expect(try String(contentsOfFile: victim, encoding: .utf8) == "precious")
            var status = stat()
            #expect(lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG)
        }
        try file.append([record(4)])
        #expect(try bytes().count == file.size)
    }

    /// A name that cannot be removed is not written to either: the file stays as it was.
    @Test func aFolderInTheWayIsAFailure() throws {
        let (file, _) = try open()
        try file.append([record(1)])
        let before = try bytes()
        try FileManager.default.createDirectory(atPath: path + ".new", withIntermediateDirectories: false)
        #expect(throws: StateFile.Failure.system("cannot be made", path: path + ".new", errno: EEXIST)) {
            try file.compact(nowMs: 0)
        }
        #expect(try bytes() == before)
        try file.append([record(2)])
    }

    @Test func theFileIsNoLink() throws {
        try write(1...2)
        let elsewhere = folder.path("elsewhere")
        try FileManager.default.moveItem(atPath: path, toPath: elsewhere)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: elsewhere)
        #expect(failure() == "--state-dir: \(path): is not a regular file: remove it, or choose another folder")
    }

    /// Neither a pipe, at which it would wait, nor a device.
    @Test(.timeLimit(.minutes(1)))
    func theFileIsARegularOne() throws {
        try write(1...1)
        try FileManager.default.removeItem(atPath: path)
        #expect(mkfifo(path, 0o600) == 0)
        #expect(failure() == "--state-dir: \(path): is not a regular file: remove it, or choose another folder")
    }

    @Test(arguments: [(0o666, false), (0o620, false), (0o644, true), (0o600, true)])
    func theFileIsNotForOthersToWrite(mode: Int, isTaken: Bool) throws {
        try write(1...2)
        chmod(path, mode_t(mode))
        #expect(
            failure()
                == (isTaken
                    ? ""
                    : "--state-dir: \(path): may be written by others: chmod go-w \(path), or choose another folder"))
    }

    @Test(.enabled(if: getuid() == 0, "only root may give a file away"))
    func theFileIsNotAnothers() throws {
        try write(1...2)
        chown(path, 65_534, 65_534)
        #expect(failure() == "--state-dir: \(path): belongs to user 65534: move it away, or choose another folder")
    }

    /// A file that nobody here wrote is not read into memory.
    @Test func aFileThatIsTooLargeIsNotRead() throws {
        try write(1...1)
        #expect(truncate(path, off_t(ServerBounds.maxStateFileBytes)) == 0)
        #expect(failure() == "")
        #expect(truncate(path, off_t(ServerBounds.maxStateFileBytes + 1)) == 0)
        #expect(failure().hasPrefix("--state-dir: \(path): is larger than the 67108864 bytes that are kept: move it"))
    }

    /// As zlib has it.
    @Test func checksums() {
        #expect(Checksum.crc32(Array("123456789".utf8)[...]) == 0xCBF4_3926)
        #expect(Checksum.crc32([]) == 0)
    }
}
