import SluiceEngine

/// Events of the links, each with its partition.
extension LimiterHost {
    func linkConnected(_ partition: Int, server: String) {
        storeDescription = server
        limiter.linkConnected(
            partition, server: links[partition].serverPlace, announcesChanges: links[partition].announcesChanges,
            now: SystemClock.now())
        pump()
    }

    func linkClosed(_ partition: Int, reason: String) {
        dropHeld(partition)
        limiter.linkClosed(partition, reason: reason, now: SystemClock.now())
        pump()
    }

    /// What follows from that is done with the answer that comes next.
    func linkMoved(_ partition: Int) { limiter.linkMoved(partition, to: links[partition].serverPlace) }

    func linkAnswered(_ partition: Int, sequence: Int64, _ result: Result<BatchReply, BatchFailure>) {
        openTurn()
        limiter.linkAnswered(
            partition, sequence: sequence, result, arrivedNs: turns.readableNs, now: SystemClock.now())
        // Answers of several partitions arrive together: what follows from them is done, and leaves, together.
        if links.count > 1 { schedulePump() } else { pump() }
        reportGivenBack()
    }

    func linkChangeFeed(_ partition: Int, _ event: ChangeFeedEvent) {
        openTurn()
        limiter.linkChangeFeed(partition, event, now: SystemClock.now())
        pump()
    }
}
