import NIOCore
import SluiceEngine
import SluiceRedis
import Testing

@Suite struct BatchEncoderTests {
    private func encode(_ batch: Batch) -> (text: [UInt8], shared: Int) {
        var hashes = BatchScriptHashes()
        hashes[.charge] = Array("5ca1e".utf8)
        hashes[.decide] = Array("d0d0".utf8)
        var encoder = BatchEncoder(scriptHashes: hashes, markerKey: Array("p:2:replica:7".utf8))
        var buffer = ByteBuffer()
        let shared = encoder.encode(batch, for: BatchScript(for: batch), into: &buffer)
        return (Array(buffer.readableBytesView), shared)
    }

    /// The header of a call is its last argument.
    private func header(_ batch: Batch, count: Int) -> [UInt8] { Array(encode(batch).text.dropLast(2).suffix(count)) }

    @Test func writesASmallBatchToTheByte() {
        var batch = Batch(sequence: 300, acknowledged: 299, minTimeMs: 0)
        batch.add(TestCharge(key: "k1", max: 10, window: 0..<60_000))
        batch.add(cost: 2, count: 3, TestCharge(key: "key2", max: 200, window: 0..<60_000, verifies: true))
        batch.add(TestCharge(key: "k3", max: 10, window: 0..<60_000))
        let header: [UInt8] = [
            0xa3, 0x33, 0x30, 0x30,  // sequence "300"
            0xa3, 0x32, 0x39, 0x39,  // the one before, "299"
            0xcd, 0x01, 0x2c,  // sequence 300
            0xcd, 0x01, 0x2b,  // acknowledged 299
            0x00,  // floor
            0xa7, 0x33, 0x36, 0x30, 0x30, 0x30, 0x30, 0x30,  // the marker's time to live, "3600000"
            0x00,  // which does not begin again
            0x00,  // the acknowledged data loss
            0x00,  // what must have run
            0x1b,  // the runs begin at 27
            0x01, 0x01, 0xa1, 0x31, 0x01, 0x00, 0xcd, 0xea, 0x60, 0x0a, 0x00,  // from 11 on, a shape
            0x02, 0x03, 0xa1, 0x36, 0x01, 0x00, 0xcd, 0xea, 0x60, 0xcc, 0xc8, 0x01,  // from 19 on, another
            0x0b, 0x01, 0x13, 0x01, 0x0b, 0x01,  // three runs of one each
        ]
        let expected =
            Array(
                ("*8\r\n$7\r\nEVALSHA\r\n$5\r\n5ca1e\r\n$1\r\n4\r\n$13\r\np:2:replica:7\r\n$2\r\nk1\r\n$4\r\nkey2\r\n"
                    + "$2\r\nk3\r\n$\(header.count)\r\n").utf8) + header + Array("\r\n".utf8)
        let (text, shared) = encode(batch)
        #expect(text == expected)
        #expect(Array(text[shared...].prefix(7)) == Array("$1\r\n4\r\n".utf8))
    }

    @Test func writesACallThatBringsTheScript() {
        var batch = Batch(sequence: 1)
        batch.add(TestCharge(key: "k", max: 1))
        let (text, shared) = encode(batch)
        var buffer = ByteBuffer()
        BatchEncoder.writeWithScript(
            ByteBuffer(bytes: text), shared: shared, arguments: 6, script: Array("return 1".utf8), into: &buffer)
        #expect(
            Array(buffer.readableBytesView)
                == Array("*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n".utf8) + Array(text[shared...]))
    }

    @Test func keysOfEveryLengthAreWrittenWhole() {
        for length in [0, 1, 9, 10, 99, 100, 999, 1_000, 12_345] {
            var batch = Batch(sequence: 1)
            let key = String(repeating: "k", count: length)
            batch.add(TestCharge(key: key, max: 1))
            let text = String(decoding: encode(batch).text, as: UTF8.self)
            #expect(text.contains("\r\n$\(length)\r\n\(key)\r\n$"))
        }
    }

    @Test func equalEntriesShareAShape() {
        var batch = Batch(sequence: 1)
        for i in 0..<200 {
            batch.add(TestCharge(key: "a\(i)", max: 5, window: 0..<1), TestCharge(key: "b\(i)", max: 6, window: 0..<2))
            batch.add(count: 2, TestCharge(key: "c\(i)", max: 5, window: 0..<1))
        }
        // Two shapes, from 11 and from 23 on, and from 31 on 400 runs of one entry.
        let tail: [UInt8] =
            [31, 1, 1, 0xa1, 0x31, 2, 0, 1, 5, 0, 0, 2, 6, 0, 1, 2, 0xa1, 0x32, 1, 0, 1, 5, 0]
            + (0..<200).flatMap { _ in [11, 1, 23, 1] as [UInt8] }
        #expect(header(batch, count: tail.count) == tail)
    }

    @Test func neighboursOfOneShapeAreARun() {
        var batch = Batch(sequence: 1)
        for i in 0..<300 { batch.add(count: i < 200 ? 1 : 2, TestCharge(key: "a\(i)", max: 5, window: 0..<1)) }
        let tail: [UInt8] = [11, 0xcc, 200, 19, 100]
        #expect(header(batch, count: tail.count) == tail)
    }

    @Test func moreShapesThanAreLookedThroughAreWrittenAgain() {
        var batch = Batch(sequence: 1)
        for i in 0..<Int64(100) { batch.add(TestCharge(key: "a", max: i % 50, window: i % 40..<1_000)) }
        // It still ends in one run for each entry, each naming a shape of its own.
        let tail = (0..<100).flatMap { number -> [UInt8] in
            let place = UInt16(11 + 8 * number)
            let bytes = [UInt8(place >> 8), UInt8(truncatingIfNeeded: place)]
            return (place < 128 ? [bytes[1]] : place < 256 ? [0xcc, bytes[1]] : [0xcd] + bytes) + [1]
        }
        #expect(header(batch, count: tail.count) == tail)
    }

    @Test func everySizeOfIntegerIsWritten() {
        let values: [(Int64, [UInt8])] = [
            (0, [0]), (127, [0x7f]), (128, [0xcc, 0x80]), (255, [0xcc, 0xff]), (256, [0xcd, 1, 0]),
            (65_535, [0xcd, 0xff, 0xff]), (65_536, [0xce, 0, 1, 0, 0]),
            (4_294_967_295, [0xce, 0xff, 0xff, 0xff, 0xff]),
            (4_294_967_296, [0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
            (1_000_000_000_000, [0xcf, 0, 0, 0, 0xe8, 0xd4, 0xa5, 0x10, 0]),
            (-1, [0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ]
        for (value, bytes) in values {
            var batch = Batch(sequence: 1)
            batch.add(TestCharge(key: "a", max: value, window: 0..<1))
            let tail = [19, 1, 1, 0xa1, 0x31, 1, 0, 1] + bytes + [0, 11, 1]
            #expect(header(batch, count: tail.count) == tail)
        }
    }

    @Test func writesEverySpecialToTheByte() {
        var batch = Batch(sequence: 1)
        let hash = "0123456789abcdef"
        let idempotency = Batch.Idempotency(argumentsHash: hash, countersHash: String(hash.reversed()))
        let fixed = TestCharge(key: "f", max: 10, window: 0..<100, verifies: true)
        batch.add([fixed], idempotency: (key: "m", idempotency: idempotency))
        batch.add(cost: 3, [.sliding("s", before: "s0", max: 9, window: 0..<100).shadow], reserve: "a")
        batch.add(count: 0, [.bucket("b", max: 7, burst: 8, lengthMs: 9)])
        batch.add([.slots("c", max: 5, holdMs: 6)], reserve: "b", idempotency: (key: "m2", idempotency: idempotency))
        batch.settle(.commit(cost: 4), "a")
        batch.settle(.cancel, "a")
        batch.settle(.release, "b")
        batch.settle(.commit(cost: 4), "b")
        batch.settle(.commit(cost: 5), "b")
        let endless: [UInt8] = [0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0]
        let hashes = [UInt8(0xb0)] + Array(hash.utf8) + [0xb0] + Array(hash.utf8.reversed())
        let tail: [UInt8] =
            [0x94, 0, 100, 0] + endless + [0x98]
            + [0x98, 1, 1, 2, 1, 10, 1, 100, 0]  // a fixed window, to be verified, with a memo
            + [0x98, 3, 1, 1, 1, 9, 6, 100, 0xcc, 200]  // a sliding window, a shadow, reserved
            + [0x98, 1, 0, 0, 2, 7, 8, 9, 8]  // a peek at a token bucket
            + [0x98, 1, 1, 3, 2, 5, 12] + endless + [6]  // a slot
            + [0x93, 4, 0, 4, 0x93, 0, 0, 5, 0x93, 0, 0, 6, 0x93, 5, 0, 4]
            + [0x99, 1, 2, 3, 4, 5, 6, 7, 5, 8, 0x94] + hashes + hashes
        #expect(header(batch, count: tail.count) == tail)
        let text = String(decoding: encode(batch).text, as: UTF8.self)
        let record = { "$44\r\n\(recordKey($0))\r\n" }
        let keys =
            "$1\r\nf\r\n$1\r\nm\r\n$1\r\ns\r\n$2\r\ns0\r\n$3\r\ns:!\r\n\(record("a"))$1\r\nb\r\n$1\r\nc\r\n"
            + "\(record("b"))$2\r\nm2\r\n" + ["a", "a", "b", "b", "b"].map(record).joined()
        #expect(
            text.hasPrefix(
                "*20\r\n$7\r\nEVALSHA\r\n$4\r\nd0d0\r\n$2\r\n16\r\n$13\r\np:2:replica:7\r\n\(keys)$"))
    }

    @Test func nothingIsLeftOverFromTheBatchBefore() {
        var encoder = BatchEncoder(scriptHashes: BatchScriptHashes(), markerKey: [])
        var first = Batch(sequence: 1)
        first.add(TestCharge(key: "a", max: 1), TestCharge(key: "b", max: 2, window: 5..<6))
        var second = Batch(sequence: 2)
        second.add(TestCharge(key: "c", max: 3, window: 7..<8))
        var reused = ByteBuffer()
        _ = encoder.encode(first, for: .charge, into: &reused)
        reused.clear()
        _ = encoder.encode(second, for: .charge, into: &reused)
        var fresh = BatchEncoder(scriptHashes: BatchScriptHashes(), markerKey: [])
        var expected = ByteBuffer()
        _ = fresh.encode(second, for: .charge, into: &expected)
        #expect(reused == expected)
    }
}

@Suite struct ReplyReaderTests {
    private func read(_ text: String, chunk: Int = .max, max: Int = 1_000) throws -> [RedisReply?] {
        var reader = ReplyReader(maxReplyBytes: max)
        var replies: [RedisReply?] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            try reader.feed(ByteBuffer(bytes: rest.prefix(chunk)))
            rest = rest.dropFirst(chunk)
            while let reply = try reader.next() { replies.append(reply.tree()) }
        }
        return replies
    }

    @Test(arguments: [1, 2, 3, 7, .max])
    func readsEveryKindHoweverItIsCutUp(chunk: Int) throws {
        let text =
            "+OK\r\n-ERR no\r\n:-12\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n"
            + "*3\r\n:9007199254740992\r\n*2\r\n$1\r\nx\r\n*0\r\n-ERR in\r\n:9223372036854775807\r\n"
        let expected: [RedisReply?] = [
            .status("OK"), .error(RedisError("ERR no")), .integer(-12), .string(Array("a\r\nbc".utf8)), .null, .null,
            .array([]), .string([]),
            .array([
                .integer(9_007_199_254_740_992), .array([.string(Array("x".utf8)), .array([])]),
                .error(RedisError("ERR in")),
            ]),
            .integer(.max),
        ]
        #expect(try read(text, chunk: chunk) == expected)
    }

    @Test(arguments: [
        "x", "HTTP/1.1 200 OK\r\n", ":abc\r\n", ":9223372036854775808\r\n", "$-2\r\n", "$x\r\n", "*-2\r\n",
        "*99999999999999\r\n",
    ])
    func refusesWhatIsNotRESP(_ text: String) {
        #expect(throws: ReplyProtocolError.self) { try read(text) }
        #expect(throws: ReplyProtocolError.self) { try read(text, chunk: 1) }
    }

    @Test func makesNoTreeOfAReplyThatIsTooDeep() throws {
        func nested(_ depth: Int) -> String { String(repeating: "*1\r\n", count: depth) + ":1\r\n" }
        #expect(try read(nested(6)).compactMap(\.self).count == 1)
        // hiredis 0.14 refuses it, 1.x reads it.
        let tooDeep = (try? read(nested(100))) ?? []
        #expect(tooDeep.compactMap(\.self).isEmpty)
    }

    @Test func refusesAReplyThatIsTooLong() throws {
        let string = "$950\r\n" + String(repeating: "a", count: 950) + "\r\n"
        let array = "*500\r\n" + String(repeating: ":1\r\n", count: 500)
        // Short ones do not add up.
        #expect(try read(string + string + string, chunk: 10).count == 3)
        #expect(throws: ReplyProtocolError.self) { try read(array, chunk: 10).count }
        #expect(throws: ReplyProtocolError.self) { try read("$1000000\r\n" + string + string, chunk: 10) }
        #expect(throws: ReplyProtocolError.self) {
            try read("+" + String(repeating: "a", count: 2_000), chunk: 10)
        }
    }
}

@Suite struct BatchReplyDecoderTests {
    private func decode(_ text: String, _ batch: Batch) throws -> BatchReply {
        var reader = ReplyReader()
        try reader.feed(ByteBuffer(string: text))
        let reply = try #require(try reader.next())
        var decoder = BatchReplyDecoder()
        return try decoder.decode(
            reply, of: BatchScript(for: batch), sequence: batch.sequence,
            expecting: batch.entries.map { ExpectedEntry($0, of: batch) })
    }

    private var batch: Batch {
        var batch = Batch(sequence: 1)
        batch.add(count: 2, TestCharge(key: "a", max: 1), TestCharge(key: "b", max: 1))
        batch.add(count: 0, TestCharge(key: "c", max: 1))
        return batch
    }

    /// Of an answer in the places of the keys.
    private let head = "*3\r\n:1\r\n:17\r\n:4\r\n"

    @Test func readsWhatTheScriptGives() throws {
        let reply = try decode("*4\r\n\(head):5\r\n:6\r\n:0\r\n", batch)
        #expect(reply.status == .ran && reply.timeMs == 17 && reply.previousSequence == 4)
        #expect(reply.results == [2, 5, 6, 1, 0] && reply.words.isEmpty)
        let partly = try decode("*4\r\n\(head)*2\r\n:1\r\n:5\r\n:6\r\n*2\r\n:0\r\n:7\r\n", batch)
        #expect(partly.results == [1, 5, 6, 0, 7] && partly.words.isEmpty)
        let undecided = try decode("*4\r\n\(head)$3\r\nERR\r\n$-1\r\n$-1\r\n", batch)
        #expect(undecided.results == [-2, -1] && undecided.words == ["ERR"])
        #expect(try decode("*3\r\n:0\r\n:17\r\n:0\r\n", batch).status == .forgot)
        #expect(try decode("*3\r\n:-1\r\n:17\r\n:9\r\n", batch).status == .outOfOrder)
    }

    @Test func aTimeAloneSaysThatTheBatchBeforeRanLast() throws {
        var next = batch
        next.sequence = 30
        let reply = try decode("*4\r\n:17\r\n:5\r\n:6\r\n:0\r\n", next)
        #expect(reply.status == .ran && reply.timeMs == 17 && reply.previousSequence == 29)
        #expect(reply.results == [2, 5, 6, 1, 0] && reply.words.isEmpty)
        let odd = ["*4\r\n:-2\r\n", "*4\r\n:9223372036854775807\r\n", "*5\r\n:17\r\n:4\r\n", "*3\r\n:17\r\n"]
        for head in odd {
            #expect(throws: BatchReplyError.self) { try decode(head + ":5\r\n:6\r\n:0\r\n", next) }
        }
        // Other batches have a head in any case.
        #expect(throws: BatchReplyError.self) { try decode("*4\r\n:17\r\n:5\r\n:6\r\n:0\r\n", operations) }
    }

    @Test func readsWhyAReservationWasNotSettled() throws {
        var batch = Batch(sequence: 1)
        batch.settle(.commit(cost: 5), "a")
        batch.settle(.cancel, "b")
        let reply = try decode("*6\r\n:1\r\n:17\r\n:4\r\n:-5\r\n:-6\r\n$3\r\nERR\r\n", batch)
        #expect(reply.results == [BatchReply.tooMuch, BatchReply.passedOver] && reply.words == ["ERR"])
        #expect(throws: BatchReplyError.self) { try decode("*5\r\n:1\r\n:17\r\n:4\r\n:-5\r\n:-6\r\n", batch) }
        #expect(throws: BatchReplyError.self) { try decode("*6\r\n:1\r\n:17\r\n:4\r\n:-5\r\n:-6\r\n:1\r\n", batch) }
        #expect(throws: BatchReplyError.self) { try decode("*5\r\n:1\r\n:17\r\n:4\r\n:-5\r\n:0\r\n", operations) }
    }

    private var operations: Batch {
        var batch = Batch(sequence: 1)
        let idempotency = Batch.Idempotency(argumentsHash: "", countersHash: "")
        batch.add(
            [.sliding("s", before: "s0", max: 1), .slots("c", max: 1, holdMs: 1).shadow],
            idempotency: (key: "m", idempotency: idempotency))
        batch.settle(.cancel, "a")
        return batch
    }

    @Test func readsWhatIsOutOfTheOrdinary() throws {
        let id = String(repeating: "0af9", count: 8)
        let start = ":1\r\n:17\r\n:4\r\n"
        let usages = ":1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n"
        let charged = try decode("*11\r\n\(start):1\r\n\(usages):1\r\n", operations)
        #expect(charged.results == [1, 1, 2, 3, 4, 5, 6, 1])
        let replayed = try decode("*14\r\n\(start):-3\r\n:16\r\n$32\r\n\(id)\r\n:6\r\n\(usages):0\r\n", operations)
        #expect(replayed.results == [-3, 16, 6, 1, 2, 3, 4, 5, 6, 0] && replayed.words == [id])
        let changed = try decode("*8\r\n\(start):-3\r\n:16\r\n$0\r\n\r\n:0\r\n$3\r\nERR\r\n", operations)
        #expect(changed.results == [-3, 16, 0, -2] && changed.words == ["", "ERR"])
        let other = try decode("*5\r\n\(start):-4\r\n:0\r\n", operations)
        #expect(other.results == [-4, 0] && other.words.isEmpty)
    }

    /// In place of the first entry's results, or of the second's.
    @Test(arguments: [
        ("*5", ":-5\r\n:1\r\n"), ("*5", ":-4\r\n:2\r\n"), ("*5", ":-4\r\n:-1\r\n"), ("*5", ":-4\r\n:-4\r\n"),
        ("*5", ":-3\r\n:1\r\n"), ("*7", ":-3\r\n:16\r\n$0\r\n\r\n:1\r\n"),
        ("*9", ":-3\r\n:16\r\n$0\r\n\r\n:1\r\n:1\r\n:1\r\n"), ("*8", ":-3\r\n:16\r\n$0\r\n\r\n:-1\r\n:1\r\n"),
        ("*8", ":-3\r\n:16\r\n$0\r\n\r\n:9223372036854775807\r\n:1\r\n"),
        ("*8", ":-3\r\n:16\r\n:0\r\n:0\r\n:1\r\n"), ("*8", ":-3\r\n$1\r\n1\r\n$0\r\n\r\n:0\r\n:1\r\n"),
        ("*8", ":-3\r\n:16\r\n$2\r\nab\r\n:0\r\n:1\r\n"),
        ("*8", ":-3\r\n:16\r\n$32\r\n0123456789abcdef0123456789abcdeF\r\n:0\r\n:1\r\n"),
        ("*8", ":-3\r\n:16\r\n$0\r\n\r\n$1\r\n0\r\n:1\r\n"),
    ])
    func refusesSpecialsThatDoNotFit(_ count: String, _ results: String) {
        #expect(throws: BatchReplyError.self) { try decode("\(count)\r\n:1\r\n:17\r\n:4\r\n\(results)", operations) }
    }

    @Test func keepsTalliesInRange() throws {
        let reply = try decode("*4\r\n\(head)*2\r\n:0\r\n:-5\r\n:9223372036854775807\r\n:0\r\n", batch)
        #expect(reply.results == [0, 0, 1 << 53, 1, 0])
    }

    @Test(arguments: [
        ":1\r\n", "$-1\r\n", "*0\r\n", "*2\r\n:1\r\n:17\r\n", "*3\r\n:1\r\n:17\r\n:4\r\n", "*3\r\n:2\r\n:17\r\n:4\r\n",
        "*3\r\n:0\r\n:0\r\n:4\r\n", "*3\r\n:0\r\n:17\r\n:-4\r\n", "*3\r\n:0\r\n:17\r\n$1\r\n1\r\n",
        "*4\r\n:0\r\n:17\r\n:4\r\n:1\r\n",
        // Of another length than there are keys, or with another head.
        "*3\r\n*3\r\n:1\r\n:17\r\n:4\r\n:5\r\n:6\r\n", "*5\r\n*3\r\n:1\r\n:17\r\n:4\r\n:5\r\n:6\r\n:0\r\n:0\r\n",
        "*4\r\n*3\r\n:0\r\n:17\r\n:4\r\n:5\r\n:6\r\n:0\r\n", "*1\r\n*3\r\n:0\r\n:17\r\n:4\r\n",
        "*4\r\n*2\r\n:1\r\n:17\r\n:5\r\n:6\r\n:0\r\n", "*4\r\n*3\r\n:1\r\n:17\r\n$1\r\n4\r\n:5\r\n:6\r\n:0\r\n",
        "*7\r\n:1\r\n:17\r\n:4\r\n:2\r\n:5\r\n:6\r\n:1\r\n", "*8\r\n:1\r\n:17\r\n:4\r\n:2\r\n:5\r\n:6\r\n:1\r\n:0\r\n",
        // An entry that admits too many, or says otherwise what it must not.
        "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n*2\r\n:2\r\n:5\r\n:6\r\n:0\r\n",
        "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n*2\r\n:-1\r\n:5\r\n:6\r\n:0\r\n",
        "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n:5\r\n:6\r\n*2\r\n:1\r\n:0\r\n",
        "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n*3\r\n:1\r\n:5\r\n:0\r\n:6\r\n:0\r\n",
        "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n*0\r\n:6\r\n:0\r\n", "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n:5\r\n$1\r\n6\r\n:0\r\n",
        "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n$-1\r\n:6\r\n:0\r\n", "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n:5\r\n$-1\r\n:0\r\n",
        "*4\r\n*3\r\n:1\r\n:17\r\n:4\r\n+OK\r\n$-1\r\n:0\r\n",
    ])
    func refusesWhatDoesNotFit(_ text: String) {
        #expect(throws: BatchReplyError.self) { try decode(text, batch) }
    }
}
