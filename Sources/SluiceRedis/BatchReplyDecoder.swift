package import SluiceEngine

/// What the answer to a batch must look like, kept while the batch is in flight.
package struct ExpectedEntry: Sendable, Equatable {
    /// How many checks wanted to pass; 0 for a peek.
    package var count: Int64
    package var chargeCount: Int

    package init(_ entry: Batch.Entry) {
        count = entry.count
        chargeCount = entry.chargeCount
    }
}

/// The answer is none that the script gives. Whether the batch ran is unknown, and the connection is not to be trusted.
package struct BatchReplyError: Error, Sendable, Equatable {
    package var reason: String
}

/// Reads the script's answer, and believes nothing of it that it has not looked at.
package struct BatchReplyDecoder {
    /// Kept for its storage.
    private var reply = BatchReply()
    /// The largest integer that a script's arithmetic holds exactly.
    private static let maxTally: Int64 = 1 << 53

    package init() {}

    /// - Parameters:
    ///   - flat: a reply that is not an error.
    ///   - entries: those of the batch, in order.
    package mutating func decode(
        _ flat: FlatReply, expecting entries: [ExpectedEntry]
    ) throws(BatchReplyError) -> BatchReply {
        let items = flat.items
        guard let array = items.first, array.kind == .array, array.value == items.count - 1, items.count >= 4,
            items[1...3].allSatisfy({ $0.kind == .integer }),
            let status = BatchReply.Status(rawValue: items[1].value), items[2].value > 0, items[3].value >= 0
        else { throw BatchReplyError(reason: "the answer does not begin with a status, a time and a sequence") }
        reply.results.removeAll(keepingCapacity: true)
        reply.words.removeAll(keepingCapacity: true)
        reply.status = status
        reply.timeMs = items[2].value
        reply.previousSequence = items[3].value
        var at = 4
        if status == .ran {
            reply.results.reserveCapacity(items.count)
            for entry in entries { try read(entry, of: flat, at: &at) }
        }
        guard at == items.count else { throw BatchReplyError(reason: "the answer goes on after the last entry") }
        return reply
    }

    private mutating func read(
        _ entry: ExpectedEntry, of flat: FlatReply, at: inout Int
    ) throws(BatchReplyError) {
        guard at < flat.items.count else { throw BatchReplyError(reason: "the answer has too few entries") }
        let outcome = flat.items[at]
        at += 1
        if outcome.kind == .string {
            reply.results.append(BatchReply.fault)
            reply.words.append(flat.words(of: outcome))
            return
        }
        guard outcome.kind == .integer else { throw BatchReplyError(reason: "an entry has no number") }
        if outcome.value == BatchReply.windowIsOver {
            reply.results.append(BatchReply.windowIsOver)
            return
        }
        guard outcome.value >= 0, outcome.value <= max(entry.count, 1) else {
            throw BatchReplyError(reason: "an entry admits other than 0 to all of its checks")
        }
        reply.results.append(outcome.value)
        guard at + entry.chargeCount <= flat.items.count else {
            throw BatchReplyError(reason: "an entry has too few tallies")
        }
        for item in flat.items[at..<at + entry.chargeCount] {
            guard item.kind == .integer else { throw BatchReplyError(reason: "a tally is not a number") }
            // Whoever else wrote to the key may have left anything in it: that is no reason to close the connection.
            reply.results.append(min(max(item.value, 0), Self.maxTally))
        }
        at += entry.chargeCount
    }
}
