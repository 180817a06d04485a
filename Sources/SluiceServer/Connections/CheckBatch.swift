import SluiceEngine
import SluiceProtocol

/// Checks of one connection that were read together; their identities are looked up together.
struct CheckBatch {
    struct Check {
        var cost: Int64
        var isPeek: Bool
        var wantsTrace: Bool
        /// Whether it has extras: they are stored separately, so that a check is copied as a few numbers.
        var hasExtras: Bool
    }

    var identities = IdentityBatch()
    private var checks: [Check] = []
    /// By the index of their check.
    private var extras: [Int: CheckOptions] = [:]

    var count: Int { checks.count }
    static let capacity = EngineBounds.maxIdentitiesPerRun

    subscript(index: Int) -> Check { checks[index] }

    func extras(of index: Int) -> CheckOptions? { checks[index].hasExtras ? extras[index] : nil }

    mutating func append(_ request: CheckRequest, extras: CheckOptions?, identify: (inout Identity) -> Void) {
        if let extras { self.extras[checks.count] = extras }
        checks.append(
            Check(
                cost: request.cost, isPeek: request.isPeek, wantsTrace: request.trace, hasExtras: extras != nil))
        identities.append(identify)
    }

    mutating func removeAll() {
        checks.removeAll(keepingCapacity: true)
        if !extras.isEmpty { extras.removeAll(keepingCapacity: true) }
        identities.removeAll()
    }
}
