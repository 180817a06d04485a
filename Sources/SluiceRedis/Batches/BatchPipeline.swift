internal import NIOCore
internal import SluiceEngine

/// The batches in flight on one connection. It returns their answers in the order of sending.
///
/// There are two orders. Answers arrive in the order of the wire. A batch that is sent again (after `NOSCRIPT`) goes to
/// the end of the wire and keeps its place among the batches; answers of later batches wait for it here.
struct BatchPipeline {
    struct Slot {
        var sequence: Int64 = 0
        var entries: [ExpectedEntry] = []
        var script = BatchScript.charge
        /// The call as it was sent: kept for sending again, and for its storage.
        var call = ByteBuffer()
        /// See `BatchEncoder.encode`.
        var sharedOffset = 0
        var arguments = 0
        /// Whether it was sent with the script itself.
        var hasScript = false
        /// Its answer, until all earlier batches have theirs.
        var result: Result<BatchReply, BatchFailure>?
    }

    /// Used in rotation to reuse their storage.
    private var slots = [Slot](repeating: Slot(), count: RedisBounds.maxBatchesInFlight)
    private var first = 0
    private var count = 0
    /// Slots in the order in which answers will arrive.
    private var outgoing = CircularBuffer<Int>(initialCapacity: RedisBounds.maxBatchesInFlight)

    var isFull: Bool { count == slots.count }

    /// Drops everything that is in flight.
    mutating func removeAll() {
        first = 0
        count = 0
        outgoing.removeAll(keepingCapacity: true)
    }

    /// Adds a batch; must not be full.
    /// - Returns: what to send.
    mutating func append(_ batch: borrowing Batch, encoder: inout BatchEncoder) -> ByteBuffer {
        precondition(!isFull)
        let index = (first + count) % slots.count
        count += 1
        outgoing.append(index)
        slots[index].sequence = batch.sequence
        slots[index].entries.removeAll(keepingCapacity: true)
        for entry in batch.entries { slots[index].entries.append(ExpectedEntry(entry, of: batch)) }
        slots[index].call.clear()
        slots[index].script = BatchScript(for: batch)
        slots[index].sharedOffset = encoder.encode(batch, for: slots[index].script, into: &slots[index].call)
        slots[index].arguments = batch.keyEnds.count + 5
        slots[index].result = nil
        slots[index].hasScript = !encoder.hasHash(of: slots[index].script)
        return slots[index].hasScript ? withScript(index) : slots[index].call
    }

    /// The batch's call with the script itself.
    private func withScript(_ index: Int) -> ByteBuffer {
        var call = ByteBuffer()
        BatchEncoder.writeWithScript(
            slots[index].call, shared: slots[index].sharedOffset, arguments: slots[index].arguments,
            script: slots[index].script.source, into: &call)
        return call
    }

    /// The slot that the next reply answers; nil if no reply is awaited.
    mutating func takeNextOnWire() -> Int? { outgoing.popFirst() }

    func slot(_ index: Int) -> Slot { slots[index] }

    /// Moves the batch to the end of the wire, so that the last awaited reply answers it.
    /// - Returns: what to send: the call with the script itself; nil if that was done before.
    mutating func sendAgain(_ index: Int) -> ByteBuffer? {
        guard !slots[index].hasScript else { return nil }
        slots[index].hasScript = true
        outgoing.append(index)
        return withScript(index)
    }

    mutating func setResult(_ result: Result<BatchReply, BatchFailure>, of index: Int) {
        slots[index].result = result
    }

    /// The oldest batch, if its answer has arrived; it is then no longer in flight.
    mutating func takeAnswered() -> (sequence: Int64, result: Result<BatchReply, BatchFailure>)? {
        guard count > 0, let result = slots[first].result else { return nil }
        let sequence = slots[first].sequence
        slots[first].result = nil
        first = (first + 1) % slots.count
        count -= 1
        return (sequence, result)
    }
}
