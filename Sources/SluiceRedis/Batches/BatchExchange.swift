internal import NIOCore
internal import SluiceEngine

/// The batches of one link: encodes them, and reads their answers. Where they are sent is up to the link.
struct BatchExchange {
    /// What becomes of a reply.
    enum Step {
        /// It is the batch's answer: see `takeAnswered`.
        case answered
        /// The batch did not run and must be sent there again: the next reply to it is its answer.
        case sendAgain
        /// No reply on this connection can be trusted: it must be closed at once.
        case fail(String)
        /// The batch's answer. A new connection may succeed: this one must be closed after it.
        case leave(String)
    }

    private var encoder: BatchEncoder?
    private var pipeline = BatchPipeline()
    private var decoder = BatchReplyDecoder()
    /// See `RedisServer.refusesRecords`.
    private var refusesRecords = false

    var isOpen: Bool { encoder != nil }
    var isFull: Bool { pipeline.isFull }

    /// The slots of all batches that are not delivered, in the order of sending.
    var inOrder: [Int] { pipeline.inOrder }

    /// From now on batches go to this server; those in flight stay.
    mutating func use(_ server: RedisServer, markerKey: [UInt8]) {
        encoder = BatchEncoder(scriptHashes: server.scriptHashes, markerKey: markerKey)
        refusesRecords = server.refusesRecords
    }

    /// Drops everything that is in flight.
    mutating func close() {
        encoder = nil
        pipeline.removeAll()
    }

    /// Adds a batch; must be open and not full.
    /// - Returns: its slot.
    mutating func add(_ batch: borrowing Batch) -> Int { pipeline.append(batch, encoder: &encoder!) }

    /// What to send for the batch in a slot.
    func call(_ slot: Int) -> ByteBuffer { pipeline.call(slot) }

    /// A reply to the batch in this slot.
    mutating func receive(_ reply: FlatReply, for slot: Int, bySentinels: Bool = false) -> Step {
        if let error = reply.error { return receive(error, for: slot, bySentinels: bySentinels) }
        do throws(BatchReplyError) {
            let sent = pipeline.slot(slot)
            let answer = try decoder.decode(
                reply, of: sent.script, sequence: sent.sequence, expecting: sent.entries)
            pipeline.setResult(.success(answer), of: slot)
            // A right that went after the handshake: the next one finds out what is still possible.
            if !refusesRecords, let error = answer.words.lazy.map(RedisError.init).first(where: \.isForbidden) {
                return .leave("Redis refuses what it allowed before: \(error.reason)")
            }
            return .answered
        } catch {
            return .fail("Redis' answer made no sense: \(error.reason)")
        }
    }

    private mutating func receive(_ error: RedisError, for slot: Int, bySentinels: Bool) -> Step {
        // The server has lost its scripts (restart, SCRIPT FLUSH): the batch brings its script along. The engine need
        // not know.
        if error.isNoScript, pipeline.bringScript(slot) { return .sendAgain }
        // The next handshake finds another way to run scripts, or says that there is none.
        if error.isForbidden, pipeline.slot(slot).hasScript { return .fail(error.reason) }
        pipeline.setResult(.failure(error.failure), of: slot)
        return error.wantsAnotherConnection(bySentinels: bySentinels) ? .leave(error.reason) : .answered
    }

    /// The batch in this slot gets no other answer than this failure.
    mutating func finish(_ slot: Int, _ failure: BatchFailure) { pipeline.setResult(.failure(failure), of: slot) }

    /// The oldest batch, if its answer has arrived; it is then no longer in flight.
    mutating func takeAnswered() -> (sequence: Int64, result: Result<BatchReply, BatchFailure>)? {
        pipeline.takeAnswered()
    }
}
