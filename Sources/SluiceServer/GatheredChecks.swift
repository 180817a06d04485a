import SluiceEngine
import SluiceProtocol

/// Checks of one connection that were read together, so that their identities are looked up together.
struct GatheredChecks {
    struct Check {
        var cost: Int64
        var isPeek: Bool
        var wantsTrace: Bool
        var extras: CheckExtras?
    }

    var identities = IdentityRun()
    private var checks: [Check] = []

    var count: Int { checks.count }
    var isFull: Bool { identities.isFull }

    subscript(index: Int) -> Check { checks[index] }

    mutating func append(_ request: CheckRequest, extras: CheckExtras?, identify: (inout Identity) -> Void) {
        checks.append(
            Check(cost: request.cost, isPeek: request.isPeek, wantsTrace: request.trace, extras: extras))
        identities.append(identify)
    }

    mutating func removeAll() {
        checks.removeAll(keepingCapacity: true)
        identities.removeAll()
    }
}
