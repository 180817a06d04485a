internal import CHiredis
package import NIOCore

/// The input is not RESP, or longer than expected. Nothing after it can be read.
package struct ReplyProtocolError: Error, Sendable, Equatable {
    /// One sentence, fit for a log: it holds at most one byte of the input.
    package var reason: String
}

/// Reads replies with hiredis: takes the socket's bytes and returns one `FlatReply` after the other.
///
/// The only place with unsafe pointers: hiredis' reader calls back for each item, and the callbacks append to a store
/// that this value owns. Must not be used after it has thrown.
package struct ReplyReader: ~Copyable {
    private let reader: UnsafeMutablePointer<redisReader>
    private let functions: UnsafeMutablePointer<redisReplyObjectFunctions>
    private let store: UnsafeMutablePointer<FlatReply>
    private let maxReplyBytes: Int
    /// Bytes taken since a reply was last complete, and those left over then.
    private var unfinishedBytes = 0

    package init(maxReplyBytes: Int = RedisBounds.maxReplyBytes) {
        self.maxReplyBytes = maxReplyBytes
        store = .allocate(capacity: 1)
        store.initialize(to: FlatReply())
        functions = .allocate(capacity: 1)
        functions.initialize(to: Self.callbacks())
        guard let reader = redisReaderCreateWithFunctions(functions) else { fatalError("out of memory") }
        reader.pointee.privdata = UnsafeMutableRawPointer(store)
        reader.pointee.maxbuf = RedisBounds.maxIdleReaderBytes
        self.reader = reader
    }

    deinit {
        redisReaderFree(reader)
        functions.deinitialize(count: 1)
        functions.deallocate()
        store.deinitialize(count: 1)
        store.deallocate()
    }

    /// Takes the readable bytes; `next` then returns the replies that they complete.
    package mutating func feed(_ buffer: ByteBuffer) throws(ReplyProtocolError) {
        unfinishedBytes += buffer.readableBytes
        let result = buffer.withUnsafeReadableBytes { bytes in
            redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        guard result == REDIS_OK else { throw error() }
    }

    /// The next complete reply, or nil until more bytes arrive.
    package mutating func next() throws(ReplyProtocolError) -> FlatReply? {
        // Items of an incomplete reply stay in the store until the rest arrives.
        if isBetweenReplies { store.pointee.removeAll() }
        var object: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &object) == REDIS_OK else { throw error() }
        guard object != nil else {
            guard unfinishedBytes <= maxReplyBytes else {
                throw ReplyProtocolError(reason: "a reply is longer than \(maxReplyBytes) bytes")
            }
            return nil
        }
        unfinishedBytes = reader.pointee.len - reader.pointee.pos
        return store.pointee
    }

    /// Whether hiredis has no item of a reply open.
    private var isBetweenReplies: Bool { reader.pointee.ridx == -1 }

    private func error() -> ReplyProtocolError {
        let reason = withUnsafeBytes(of: &reader.pointee.errstr) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return ReplyProtocolError(reason: reason)
    }

    /// The table is zeroed first and filled by name: hiredis 1.x has members that 0.14 lacks and other parameter types.
    /// Members that stay empty are for RESP3, which Sluice never requests.
    private static func callbacks() -> redisReplyObjectFunctions {
        var functions = redisReplyObjectFunctions()
        functions.createString = { task, bytes, length in
            guard let task, let bytes else { return nil }
            let kind: FlatReply.Kind =
                switch task.pointee.type {
                case REDIS_REPLY_ERROR: .error
                case REDIS_REPLY_STATUS: .status
                default: .string
                }
            ReplyReader.store(of: task).pointee
                .append(kind, text: UnsafeRawBufferPointer(start: bytes, count: length))
            return ReplyReader.created
        }
        functions.createArray = { task, count in
            guard let task else { return nil }
            ReplyReader.store(of: task).pointee.append(.array, value: Int64(count))
            return ReplyReader.created
        }
        functions.createInteger = { task, value in
            guard let task else { return nil }
            ReplyReader.store(of: task).pointee.append(.integer, value: value)
            return ReplyReader.created
        }
        functions.createNil = { task in
            guard let task else { return nil }
            ReplyReader.store(of: task).pointee.append(.null)
            return ReplyReader.created
        }
        return functions
    }

    /// The object that callbacks return to hiredis: hiredis only checks that it is not NULL.
    private static var created: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 1) }

    private static func store(of task: UnsafePointer<redisReadTask>) -> UnsafeMutablePointer<FlatReply> {
        task.pointee.privdata.assumingMemoryBound(to: FlatReply.self)
    }
}
