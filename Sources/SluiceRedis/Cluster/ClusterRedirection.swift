internal import SluiceEngine

/// An answer of a cluster that says where else, or when, a command would run. Nothing was charged.
enum ClusterRedirection: Equatable {
    typealias HostPort = RedisAddress.HostPort

    /// The slot belongs to another master, from now on. nil if the answer does not say to which.
    case moved(slot: Int, to: HostPort?)
    /// The slot is being moved there, and the keys are there already, or will be: this command alone is to be sent
    /// there, behind `ASKING`.
    case ask(slot: Int, to: HostPort?)
    /// The slot is being moved, and some keys of the command are on one side and some on the other.
    case tryAgain
    /// This node takes no writes, or serves no slots, just now: another one may.
    case unavailable

    /// nil if the error is another one.
    /// - Parameter asked: the node that answered.
    init?(_ error: RedisError, asked: HostPort) {
        switch error.code {
        case "MOVED", "ASK":
            // `MOVED 3999 127.0.0.1:6381`, the host empty if the node does not know it.
            let words = error.message.split(separator: " ")
            guard words.count >= 3, let slot = Int(words[1]), (0..<HashSlot.count).contains(slot),
                let colon = words[2].lastIndex(of: ":"), let port = Int64(words[2][colon...].dropFirst())
            else {
                self = .unavailable
                return
            }
            let place = HostPort(host: Array(words[2][..<colon].utf8), port: port, asked: asked)
            self = error.code == "ASK" ? .ask(slot: slot, to: place) : .moved(slot: slot, to: place)
        case "TRYAGAIN": self = .tryAgain
        case "CLUSTERDOWN", "READONLY": self = .unavailable
        default:
            // From inside a script, where it is the first write that fails.
            guard error.isReadOnly else { return nil }
            self = .unavailable
        }
    }
}
