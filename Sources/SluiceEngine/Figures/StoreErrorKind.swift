/// Why the store could not be used, as a label of a metric.
package enum StoreErrorKind: Int, Sendable, CaseIterable {
    /// The connection could not be opened, or broke.
    case connection
    /// An answer was overdue, or too late.
    case timeout
    /// The store refused a batch before it ran.
    case rejected
    /// An error or an answer that leaves open whether the batch ran.
    case unclear
    /// It answers, but does not keep this replica's marker.
    case marker

    package var name: String { "\(self)" }
}
