internal import NIOCore
internal import SluiceEngine

/// The batches in flight of one link. It returns their answers in the order of sending.
///
/// There are two orders. Answers arrive in the order of the wire, which the connection knows. A batch that is sent again
/// (after `NOSCRIPT`) goes to the end of the wire and keeps its place among the batches; answers of later batches wait
/// for it here.
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

    var isFull: Bool { count == slots.count }

    /// The slots in use, in the order of sending.
    var inOrder: [Int] { (0..<count).map { (first + $0) % slots.count } }

    /// Drops everything that is in flight.
    mutating func removeAll() {
        first = 0
        count = 0
    }

    /// Adds a batch; must not be full.
    /// - Returns: its slot; what to send is `call`.
    mutating func append(_ batch: borrowing Batch, encoder: inout BatchEncoder) -> Int {
        precondition(!isFull)
        let index = (first + count) % slots.count
        count += 1
        slots[index].sequence = batch.sequence
        slots[index].entries.removeAll(keepingCapacity: true)
        for entry in batch.entries { slots[index].entries.append(ExpectedEntry(entry, of: batch)) }
        slots[index].call.clear()
        slots[index].script = BatchScript(for: batch)
        slots[index].sharedOffset = encoder.encode(batch, for: slots[index].script, into: &slots[index].call)
        slots[index].arguments = batch.keyEnds.count + 5
        slots[index].result = nil
        slots[index].hasScript = !encoder.hasHash(of: slots[index].script)
        return index
    }

    /// What to send for the batch.
    func call(_ index: Int) -> ByteBuffer {
        guard slots[index].hasScript else { return slots[index].call }
        var call = ByteBuffer()
        BatchEncoder.writeWithScript(
            slots[index].call, shared: slots[index].sharedOffset, arguments: slots[index].arguments,
            script: slots[index].script.source, into: &call)
        return call
    }

    func slot(_ index: Int) -> Slot { slots[index] }

    /// From now on, its call brings the script along.
    /// - Returns: false if it did already.
    mutating func bringScript(_ index: Int) -> Bool {
        defer { slots[index].hasScript = true }
        return !slots[index].hasScript
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
