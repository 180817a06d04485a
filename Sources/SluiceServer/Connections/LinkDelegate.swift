import SluiceEngine

/// Adds the partition to the events of its link, for the host.
final class LinkDelegate: CounterStoreDelegate {
    private unowned let host: LimiterHost
    private let partition: Int

    init(_ host: LimiterHost, partition: Int) {
        self.host = host
        self.partition = partition
    }

    func linkConnected(server: String) { host.linkConnected(partition, server: server) }
    func linkClosed(reason: String) { host.linkClosed(partition, reason: reason) }
    func linkMoved() { host.linkMoved(partition) }
    func linkAnswered(sequence: Int64, _ result: Result<BatchReply, BatchFailure>) {
        host.linkAnswered(partition, sequence: sequence, result)
    }
    func linkChangeFeed(_ event: ChangeFeedEvent) { host.linkChangeFeed(partition, event) }
}
