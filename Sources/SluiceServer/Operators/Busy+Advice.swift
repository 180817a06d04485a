import SluiceEngine

extension Busy {
    /// What happened and how to react, in one sentence.
    var advice: String {
        switch self {
        case .waiting:
            "too many checks are waiting, retry after a moment or add a replica"
        case .grant:
            "this grant has as many sessions, servers and tools in use as one grant may while redis is unavailable, use fewer "
                + "or retry later"
        case .throttle:
            "CL.THROTTLE has as many keys in use as it may while redis is unavailable, use fewer or retry later"
        case .table:
            "too many identities are in use while redis is unavailable, retry later or give each replica fewer grants"
        case .memory:
            "the memory for identities is used up while redis is unavailable, retry later or raise --memory"
        case .grantReservations:
            "this grant has as many reservations open as one grant may while redis is unavailable, settle some or retry later"
        case .reservations:
            "too many reservations are open while redis is unavailable, settle some or retry later"
        }
    }

    /// The suffix of its name in `INFO` and in the log.
    var figure: String {
        switch self {
        case .waiting: "waiting"
        case .grant: "grant"
        case .throttle: "cl_throttle"
        case .table: "identities"
        case .memory: "memory"
        case .grantReservations: "grant_reservations"
        case .reservations: "reservations"
        }
    }
}
